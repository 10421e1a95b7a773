// What the page asks of the server: nothing that other clients can't ask too.

const KEPT = "api-key";
const POLL_SECONDS = 2;

/** An answer that is an error, in the server's words; or none came at all (`status` 0). */
export class Problem extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
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
  return (await call(path, options)).json();
}

async function call(path, { headers = {}, ...options } = {}) {
  const key = sessionStorage.getItem(KEPT);
  let answer;
  try {
    answer = await fetch(path, {
      ...options,
      headers: key ? { ...headers, "X-API-Key": key } : headers,
      cache: "no-store",
    });
  } catch (error) {
    if (options.signal?.aborted) throw options.signal.reason;
    throw new Problem(0, String(error));
  }
  if (!answer.ok) throw new Problem(answer.status, await detail(answer));
  return answer;
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

async function ended(path, progress, signal) {
  for (let seconds = POLL_SECONDS; ; ) {
    const job = await ask(`${path}?wait=${seconds}`, { signal });
    if (job.result) return job.result;
    if (job.error || job.ended_at) throw new Problem(422, job.error?.detail ?? job.status);
    progress(job);
  }
}
