// The page: what is asked on one side, what is answered on the other.

import { answers, modelLine, sentences } from "./answers.js";
import { curlLine } from "./curl.js";
import { id } from "./dom.js";
import { Regions } from "./regions.js";
import { Problem, ask, classify, hasKey, keepKey } from "./server.js";
import { fieldOf } from "./squares.js";
import { Status } from "./status.js";
import { other, say, switchLanguage, translate } from "./texts.js";

const regions = new Regions(changed);
const status = new Status();

let file = null; // the picture that is asked about
let served = null; // what the server says of itself: `cfg` and `classes`
let shown = null; // the latest result, with what was asked
let running = null; // the AbortController of the question in flight
let fault = null; // what is told instead of an answer
let canceled = false; // whether the reader took the latest question back

// ------------------------------------------------------------------ the picture

async function take(taken) {
  if (!taken) return;
  if (taken.type && !taken.type.startsWith("image/")) return fail(new Problem(-1, say("notImage")));
  running?.abort();
  file = taken;
  shown = null;
  fault = null;
  canceled = false;
  URL.revokeObjectURL(id("picture").src);
  id("picture").src = URL.createObjectURL(file);
  const isSeen = await id("picture").decode().then(() => true, () => false);
  if (file !== taken) return; // another one came meanwhile
  regions.reset({ width: id("picture").naturalWidth, height: id("picture").naturalHeight });
  id("empty").hidden = true;
  id("frame").hidden = !isSeen;
  id("unseen").hidden = isSeen;
  id("places").hidden = !isSeen;
  id("about").hidden = id("options").hidden = false;
  show();
  id("classify").focus({ preventScroll: true });
}

function listenForPictures() {
  for (const [button, input] of [["choose", "file"], ["another", "file"], ["photograph", "camera"]]) {
    id(button).addEventListener("click", () => id(input).click());
    id(input).addEventListener("change", ({ target }) => {
      take(target.files[0]);
      target.value = ""; // so that the same one can be chosen again
    });
  }
  document.addEventListener("paste", ({ clipboardData }) => take(clipboardData.files[0]));
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    document.body.classList.add("dragged");
  });
  document.addEventListener("dragleave", ({ relatedTarget }) => {
    if (!relatedTarget) document.body.classList.remove("dragged");
  });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    document.body.classList.remove("dragged");
    take(event.dataTransfer.files[0]);
  });
}

// ------------------------------------------------------------------ question and answer

/** The form's fields as they stand now, without those that say what goes without saying. */
function fields() {
  const squares = fieldOf(regions.squares, served?.cfg.region_order);
  return {
    ...(squares ? { regions: squares } : {}),
    top_n: id("top-n").value,
    ...(id("consolidate").checked ? { consolidate: "1" } : {}),
  };
}

async function send() {
  if (!file || running) return;
  running = new AbortController();
  fault = null;
  canceled = false;
  show();
  wait("sending");
  try {
    if (!served) await look();
    const asked = fields();
    const result = await classify(file, asked, progress, running.signal);
    shown = { result, asked: JSON.stringify(asked) };
    id("told").textContent = sentences(result);
  } catch (error) {
    if (error.name !== "AbortError") fail(error);
    else if (canceled) id("told").textContent = say("canceled");
  } finally {
    running = null;
    show();
  }
}

function progress({ status: now, position, estimated_wait: seconds }) {
  const place = seconds === null ? "queued" : "queuedFor";
  const text = now === "away" ? "retrying" : now === "queued" && position ? place : "running";
  wait(text, { position, seconds: Math.ceil(seconds) });
}

/** Show what is waited for; and tell it to those who hear the page, where a place that comes into sight is not heard. */
function wait(text, values) {
  id("waiting").textContent = id("told").textContent = say(text, values);
}

function cancel() {
  canceled = true;
  running?.abort();
}

function fail(error) {
  fault = error;
  shown = null;
  id("told").textContent = "";
  show();
}

function changed(told = "") {
  id("told").textContent = told;
  showCommand();
  showStale();
}

/** Ask the server what it is; without it, regions could not be written in its order. */
async function look() {
  const [cfg, classes] = await Promise.all([ask("cfg"), ask("classes")]);
  served = { cfg, classes };
  id("top-n").max = classes.length;
  show();
}

// ------------------------------------------------------------------ what is shown

function show() {
  // The focus stays where it is: not on what is hidden or disabled, from which it would fall to the page's start.
  if (!running && id("wait").contains(document.activeElement)) id("classify").focus({ preventScroll: true });
  id("wait").hidden = !running;
  id("classify").setAttribute("aria-disabled", Boolean(running));
  id("name").textContent = file ? about(file) : "";
  id("picture").alt = file ? say("picture", { name: file.name }) : "";
  id("model").textContent = served ? modelLine(served.cfg, served.classes) : "";
  id("nothing").hidden = Boolean(shown || fault || running);
  id("nothing").textContent = say(canceled ? "canceled" : "nothing");
  showProblem();
  showAnswers();
  showStale();
  showCommand();
}

function showProblem() {
  id("key").hidden = fault?.status !== 401;
  id("problem").hidden = !fault;
  // The server's own words are English, whatever the page speaks.
  id("problem").lang = fault?.status > 0 && fault.message ? "en" : document.documentElement.lang;
  id("problem").textContent = fault ? words(fault) : "";
}

function words({ status: code, message }) {
  if (code === 0) return say("unreachable");
  if (code === undefined) return say("broken", { status: message });
  return message || say("broken", { status: code });
}

function showAnswers() {
  const picture = id("frame").hidden ? null : id("picture");
  const point = (index) => regions.point(index);
  id("found").replaceChildren(...(shown ? answers(shown.result, picture, point) : []));
}

function showStale() {
  const isStale = Boolean(shown) && shown.asked !== JSON.stringify(fields());
  id("stale").hidden = !isStale;
  id("found").classList.toggle("stale", isStale);
}

function showCommand() {
  id("command").hidden = !file;
  if (file) id("curl").textContent = curlLine(file.name, fields(), hasKey());
}

function about({ name, size }) {
  const { naturalWidth, naturalHeight } = id("picture");
  const pixels = id("frame").hidden ? "" : ` · ${naturalWidth}×${naturalHeight}`;
  return `${name}${pixels} · ${size < 1e6 ? `${Math.ceil(size / 1000)} kB` : `${(size / 1e6).toFixed(1)} MB`}`;
}

// ------------------------------------------------------------------ the rest

async function copy() {
  try {
    await navigator.clipboard.writeText(id("curl").textContent);
    id("copy").textContent = say("copied");
  } catch {
    id("copy").textContent = say("notCopied"); // a page that came over plain http may not
    getSelection().selectAllChildren(id("curl"));
  }
  setTimeout(() => (id("copy").textContent = say("copy")), 2000);
}

function speak() {
  translate();
  id("language").textContent = say("otherLanguage");
  id("language").lang = other();
  regions.show();
  status.show();
  show();
}

function useKey() {
  keepKey(id("api-key").value.trim());
  id("api-key").value = "";
  fault = null;
  id(file ? "classify" : "choose").focus({ preventScroll: true }); // the key's field goes away
  if (file) send();
  else greet();
}

/** Ask what is served; where a key is needed, ask the reader for it. */
async function greet() {
  try {
    await look();
    fault = null;
  } catch (error) {
    if (error.status === 401) fault = error;
  }
  show();
}

id("options").addEventListener("submit", (event) => {
  event.preventDefault();
  send();
});
id("options").addEventListener("input", () => changed());
id("cancel").addEventListener("click", cancel);
id("copy").addEventListener("click", copy);
id("key").addEventListener("submit", (event) => {
  event.preventDefault();
  useKey();
});
id("language").addEventListener("click", () => {
  switchLanguage();
  speak();
});
listenForPictures();
speak();
greet();
status.start(() => {
  if (!served && status.isFresh) greet();
});
