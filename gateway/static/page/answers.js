// The result of a job, as bars: the score, the threshold as a mark on it, and whether it was passed.

import { el } from "./dom.js";
import { number, percent, say } from "./texts.js";

const THUMBNAIL = 56; // pixels of the screen

/** All of a result; `picture` is the image that was asked about, if this browser can show it. */
export function answers(result, picture, point) {
  const regions = result.regions.map((each, index) => answer(each, index, picture, point));
  return result.consolidated ? [species(result.consolidated), ...regions] : regions;
}

/** The best of each region in a sentence, for those who hear the page. */
export function sentences(result) {
  const merged = result.consolidated ? [`${say("consolidated")}: ${speciesWords(result.consolidated[0])}.`] : [];
  const best = result.regions.map(({ region, predictions: [first] }, index) =>
    say("told", { where: where(region, index), name: first.class, score: percent(first.score), passed: passed(first) }),
  );
  return [...merged, ...best].join(" ");
}

const passed = ({ accepted, threshold }) => say(accepted ? "accepted" : "refused", { threshold: percent(threshold) });

const where = (region, index) => (region ? say("region", { number: index + 1 }) : say("whole"));

function answer({ region, predictions }, index, picture, point) {
  const card = el(
    "article",
    { class: "answer" },
    picture ? thumbnail(picture, region) : null,
    el("h2", {}, where(region, index)),
    el("ul", {}, ...predictions.map(bar)),
  );
  if (region) {
    card.addEventListener("pointerenter", () => point(index));
    card.addEventListener("pointerleave", () => point(-1));
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
    el("span", { class: "bar", title: say("threshold") }, fill, mark),
    el("span", { class: "passed" }, passed(prediction)),
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

function species(pairs) {
  const [first, ...others] = pairs;
  return el(
    "article",
    { class: first[1] === null ? "species none" : "species" },
    el("h2", {}, say("consolidated")),
    el("p", { class: "best" }, el("strong", {}, first[0]), " ", el("span", {}, score(first[1]))),
    ...others.map(([name]) => el("p", { class: "hint" }, `${name}: ${say("alsoAccepted")}`)),
  );
}

const score = (value) => (value === null ? say("noneAccepted") : percent(value));

const speciesWords = ([name, value]) => `${name}, ${score(value)}`;

/** What is served, in a line. */
export function modelLine(cfg, classes) {
  const [height, width] = cfg.input_dims.split("x");
  return say("model", { classes: number(classes.length), size: `${width}×${height}` });
}
