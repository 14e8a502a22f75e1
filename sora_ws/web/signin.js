/** The way in. */

import { ApiError, signIn } from "./api.js";
import { showProblem } from "./problems.js";
import { session } from "./session.js";
import { words } from "./words.js";

const form = document.getElementById("sign-in");
const lead = document.getElementById("sign-in-lead");
const problem = document.getElementById("sign-in-problem");

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const { username, password } = form;
  if (!username.value || !password.value) return complain(words.loginMissing);
  const button = form.querySelector("[type=submit]");
  button.disabled = true;
  try {
    const login = await signIn(username.value, password.value);
    form.reset();
    problem.replaceChildren();
    session.begin(login);
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    if (error.status === 401) complain(words.wrongLogin);
    else showProblem(problem, error);
  } finally {
    button.disabled = false;
  }
});

function complain(message) {
  problem.replaceChildren(message);
  form[form.username.value ? "password" : "username"].focus();
}

/** @param {"lead" | "sessionOver" | "disabled"} reason which words say why one stands here */
export function welcome(reason) {
  lead.dataset.words = reason;
  lead.textContent = words[reason];
  lead.classList.toggle("important", reason !== "lead");
  form.username.focus();
}
