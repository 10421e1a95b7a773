// The result of a job: a bar for each score, with a mark at the threshold and the verdict.

import { el } from "./dom.js";
import { number, percent, text } from "./texts.js";

const THUMBNAIL = 56; // pixels of the screen

/** The cards of a result. `picture` is the element of the image, or null if the browser cannot show the image. */
export function resultCards(result, picture, highlight) {
  const regions = result.regions.map((each, index) => regionCard(each, index, picture, highlight));
  return result.consolidated ? [speciesCard(result.consolidated), ...regions] : regions;
}

/** One sentence for the best prediction of each region, for screen readers. */
export function bestPredictions(result) {
  const merged = result.consolidated ? [`${text("consolidated")}: ${speciesText(result.consolidated[0])}.`] : [];
  const best = result.regions.map(({ region, predictions: [first] }, index) =>
    text("bestPrediction", { where: where(region, index), name: first.class, score: percent(first.score), verdict: verdict(first) }),
  );
  return [...merged, ...best].join(" ");
}

const verdict = ({ accepted, threshold }) => text(accepted ? "accepted" : "refused", { threshold: percent(threshold) });

const where = (region, index) => (region ? text("region", { number: index + 1 }) : text("whole"));

function regionCard({ region, predictions }, index, picture, highlight) {
  const card = el(
    "article",
    { class: "answer" },
    picture ? thumbnail(picture, region) : null,
    el("h2", {}, where(region, index)),
    el("ul", {}, ...predictions.map(bar)),
  );
  if (region) {
    card.addEventListener("pointerenter", () => highlight(index));
    card.addEventListener("pointerleave", () => highlight(-1));
  }
  return card;
}

function bar(prediction) {
  const fill = el("span", { class: "fill" });
  fill.style.width = `${100 * prediction.score}%`;
  const mark = el("span", { class: "mark" });
  mark.style.left = `${100 * prediction.threshold}%`;
  return el(
    "li",
    { class: prediction.accepted ? "accepted" : "refused" },
    el("span", { class: "class" }, prediction.class),
    el("span", { class: "score" }, percent(prediction.score)),
    el("span", { class: "bar", title: text("threshold") }, fill, mark),
    el("span", { class: "passed" }, verdict(prediction)),
  );
}

function thumbnail(picture, region) {
  const { naturalWidth: width, naturalHeight: height } = picture;
  const [x, y, wide, high] = region ? [region[0], region[1], region[2], region[2]] : [0, 0, width, height];
  const scale = (THUMBNAIL * devicePixelRatio) / Math.max(wide, high);
  const canvas = el("canvas", { width: Math.round(wide * scale) || 1, height: Math.round(high * scale) || 1, "aria-hidden": "true" });
  canvas.getContext("2d").drawImage(picture, x, y, wide, high, 0, 0, canvas.width, canvas.height);
  return canvas;
}

function speciesCard(pairs) {
  const [first, ...others] = pairs;
  return el(
    "article",
    { class: first[1] === null ? "species none" : "species" },
    el("h2", {}, text("consolidated")),
    el("p", { class: "best" }, el("strong", {}, first[0]), " ", el("span", {}, score(first[1]))),
    ...others.map(([name]) => el("p", { class: "hint" }, `${name}: ${text("alsoAccepted")}`)),
  );
}

const score = (value) => (value === null ? text("noneAccepted") : percent(value));

const speciesText = ([name, value]) => `${name}, ${score(value)}`;

/** The number of classes and the size of the model's input. */
export function modelLine(cfg, classes) {
  const [height, width] = cfg.input_dims.split("x");
  return text("model", { classes: number(classes.length), size: `${width}×${height}` });
}
