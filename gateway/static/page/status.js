// How the service does: its latest figures and a small chart of each, with what this page has seen of them.

import { el, id, svg } from "./dom.js";
import { ask } from "./server.js";
import { number, say } from "./texts.js";

const EVERY_SECONDS = 2; // as often as workers tell theirs
const SPAN_SECONDS = 180;
const WINDOW_SECONDS = 10; // that rates and means are taken over
const PATIENCE_SECONDS = 8;

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

/** Asks for the figures while the page is looked at, and draws them. */
export class Status {
  #samples = []; // what the server told, with the time it came
  #points = []; // what was made of it, for the charts
  #fault = null;

  /** Begin; `seen` is called after each answer. */
  start(seen) {
    this.show();
    const tick = async () => {
      if (!document.hidden) {
        await this.#look();
        seen();
      }
      setTimeout(tick, 1000 * EVERY_SECONDS);
    };
    tick();
  }

  /** Whether the latest figures came. */
  get isFresh() {
    return this.#fault === null && this.#samples.length > 0;
  }

  async #look() {
    try {
      const told = await ask("status", { signal: AbortSignal.timeout(1000 * PATIENCE_SECONDS) });
      this.#add({ ...told, at: performance.now() / 1000 });
      this.#fault = null;
    } catch (error) {
      this.#fault = error.status === 401 ? "needsKey" : "away";
    }
    this.show();
  }

  #add(sample) {
    const last = this.#samples.at(-1);
    const isGap = last && sample.at - last.at > WINDOW_SECONDS;
    if (isGap) this.#points.push({ at: sample.at }); // where nobody looked there is no line
    if (isGap || (last && beganAnew(sample, last))) this.#samples = [];
    const before = this.#samples.findLast((each) => sample.at - each.at >= WINDOW_SECONDS) ?? this.#samples[0];
    this.#samples = [...this.#samples.slice(-WINDOW_SECONDS), sample];
    this.#points.push(point(sample, before));
    this.#points = this.#points.filter((each) => sample.at - each.at <= SPAN_SECONDS);
  }

  /** Draw; also after a change of the language. */
  show() {
    id("status").replaceChildren(...FIGURES.map(([name, format]) => this.#figure(name, format)));
    id("span").textContent = say(this.#fault ?? "span");
    id("span").classList.toggle("fault", this.#fault !== null);
  }

  #figure(name, format) {
    const values = this.#points.map((each) => each[name]).filter((each) => each !== undefined);
    const latest = this.#fault ? undefined : this.#points.at(-1)?.[name];
    const highest = Math.max(...values);
    const peak = name !== "workers" && highest > 0 ? say("highest", { value: format(highest) }) : "";
    const title = name === "answered" ? { title: say("answeredMeans") } : {};
    return el(
      "div",
      { class: name, ...title },
      el("dt", {}, say(name)),
      el("dd", {}, el("strong", {}, latest === undefined ? "–" : format(latest)), chart(this.#points, name), el("small", {}, peak)),
    );
  }
}

/** Whether Redis lost its data: only then counts fall, and no rate can be had from those before. */
function beganAnew(sample, last) {
  const counts = ({ inputs, batches, answers }) => [inputs, batches, ...answers.map((each) => each.jobs)];
  const before = counts(last);
  return counts(sample).some((each, i) => each < before[i]);
}

/** The figures at a sample, with what happened since an earlier one. */
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

/** The value that a share of the jobs do not pass, taken evenly within its bucket, as Prometheus does. */
function quantile(share, buckets) {
  const wanted = share * sum(buckets.map((each) => each.jobs));
  if (!(wanted > 0)) return undefined;
  let below = 0;
  let bound = 0;
  for (const { within, jobs } of buckets) {
    if (within === null) return bound;
    if (jobs > 0 && below + jobs >= wanted) return bound + ((within - bound) * (wanted - below)) / jobs;
    below += jobs;
    bound = within;
  }
  return bound;
}

const sum = (values) => values.reduce((total, each) => total + each, 0);

/** A line from left to right, now at the right end; it breaks where there was nothing to tell. */
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
