// Short ways to make elements. Nothing here takes HTML: names of files and classes are text, whatever they hold.

/** An element with attributes and children, which are nodes or text; null ones are left out. */
export function el(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  set(made, attributes);
  made.append(...children.filter((each) => each !== null));
  return made;
}

/** The same for what is drawn. */
export function svg(name, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  set(made, attributes);
  made.append(...children);
  return made;
}

function set(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
}

/** The element of an id. */
export const id = (name) => document.getElementById(name);
