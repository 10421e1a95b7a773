// Helpers that create elements. They accept no HTML, so names of files and classes are always inserted as text.

/** An HTML element with attributes and children, which are nodes or text; null children are skipped. */
export function el(name, attributes = {}, ...children) {
  const created = document.createElement(name);
  set(created, attributes);
  created.append(...children.filter((each) => each !== null));
  return created;
}

/** An SVG element with attributes and children. */
export function svg(name, attributes = {}, ...children) {
  const created = document.createElementNS("http://www.w3.org/2000/svg", name);
  set(created, attributes);
  created.append(...children);
  return created;
}

function set(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
}

/** The element with an id. */
export const id = (name) => document.getElementById(name);
