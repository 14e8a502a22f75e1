// A receiver of callbacks: node receiver.cjs PORT SECRET
//
// Checks each message by the npm package `standardwebhooks` and keeps what it was. The parts of the
// address are the answers to the first, second, … attempt of a message, the last one to all that follow:
// a status, or hang, reset, cut (in the answer's body), endless (a body), held (until GET /release).
// GET /received?count=N answers with all messages as soon as there are N.
const http = require("node:http");
const { Webhook } = require("standardwebhooks");

const [port, secret] = process.argv.slice(2);
const webhook = new Webhook(secret);
const received = [];
const waiting = new Set();
const held = new Set();

function keep(request, body) {
  let event = null;
  let error = null;
  try {
    event = webhook.verify(body, request.headers);
  } catch (thrown) {
    error = String(thrown);
  }
  const id = request.headers["webhook-id"];
  received.push({ path: request.url, id, event, error, headers: request.headers, body });
  for (const look of waiting) look();
  return received.filter((other) => other.id === id && other.path === request.url).length;
}

const ANSWERS = {
  hang() {},
  reset: (request) => request.socket.resetAndDestroy(),
  cut(request, response) {
    response.writeHead(200, { "content-length": 100 });
    response.write("begun", () => request.socket.destroy());
  },
  endless(request, response) {
    response.writeHead(200);
    const more = () => !response.destroyed && response.write("x".repeat(65536), more);
    more();
  },
  held: (request, response) => held.add(response),
};

function answer(request, response, body) {
  const attempt = keep(request, body);
  const answers = request.url.split("/").filter(Boolean);
  const name = answers[Math.min(attempt, answers.length) - 1];
  if (name in ANSWERS) return ANSWERS[name](request, response);
  response.writeHead(Number(name), name.startsWith("3") ? { location: "/204" } : {}).end();
}

function tell(url, response) {
  const look = () => {
    if (received.length < Number(url.searchParams.get("count"))) return;
    waiting.delete(look);
    response.end(JSON.stringify(received));
  };
  waiting.add(look);
  look();
}

http
  .createServer((request, response) => {
    const url = new URL(request.url, "http://localhost");
    if (url.pathname === "/received") return tell(url, response);
    if (url.pathname === "/release") {
      for (const waits of held) waits.writeHead(204).end();
      held.clear();
      return response.end();
    }
    const chunks = [];
    request.on("data", (chunk) => chunks.push(chunk));
    request.on("end", () => answer(request, response, Buffer.concat(chunks).toString()));
  })
  .listen(Number(port), "127.0.0.1");
