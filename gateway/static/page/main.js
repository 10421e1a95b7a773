// The page: an image and its options on one side, the results on the other.

import { bestPredictions, modelLine, resultCards } from "./answers.js";
import { curlLine } from "./curl.js";
import { id } from "./dom.js";
import { Regions } from "./regions.js";
import { Problem, classify, getJson, hasKey, storeKey } from "./server.js";
import { regionsField } from "./squares.js";
import { Status } from "./status.js";
import { otherLanguage, switchLanguage, text, translate } from "./texts.js";

const regions = new Regions(optionsChanged);
const status = new Status();

let file = null; // the selected image
let service = null; // the server's configuration and classes: `cfg` and `classes`
let latest = null; // the latest result, with its options
let running = null; // the AbortController of the classification in progress
let problem = null; // the error to show in place of a result
let canceled = false; // whether the user canceled the latest classification

// ------------------------------------------------------------------ the image

async function selectImage(selected) {
  if (!selected) return;
  if (selected.type && !selected.type.startsWith("image/")) return fail(new Problem(-1, text("notImage")));
  running?.abort();
  file = selected;
  latest = null;
  problem = null;
  canceled = false;
  URL.revokeObjectURL(id("picture").src);
  id("picture").src = URL.createObjectURL(file);
  const isDisplayable = await id("picture").decode().then(() => true, () => false);
  if (file !== selected) return; // Another image was selected during decoding.
  regions.reset({ width: id("picture").naturalWidth, height: id("picture").naturalHeight });
  id("empty").hidden = true;
  id("frame").hidden = !isDisplayable;
  id("not-displayable").hidden = isDisplayable;
  id("region-options").hidden = !isDisplayable;
  id("image-info").hidden = id("options").hidden = false;
  show();
  id("classify").focus({ preventScroll: true });
}

function listenForImages() {
  for (const [button, input] of [["choose", "file"], ["another", "file"], ["photograph", "camera"]]) {
    id(button).addEventListener("click", () => id(input).click());
    id(input).addEventListener("change", ({ target }) => {
      selectImage(target.files[0]);
      target.value = ""; // The same file can then be chosen again.
    });
  }
  document.addEventListener("paste", ({ clipboardData }) => selectImage(clipboardData.files[0]));
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
    selectImage(event.dataTransfer.files[0]);
  });
}

// ------------------------------------------------------------------ the request

/** The form's current fields, without the fields that have their default value. */
function fields() {
  const field = regionsField(regions.squares, service?.cfg.region_order);
  return {
    ...(field ? { regions: field } : {}),
    top_n: id("top-n").value,
    ...(id("consolidate").checked ? { consolidate: "1" } : {}),
  };
}

async function send() {
  if (!file || running) return;
  running = new AbortController();
  problem = null;
  canceled = false;
  show();
  showProgress("sending");
  try {
    if (!service) await loadService();
    const sent = fields();
    const result = await classify(file, sent, jobProgress, running.signal);
    latest = { result, options: JSON.stringify(sent) };
    announce(bestPredictions(result));
  } catch (error) {
    if (error.name !== "AbortError") fail(error);
    else if (canceled) announce(text("canceled"));
  } finally {
    running = null;
    show();
  }
}

function jobProgress({ status: jobStatus, position, estimated_wait: seconds }) {
  const queued = seconds === null ? "queued" : "queuedFor";
  const key = jobStatus === "unavailable" ? "retrying" : jobStatus === "queued" && position ? queued : "running";
  showProgress(key, { position, seconds: Math.ceil(seconds) });
}

/** Screen readers do not announce an element that becomes visible, so the text goes to the announcements too. */
function showProgress(key, values) {
  id("waiting").textContent = text(key, values);
  announce(text(key, values));
}

/** Have screen readers say a message. */
function announce(message) {
  id("announcement").textContent = message;
}

function cancel() {
  canceled = true;
  running?.abort();
}

function fail(error) {
  problem = error;
  latest = null;
  announce("");
  show();
}

function optionsChanged(message = "") {
  announce(message);
  showCommand();
  showStale();
}

/** Load the configuration and the classes: the field `regions` depends on the configured order of coordinates. */
async function loadService() {
  const [cfg, classes] = await Promise.all([getJson("cfg"), getJson("classes")]);
  service = { cfg, classes };
  id("top-n").max = classes.length;
  show();
}

// ------------------------------------------------------------------ the display

function show() {
  // Move the focus off an element before it is hidden: otherwise the browser resets the focus to the page's start.
  if (!running && id("wait").contains(document.activeElement)) id("classify").focus({ preventScroll: true });
  id("wait").hidden = !running;
  id("classify").setAttribute("aria-disabled", Boolean(running));
  id("name").textContent = file ? imageInfo(file) : "";
  id("picture").alt = file ? text("image", { name: file.name }) : "";
  id("model").textContent = service ? modelLine(service.cfg, service.classes) : "";
  id("nothing").hidden = Boolean(latest || problem || running);
  id("nothing").textContent = text(canceled ? "canceled" : "nothing");
  showProblem();
  showResults();
  showStale();
  showCommand();
}

function showProblem() {
  id("key").hidden = problem?.status !== 401;
  id("problem").hidden = !problem;
  // The server's messages are in English, whatever the language of the page.
  id("problem").lang = problem?.status > 0 && problem.message ? "en" : document.documentElement.lang;
  id("problem").textContent = problem ? problemText(problem) : "";
}

function problemText({ status: code, message }) {
  if (code === 0) return text("unreachable");
  if (code === undefined) return text("broken", { status: message });
  return message || text("broken", { status: code });
}

function showResults() {
  const picture = id("frame").hidden ? null : id("picture");
  const highlight = (index) => regions.highlight(index);
  id("results").replaceChildren(...(latest ? resultCards(latest.result, picture, highlight) : []));
}

function showStale() {
  const isStale = Boolean(latest) && latest.options !== JSON.stringify(fields());
  id("stale").hidden = !isStale;
  id("results").classList.toggle("stale", isStale);
}

function showCommand() {
  id("command").hidden = !file;
  if (file) id("curl").textContent = curlLine(file.name, fields(), hasKey());
}

function imageInfo({ name, size }) {
  const { naturalWidth, naturalHeight } = id("picture");
  const pixels = id("frame").hidden ? "" : ` · ${naturalWidth}×${naturalHeight}`;
  return `${name}${pixels} · ${size < 1e6 ? `${Math.ceil(size / 1000)} kB` : `${(size / 1e6).toFixed(1)} MB`}`;
}

// ------------------------------------------------------------------ buttons, language and key

async function copy() {
  try {
    await navigator.clipboard.writeText(id("curl").textContent);
    id("copy").textContent = text("copied");
  } catch {
    id("copy").textContent = text("notCopied"); // Browsers give pages loaded over plain HTTP no clipboard.
    getSelection().selectAllChildren(id("curl"));
  }
  setTimeout(() => (id("copy").textContent = text("copy")), 2000);
}

function showLanguage() {
  translate();
  id("language").textContent = text("otherLanguage");
  id("language").lang = otherLanguage();
  regions.show();
  status.show();
  show();
}

function useKey() {
  storeKey(id("api-key").value.trim());
  id("api-key").value = "";
  problem = null;
  id(file ? "classify" : "choose").focus({ preventScroll: true }); // The key's field is about to be hidden.
  if (file) send();
  else connect();
}

/** Load the service's configuration; show the field for the key if the server requires one. */
async function connect() {
  try {
    await loadService();
    problem = null;
  } catch (error) {
    if (error.status === 401) problem = error;
  }
  show();
}

id("options").addEventListener("submit", (event) => {
  event.preventDefault();
  send();
});
id("options").addEventListener("input", () => optionsChanged());
id("cancel").addEventListener("click", cancel);
id("copy").addEventListener("click", copy);
id("key").addEventListener("submit", (event) => {
  event.preventDefault();
  useKey();
});
id("language").addEventListener("click", () => {
  switchLanguage();
  showLanguage();
});
listenForImages();
showLanguage();
connect();
status.start(() => {
  if (!service && status.isFresh) connect();
});
