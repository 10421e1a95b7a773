// What the page asks of the server: nothing that other clients can't ask too.

const KEPT = "api-key";

// The first answers come soon, as they tell a place in the line; the later ones are few, as each counts for a rate limit.
const FIRST_POLL_SECONDS = 2;
const LONGEST_POLL_SECONDS = 20;

const NOT_NOW = [0, 429, 502, 503, 504]; // what says nothing of the job, which lives on
const PATIENCE_SECONDS = 180; // for a job that can't be asked for
const LONGEST_PAUSE_SECONDS = 10; // where the server does not say when to come back

/** An answer that is an error, in the server's words; or none came at all (`status` 0). */
export class Problem extends Error {
  constructor(status, detail, retryAfter) {
    super(detail);
    this.status = status;
    this.retryAfter = retryAfter; // seconds, if the server told
  }
}

/** Keep a key for this tab; an empty one is forgotten. */
export function keepKey(key) {
  if (key) sessionStorage.setItem(KEPT, key);
  else sessionStorage.removeItem(KEPT);
}

/** Whether there is one. */
export const hasKey = () => Boolean(sessionStorage.getItem(KEPT));

/** Ask for JSON; the path is relative to the page. */
export async function ask(path, options = {}) {
  const answer = await call(path, options);
  return received(answer.json(), options.signal);
}

async function call(path, { headers = {}, ...options } = {}) {
  const key = sessionStorage.getItem(KEPT);
  const asked = { ...options, headers: key ? { ...headers, "X-API-Key": key } : headers, cache: "no-store" };
  const answer = await received(fetch(path, asked), options.signal);
  if (!answer.ok) throw new Problem(answer.status, await detail(answer), retryAfter(answer));
  return answer;
}

/** What a promise of the network brings; where the line breaks, a problem without a status. */
async function received(promise, signal) {
  try {
    return await promise;
  } catch (error) {
    if (signal?.aborted) throw signal.reason;
    if (error instanceof SyntaxError) throw error; // all of it came, but it is no JSON
    throw new Problem(0, String(error));
  }
}

/** The server tells seconds; a proxy's date is treated as if it had said nothing. */
function retryAfter(answer) {
  const told = answer.headers.get("Retry-After") ?? "";
  return /^\d+$/.test(told) ? Number(told) : undefined;
}

async function detail(answer) {
  try {
    return (await answer.json()).detail ?? "";
  } catch {
    return ""; // a proxy's page, perhaps
  }
}

/**
 * Have a picture classified, and answer its job's result.
 *
 * `/classify` goes before the jobs of others who don't wait, but does not tell thresholds; its job does. So it is
 * asked to answer at once, with its job, which is then waited for: `progress` is told of the job meanwhile.
 */
export async function classify(blob, fields, progress, signal) {
  const form = new FormData();
  form.append("blob", blob, blob.name);
  for (const [name, value] of Object.entries(fields)) form.append(name, value);
  const answer = await call("classify", { method: "POST", body: form, headers: { Prefer: "respond-async" }, signal });
  const job = `jobs/${answer.headers.get("X-Job-Id")}`;
  progress({});
  try {
    return await ended(job, progress, signal);
  } catch (error) {
    if (signal.aborted) call(job, { method: "DELETE" }).catch(() => {}); // too late, where it has begun
    throw error;
  }
}

/** The result of a job; a line that breaks, or a server that is away for a while, does not lose it. */
async function ended(path, progress, signal) {
  let since = null; // when the job could first not be asked for
  for (let wait = FIRST_POLL_SECONDS, failed = 0; ; ) {
    try {
      const job = await ask(`${path}?wait=${wait}`, { signal });
      if (job.result) return job.result;
      if (job.error || job.ended_at) throw new Problem(422, job.error?.detail ?? job.status);
      progress(job);
      [since, failed, wait] = [null, 0, Math.min(2 * wait, LONGEST_POLL_SECONDS)];
    } catch (problem) {
      if (!NOT_NOW.includes(problem.status)) throw problem;
      since ??= performance.now();
      const pause = problem.retryAfter ?? Math.min(2 ** failed++, LONGEST_PAUSE_SECONDS);
      if (performance.now() - since + 1000 * pause > 1000 * PATIENCE_SECONDS) throw problem;
      progress({ status: "away" });
      await sleep(pause, signal);
    }
  }
}

function sleep(seconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, 1000 * seconds);
    const stop = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    if (signal.aborted) stop();
    else signal.addEventListener("abort", stop, { once: true });
  });
}
