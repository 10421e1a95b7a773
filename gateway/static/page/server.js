// The page's requests to the server. The page uses the public API only.

const STORAGE_KEY = "api-key";

// The first polls are short and show the position in the queue. Later polls are long: each counts against the rate limit.
const FIRST_POLL_SECONDS = 2;
const MAX_POLL_SECONDS = 20;

const TEMPORARY = [0, 429, 502, 503, 504]; // After a response with such a status, the job still exists.
const MAX_UNAVAILABLE_SECONDS = 180; // for polls that fail with a temporary status
const MAX_PAUSE_SECONDS = 10; // between polls without `Retry-After`

/** An error response with the server's message. The status is 0 if no response came. */
export class Problem extends Error {
  constructor(status, detail, retryAfter) {
    super(detail);
    this.status = status;
    this.retryAfter = retryAfter; // seconds, if the server sent them
  }
}

/** Store a key for this tab; an empty key deletes the stored one. */
export function storeKey(key) {
  if (key) sessionStorage.setItem(STORAGE_KEY, key);
  else sessionStorage.removeItem(STORAGE_KEY);
}

/** Whether this tab has a key. */
export const hasKey = () => Boolean(sessionStorage.getItem(STORAGE_KEY));

/** GET JSON; the path is relative to the page. */
export async function getJson(path, options = {}) {
  const response = await request(path, options);
  return networkResult(response.json(), options.signal);
}

async function request(path, { headers = {}, ...options } = {}) {
  const key = sessionStorage.getItem(STORAGE_KEY);
  const init = { ...options, headers: key ? { ...headers, "X-API-Key": key } : headers, cache: "no-store" };
  const response = await networkResult(fetch(path, init), options.signal);
  if (!response.ok) throw new Problem(response.status, await detail(response), retryAfter(response));
  return response;
}

/** The value of a network promise. A lost connection becomes a problem with status 0. */
async function networkResult(promise, signal) {
  try {
    return await promise;
  } catch (error) {
    if (signal?.aborted) throw signal.reason;
    if (error instanceof SyntaxError) throw error; // The whole body came, but it is not JSON.
    throw new Problem(0, String(error));
  }
}

/** The header's seconds. A date, which some proxies send, is ignored. */
function retryAfter(response) {
  const value = response.headers.get("Retry-After") ?? "";
  return /^\d+$/.test(value) ? Number(value) : undefined;
}

async function detail(response) {
  try {
    return (await response.json()).detail ?? "";
  } catch {
    return ""; // A proxy's error page is not JSON.
  }
}

/**
 * Classify an image and return the result of its job.
 *
 * A `/classify` request has priority over asynchronous jobs, but its response lacks thresholds; the job's result has
 * them. So the request prefers an asynchronous response, and the page polls the job. `progress` receives each state.
 */
export async function classify(blob, fields, progress, signal) {
  const form = new FormData();
  form.append("blob", blob, blob.name);
  for (const [name, value] of Object.entries(fields)) form.append(name, value);
  const response = await request("classify", { method: "POST", body: form, headers: { Prefer: "respond-async" }, signal });
  const job = `jobs/${response.headers.get("X-Job-Id")}`;
  progress({});
  try {
    return await jobResult(job, progress, signal);
  } catch (error) {
    if (signal.aborted) request(job, { method: "DELETE" }).catch(() => {}); // A job that already runs is not canceled.
    throw error;
  }
}

/** The result of a job. Temporary errors do not lose it: polling goes on for up to MAX_UNAVAILABLE_SECONDS. */
async function jobResult(path, progress, signal) {
  let unavailableSince = null;
  for (let wait = FIRST_POLL_SECONDS, failures = 0; ; ) {
    try {
      const job = await getJson(`${path}?wait=${wait}`, { signal });
      if (job.result) return job.result;
      if (job.error || job.ended_at) throw new Problem(422, job.error?.detail ?? job.status);
      progress(job);
      [unavailableSince, failures, wait] = [null, 0, Math.min(2 * wait, MAX_POLL_SECONDS)];
    } catch (problem) {
      if (!TEMPORARY.includes(problem.status)) throw problem;
      unavailableSince ??= performance.now();
      const pause = problem.retryAfter ?? Math.min(2 ** failures++, MAX_PAUSE_SECONDS);
      if (performance.now() - unavailableSince + 1000 * pause > 1000 * MAX_UNAVAILABLE_SECONDS) throw problem;
      progress({ status: "unavailable" });
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
