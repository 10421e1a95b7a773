// The service status: the latest figures, each with a small chart of the values since the page was opened.

import { el, id, svg } from "./dom.js";
import { getJson } from "./server.js";
import { number, text } from "./texts.js";

const EVERY_SECONDS = 2; // the interval at which workers publish their counters
const SPAN_SECONDS = 180; // of the charts
const WINDOW_SECONDS = 10; // over which rates and means are computed
const TIMEOUT_SECONDS = 8;

const WIDTH = 120;
const HEIGHT = 32;

const seconds = (value) => (value < 1 ? `${number(value * 1000)} ms` : `${number(value, 1)} s`);
const whole = (value) => number(value);
const tenths = (value) => number(value, value < 100 ? 1 : 0);

const FIGURES = [
  ["workers", whole],
  ["waiting", whole],
  ["rate", tenths],
  ["batch", tenths],
  ["answered", seconds],
];

/** Loads and draws the figures while the page is visible. */
export class Status {
  #samples = []; // the responses of the server, with the time of each
  #points = []; // the figures computed from the samples, for the charts
  #problem = null; // the key of the text that explains missing figures

  /** Start loading; `onLoad` is called after each attempt. */
  start(onLoad) {
    this.show();
    const tick = async () => {
      if (!document.hidden) {
        await this.#load();
        onLoad();
      }
      setTimeout(tick, 1000 * EVERY_SECONDS);
    };
    tick();
  }

  /** Whether the latest attempt succeeded. */
  get isFresh() {
    return this.#problem === null && this.#samples.length > 0;
  }

  async #load() {
    try {
      const counters = await getJson("status", { signal: AbortSignal.timeout(1000 * TIMEOUT_SECONDS) });
      this.#add({ ...counters, at: performance.now() / 1000 });
      this.#problem = null;
    } catch (error) {
      this.#problem = error.status === 401 ? "needsKey" : "unavailable";
    }
    this.show();
  }

  #add(sample) {
    const last = this.#samples.at(-1);
    const isGap = last && sample.at - last.at > WINDOW_SECONDS;
    if (isGap) this.#points.push({ at: sample.at }); // The chart has no line while the page was hidden.
    if (isGap || (last && isReset(sample, last))) this.#samples = [];
    const before = this.#samples.findLast((each) => sample.at - each.at >= WINDOW_SECONDS) ?? this.#samples[0];
    this.#samples = [...this.#samples.slice(-WINDOW_SECONDS), sample];
    this.#points.push(point(sample, before));
    this.#points = this.#points.filter((each) => sample.at - each.at <= SPAN_SECONDS);
  }

  /** Draw the figures; call it again after a change of language. */
  show() {
    id("status").replaceChildren(...FIGURES.map(([name, format]) => this.#figure(name, format)));
    id("span").textContent = text(this.#problem ?? "span");
    id("span").classList.toggle("fault", this.#problem !== null);
  }

  #figure(name, format) {
    const values = this.#points.map((each) => each[name]).filter((each) => each !== undefined);
    const latest = this.#problem ? undefined : this.#points.at(-1)?.[name];
    const highest = Math.max(...values);
    // A gateway of an older version reports no devices.
    const devices = (this.#problem ? undefined : this.#samples.at(-1)?.devices) ?? [];
    const kinds = [...new Set(devices.map((each) => each.kind.toUpperCase()))].join(", ");
    const peak = highest > 0 ? text("highest", { value: format(highest) }) : "";
    const names = devices.map((each) => `${each.name}: ${each.workers}`).join("\n");
    const title = { workers: names, answered: text("answeredMeans") }[name];
    return el(
      "div",
      { class: name, ...(title && { title }) },
      el("dt", {}, text(name)),
      el("dd", {}, el("strong", {}, latest === undefined ? "–" : format(latest)), chart(this.#points, name), el("small", {}, name === "workers" ? kinds : peak)),
    );
  }
}

/** Whether Redis lost its data. Only then do counters fall; no rate can be computed from the earlier samples. */
function isReset(sample, last) {
  const counts = ({ inputs, batches, answers }) => [inputs, batches, ...answers.map((each) => each.jobs)];
  const before = counts(last);
  return counts(sample).some((each, i) => each < before[i]);
}

/** The figures at a sample, from its difference to an earlier sample. */
function point(sample, before) {
  const figures = { at: sample.at, workers: sample.workers, waiting: sum(Object.values(sample.waiting)) };
  if (!before || sample.at <= before.at) return figures;
  const inputs = sample.inputs - before.inputs;
  const batches = sample.batches - before.batches;
  figures.rate = inputs / (sample.at - before.at);
  if (batches) figures.batch = inputs / batches;
  const answers = sample.answers.map((each, i) => ({ ...each, jobs: each.jobs - before.answers[i].jobs }));
  figures.answered = quantile(0.95, answers);
  return figures;
}

/** A quantile of a histogram by linear interpolation within the bucket, as in Prometheus. */
function quantile(share, buckets) {
  const rank = share * sum(buckets.map((each) => each.jobs));
  if (!(rank > 0)) return undefined;
  let below = 0;
  let bound = 0;
  for (const { within, jobs } of buckets) {
    if (within === null) return bound;
    if (jobs > 0 && below + jobs >= rank) return bound + ((within - bound) * (rank - below)) / jobs;
    below += jobs;
    bound = within;
  }
  return bound;
}

const sum = (values) => values.reduce((total, each) => total + each, 0);

/** A line chart that ends at the present on the right; the line is interrupted where there is no value. */
function chart(points, name) {
  const now = points.at(-1)?.at ?? 0;
  const top = Math.max(1e-9, ...points.map((each) => each[name] ?? 0));
  const lines = [];
  let line = null;
  for (const each of points) {
    if (each[name] === undefined) line = null;
    else {
      if (!line) lines.push((line = []));
      const x = WIDTH - ((now - each.at) / SPAN_SECONDS) * WIDTH;
      line.push([x.toFixed(1), (HEIGHT - 1 - (each[name] / top) * (HEIGHT - 3)).toFixed(1)]);
    }
  }
  return svg(
    "svg",
    { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" },
    svg("path", { class: "area", d: lines.map(area).join("") }),
    svg("path", { class: "line", d: lines.map(path).join("") }),
  );
}

const path = (line) => `M${line.map((each) => each.join(",")).join("L")}`;

const area = (line) => `${path(line)}L${line.at(-1)[0]},${HEIGHT}L${line[0][0]},${HEIGHT}Z`;
