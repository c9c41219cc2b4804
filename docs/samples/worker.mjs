#!/usr/bin/env node
// A worker over HTTP leases in plain Node ≥ 18, without a package:
//
//   BROKER_URL=https://broker.example BROKER_CONSUMER_KEY=ub_… node worker.mjs [process.mjs]
//
// process.mjs exports `default async (job, bytes, signal) => result`. `job` is what the lease says without its secrets,
// `bytes` an async iterable over the verified object, `signal` is aborted when the job is no longer ours. It may throw
// an error with `outcome` ("rejected", "failed", "retry"), `code` and `retryAfterSeconds`; any other error is a retry.
// Effects outside are at least once: give them job.id and job.epoch. One job at a time; run as many as you like.
import { createHash } from "node:crypto";
import http from "node:http";
import https from "node:https";
import { hostname } from "node:os";
import { resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { pathToFileURL } from "node:url";

const { BROKER_URL: broker, BROKER_CONSUMER_KEY: key, TIMEOUT_SECONDS = "600" } = process.env;
delete process.env.BROKER_CONSUMER_KEY; // a processor may start programs
const work = process.argv[2] ? (await import(pathToFileURL(resolve(process.argv[2])))).default : measure;
const CALL_MS = 15_000, IDLE_MS = 30_000, WAIT_SECONDS = 20, TRIES = 8; // tries in a row without a byte
const GONE = [404, 409, 410]; // another worker may own the job: say nothing more
const stop = new AbortController();
for (const name of ["SIGTERM", "SIGINT"]) process.on(name, () => stop.abort());

/** What the job comes to, thrown. */
const verdict = (outcome, code, message) => Object.assign(new Error(message ?? code), { outcome, code });
const bare = (etag) => etag?.replace(/^W\/|"/g, "");
const log = (event, job, more) =>
  console.error(JSON.stringify({ event, session_id: job?.id, epoch: job?.lease.epoch, ...more }));
const pause = (failures, signal) =>
  sleep(Math.min(200 * 2 ** failures, 15_000) * (0.5 + Math.random() / 2), undefined, { signal }).catch(() => {});

/** One call. `now` is the broker's clock; an error without `status` means that nobody answered. */
async function call(path, body, { ms = CALL_MS, signal } = {}) {
  const over = new AbortController(), end = () => over.abort(), timer = setTimeout(end, ms);
  signal?.addEventListener("abort", end);
  try {
    const headers = { authorization: `Bearer ${key}`, "content-type": "application/json" };
    const wish = { method: "POST", headers, body: JSON.stringify(body), redirect: "error", signal: over.signal };
    const answer = await fetch(broker + path, wish);
    const told = await answer.json();
    if (!answer.ok) throw Object.assign(new Error(`${answer.status} ${told.code}`), { status: answer.status });
    return { told, now: Date.parse(answer.headers.get("date")) || Date.now() };
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", end);
  }
}

/** A fresh lease and a fresh signed GET. */
async function renew(job) {
  const { told, now } = await call(`/jobs/${job.id}/renew`, { lease: job.lease.token, epoch: job.lease.epoch });
  Object.assign(job, told, { now });
}

/** Renews at a third of the lease's life. A broker that is away changes nothing: the fence says whose the job is. */
async function keep(job, over) {
  for (let failures = 0; !over.signal.aborted; ) {
    const third = Math.max((Date.parse(job.lease.expires_at) - job.now) / 3, 200);
    await sleep(failures ? third / 4 : third, undefined, { signal: over.signal }).catch(() => {});
    if (over.signal.aborted) return;
    try {
      await renew(job);
      failures = 0;
    } catch (error) {
      if (GONE.includes(error.status)) over.abort("lost");
      failures += 1;
    }
  }
}

/** The signed GET, header for header. Not by `fetch`, which unpacks what calls itself gzip: we want what is stored. */
function get({ read }, from, signal) {
  const headers = from ? { ...read.headers, range: `bytes=${from}-` } : read.headers;
  const { request } = read.url.startsWith("https:") ? https : http;
  return new Promise((resolve, reject) => {
    const getting = request(read.url, { method: read.method, headers, signal, timeout: IDLE_MS }, resolve);
    getting.on("timeout", () => getting.destroy(new Error("idle"))).on("error", reject).end();
  });
}

/** The object's bytes, each once: a broken GET goes on by Range, a refused one with a fresh grant. Ends if proved. */
async function* bytes(job, proof, signal) {
  if (job.prove.some((name) => !["sha256", "md5"].includes(name))) throw verdict("failed", "checksum-not-provable");
  const digests = job.prove.map((name) => [name, createHash(name)]);
  let at = 0, failures = 0, answer;
  while (true) {
    try {
      answer = await get(job, at, signal);
      const { statusCode, headers } = answer;
      if ([404, 412, 416].includes(statusCode)) throw verdict("failed", "object-changed");
      if ([400, 401, 403].includes(statusCode)) await renew(job);
      if (statusCode !== (at ? 206 : 200)) throw new Error("refused");
      if (bare(headers.etag) !== bare(job.etag)) throw verdict("failed", "object-changed");
      for await (const chunk of answer) {
        at += chunk.length;
        if (at > job.size_bytes) throw verdict("failed", "object-changed");
        digests.forEach(([, digest]) => digest.update(chunk));
        failures = 0;
        yield chunk;
      }
      if (at === job.size_bytes) break;
      throw new Error("truncated");
    } catch (error) {
      if (signal.aborted || error.outcome) throw error;
      if (++failures >= TRIES) throw verdict("release", "store-trouble");
      await pause(failures, signal);
    } finally {
      answer?.destroy();
    }
  }
  const wrong = digests.find(([name, digest]) => digest.digest("base64") !== job.checksum[name]);
  if (wrong) throw verdict("rejected", "checksum-mismatch");
  proof.isWhole = true;
}

/** One job, from lease to report. */
async function attempt(job) {
  log("job.leased", job);
  const over = new AbortController(), drain = () => over.abort("drain"), proof = {};
  const late = setTimeout(() => over.abort("timeout"), TIMEOUT_SECONDS * 1000);
  const ended = new Promise((_, reject) => over.signal.addEventListener("abort", () => reject(over.signal.reason)));
  stop.signal.addEventListener("abort", drain);
  if (stop.signal.aborted) drain();
  keep(job, over);
  let body;
  try {
    const { lease, read, now, ...known } = job;
    const working = async () => {
      const result = await work({ ...known, epoch: lease.epoch }, bytes(job, proof, over.signal), over.signal);
      if (job.prove.length && !proof.isWhole) for await (const _ of bytes(job, proof, over.signal));
      return JSON.parse(JSON.stringify(result ?? null)); // what JSON cannot say is the processor's fault
    };
    body = { outcome: "processed", result: await Promise.race([working(), ended]) };
  } catch (error) {
    body = over.signal.aborted ? bodyOfEnd[over.signal.reason] : bodyOf(error ?? {});
  }
  if (body) await deliver(job, body, over);
  else log("job.lost", job);
  clearTimeout(late);
  stop.signal.removeEventListener("abort", drain);
  over.abort("over");
}

const bodyOfEnd = { // nothing to say of a lease that was lost
  drain: { cause: "drain" },
  timeout: { outcome: "retry", reason: { code: "timeout", message: `longer than ${TIMEOUT_SECONDS} s` } },
};

function bodyOf({ outcome = "retry", code = "processor-error", message = code, retryAfterSeconds = null }) {
  if (outcome === "release") return { cause: "infrastructure" };
  return { outcome, reason: { code, message: String(message) }, retry_after_seconds: retryAfterSeconds };
}

/** Again and again through a broker's restart, while the renewal goes on, until the broker has answered. */
async function deliver(job, body, over) {
  for (let failures = 0; over.signal.reason !== "lost" && !(stop.signal.aborted && failures > 4); failures++) {
    const verb = body.cause ? "release" : "result";
    try {
      const { token, epoch } = job.lease;
      const { told } = await call(`/jobs/${job.id}/${verb}`, { lease: token, epoch, ...body });
      return log(body.cause ? "job.released" : `job.${told.state}`, job, { code: body.reason?.code });
    } catch (error) {
      if (GONE.includes(error.status)) break;
      if ([413, 422].includes(error.status) && body.reason?.code !== "result-refused")
        body = { outcome: "failed", reason: { code: "result-refused", message: error.message } };
      else if (error.status < 500 && error.status !== 429) return log("report.refused", job, { status: error.status });
      else await pause(failures);
    }
  }
  log("job.lost", job);
}

/** The processor of last resort: counts bytes and lines. */
async function measure(job, bytes) {
  let sizeBytes = 0, lines = 0;
  for await (const chunk of bytes) {
    sizeBytes += chunk.length;
    for (const byte of chunk) if (byte === 10) lines += 1;
  }
  return { size_bytes: sizeBytes, lines };
}

for (let failures = 0; !stop.signal.aborted; ) {
  const wish = { max: 1, wait_seconds: WAIT_SECONDS, worker: `${hostname()}-${process.pid}` };
  try {
    const ms = CALL_MS + WAIT_SECONDS * 1000;
    const { told, now } = await call("/jobs/lease", wish, { ms, signal: stop.signal });
    failures = 0;
    for (const job of told.jobs) await attempt({ ...job, now });
  } catch (error) {
    if (!stop.signal.aborted) log("broker.away", undefined, { status: error.status, failures: ++failures });
    await pause(failures, stop.signal);
  }
}
log("worker.stopped");
process.exit(0); // a processor that ignored its signal ends here
