/** Making elements: the page's only way to build DOM, so text is always text and never markup. */

const SVG = "http://www.w3.org/2000/svg";

/**
 * `element("button.quiet", { type: "button", ariaLabel: "Retry", onclick }, icon("retry"))`:
 * a tag with classes, properties by their DOM names, and children (null is left out).
 */
export function element(selector, properties = {}, ...children) {
  const [tag, ...classes] = selector.split(".");
  const made = document.createElement(tag);
  made.classList.add(...classes);
  Object.assign(made, properties);
  made.append(...children.filter((child) => child !== null));
  return made;
}

/** A picture from icons.svg, in the colour of the text around it. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `static/icons.svg#${name}`);
  svg.setAttribute("aria-hidden", "true");
  svg.append(use);
  return svg;
}

/** Sets text only where it differs: screen readers and selections are left in peace. */
export function say(target, text) {
  if (target.textContent !== text) target.textContent = text;
}
