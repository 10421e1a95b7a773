// The regions on the image. Mouse, finger, pen, keyboard and number fields add, move, resize and remove them.

import { el, id } from "./dom.js";
import { defaultSquare, fitted, nudged, spanned } from "./squares.js";
import { text } from "./texts.js";

const CORNERS = ["nw", "ne", "se", "sw"];
const MIN_DRAG = 6; // pixels of the screen; a shorter movement is a click

export class Regions {
  #squares = [];
  #size = { width: 1, height: 1 };
  #onChange;

  /** `onChange` is called after every change that the user makes. */
  constructor(onChange) {
    this.#onChange = onChange;
    id("frame").addEventListener("pointerdown", (event) => this.#press(event));
    id("regions").addEventListener("keydown", (event) => this.#key(event));
    id("squares").addEventListener("change", (event) => this.#typed(event.target));
    id("squares").addEventListener("click", (event) => this.#clicked(event.target));
    id("add").addEventListener("click", () => this.#add(defaultSquare(this.#squares.length, this.#size)));
    id("clear").addEventListener("click", () => this.#clear());
  }

  /** The squares, in the order of their numbers. */
  get squares() {
    return this.#squares.map((each) => ({ ...each }));
  }

  /** Remove all regions and use an image of this size. */
  reset(size) {
    this.#size = size;
    this.#squares = [];
    this.show();
  }

  /** Show all regions; call it again after a change of language. */
  show() {
    id("regions").replaceChildren(...this.#squares.map((_, index) => this.#box(index)));
    id("squares").replaceChildren(...this.#squares.map((_, index) => this.#row(index)));
    this.#squares.forEach((_, index) => this.#place(index));
    id("clear").hidden = this.#squares.length < 2;
  }

  /** Highlight the region with this index; -1 highlights none. */
  highlight(index) {
    [...id("regions").children].forEach((box, each) => box.classList.toggle("highlighted", each === index));
  }

  // ---------------------------------------------------------------- changes

  #add(square) {
    this.#squares.push(square);
    this.show();
    this.#focus(this.#squares.length - 1);
    this.#onChange();
  }

  #set(index, square) {
    this.#squares[index] = square;
    this.#place(index);
    this.#onChange();
  }

  #remove(index) {
    this.#squares.splice(index, 1);
    this.show();
    if (this.#squares.length) this.#focus(Math.min(index, this.#squares.length - 1));
    else id("add").focus();
    this.#onChange(text("removed", { number: index + 1 }));
  }

  #clear() {
    this.#squares = [];
    this.show();
    id("add").focus();
    this.#onChange();
  }

  #focus(index) {
    id("regions").children[index].focus({ preventScroll: true });
  }

  // ---------------------------------------------------------------- mouse, finger, pen

  #press(event) {
    if (event.button !== 0 || !event.isPrimary) return;
    event.preventDefault();
    const from = this.#pixels(event);
    const box = event.target.closest(".region");
    const index = box ? [...id("regions").children].indexOf(box) : -1;
    if (box) this.#focus(index);
    const square = this.#squares[index];
    const corner = event.target.dataset.corner;
    if (!box) this.#drag(event, from, null, (to) => spanned(from, to, this.#size));
    else if (corner) this.#drag(event, from, index, (to) => spanned(opposite(square, corner), to, this.#size));
    else this.#drag(event, from, index, (to) => this.#moved(square, from, to));
  }

  #moved(square, from, to) {
    return fitted({ ...square, x: square.x + to.x - from.x, y: square.y + to.y - from.y }, this.#size);
  }

  /** Follow the pointer until its release. `shape` returns the square for a position; `index` is null for a new region. */
  #drag(event, from, index, shape) {
    const frame = id("frame");
    const controller = new AbortController();
    const follow = (each) => {
      if (each.pointerId !== event.pointerId) return;
      const square = shape(this.#pixels(each));
      if (index !== null) this.#set(index, square);
      else if (far(event, each)) {
        index = this.#squares.length;
        this.#add(square);
      }
    };
    const options = { signal: controller.signal };
    frame.setPointerCapture(event.pointerId);
    frame.addEventListener("pointermove", follow, options);
    for (const end of ["pointerup", "pointercancel"]) {
      frame.addEventListener(end, () => controller.abort(), options);
    }
  }

  /** The position of the pointer in pixels of the image. */
  #pixels({ clientX, clientY }) {
    const shown = id("frame").getBoundingClientRect();
    const { width, height } = this.#size;
    return {
      x: clamp(Math.round(((clientX - shown.left) / shown.width) * width), width),
      y: clamp(Math.round(((clientY - shown.top) / shown.height) * height), height),
    };
  }

  // ---------------------------------------------------------------- keys and numbers

  #key(event) {
    const index = [...id("regions").children].indexOf(event.target);
    if (index < 0 || event.ctrlKey || event.metaKey || event.altKey) return;
    const removes = event.key === "Delete" || event.key === "Backspace";
    const square = nudged(this.#squares[index], event.key, event.shiftKey, this.#size);
    if (!removes && !square) return;
    event.preventDefault();
    if (removes) this.#remove(index);
    else this.#set(index, square);
  }

  #typed(input) {
    const index = Number(input.closest("[data-index]").dataset.index);
    this.#set(index, fitted({ ...this.#squares[index], [input.name]: input.valueAsNumber }, this.#size));
  }

  #clicked(target) {
    if (target.closest("button")) this.#remove(Number(target.closest("[data-index]").dataset.index));
  }

  // ---------------------------------------------------------------- the display

  #box(index) {
    const corners = CORNERS.map((corner) => el("i", { class: "corner", "data-corner": corner }));
    return el("div", { class: "region", role: "button", tabindex: "0" }, el("b", {}, String(index + 1)), ...corners);
  }

  #row(index) {
    const number = index + 1;
    const fields = ["x", "y", "side"].map((name) =>
      el("label", {}, text(name), el("input", { type: "number", name, min: name === "side" ? "1" : "0", step: "1", inputmode: "numeric" })),
    );
    const button = el("button", { type: "button", class: "quiet", "aria-label": text("remove", { number }) }, "×");
    const attributes = { "data-index": index, role: "group", "aria-label": text("region", { number }) };
    return el("li", {}, el("div", attributes, el("b", {}, String(number)), ...fields, button));
  }

  #place(index) {
    const square = this.#squares[index];
    const box = id("regions").children[index];
    const percent = (value, whole) => `${(100 * value) / whole}%`;
    box.style.left = percent(square.x, this.#size.width);
    box.style.top = percent(square.y, this.#size.height);
    box.style.width = percent(square.side, this.#size.width);
    box.style.height = percent(square.side, this.#size.height);
    box.setAttribute("aria-label", text("regionAt", { number: index + 1, ...square }));
    for (const input of id("squares").children[index].querySelectorAll("input")) input.value = square[input.name];
  }
}

const clamp = (value, max) => Math.min(Math.max(value, 0), max);

const far = (from, to) => Math.hypot(to.clientX - from.clientX, to.clientY - from.clientY) >= MIN_DRAG;

function opposite({ x, y, side }, corner) {
  return { x: corner.includes("w") ? x + side : x, y: corner.includes("n") ? y + side : y };
}
