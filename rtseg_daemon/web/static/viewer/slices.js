// Slices of one CT: those in view first, then those around them in the direction of scrolling. Bounded memory.

import { ask } from "./asking.js";

const AT_ONCE = 3;
const BLOCK = 8;
const AHEAD = 24;
const BEHIND = 8;
const LARGEST_BYTES = (navigator.deviceMemory || 8) <= 4 ? 96e6 : 192e6;

export class Slices {
  /** `arrived(plane, k)` is called for each slice that comes, `failed(error)` when none will. */
  constructor(job, geometry, arrived, failed) {
    this.job = job;
    this.geometry = geometry;
    this.arrived = arrived;
    this.failed = failed;
    this.kept = new Map();
    this.bytes = 0;
    this.running = new Map();
    this.wanted = [];
    this.broken = false;
  }

  /** HU of a slice, or null while it is not here. */
  get(plane, k) {
    const key = `${plane}:${k}`;
    const found = this.kept.get(key);
    if (!found) return null;
    this.kept.delete(key);
    this.kept.set(key, found);
    return found;
  }

  /** What is in view: a list of {plane, k, direction, wide}. Slices far from all of it are not waited for any more. */
  want(looks) {
    this.wanted = looks.flatMap((look) => this.#order(look));
    for (const [key, request] of this.running) {
      const near = looks.some(
        (look) =>
          look.plane === request.plane &&
          request.first <= look.k + AHEAD + BLOCK &&
          request.first + request.count > look.k - AHEAD - BLOCK,
      );
      if (!near) {
        request.abort.abort();
        this.running.delete(key);
      }
    }
    this.#pump();
  }

  stop() {
    this.broken = true;
    for (const request of this.running.values()) request.abort.abort();
    this.running.clear();
  }

  /** The slices that one look asks for, the one in view first. */
  #order({ plane, k, direction, wide }) {
    const count = this.geometry.count(plane);
    const found = [{ plane, k, now: true }];
    const [ahead, behind] = wide ? [AHEAD, BEHIND] : [2, 2];
    for (let step = 1; step <= ahead; step += 1) {
      found.push({ plane, k: k + step * direction });
      if (step <= behind) found.push({ plane, k: k - step * direction });
    }
    return found.filter((one) => one.k >= 0 && one.k < count);
  }

  #pump() {
    if (this.broken) return;
    for (const { plane, k, now } of this.wanted) {
      if (this.running.size >= AT_ONCE + (now ? 1 : 0)) return;
      if (!this.kept.has(`${plane}:${k}`) && !this.#coming(plane, k)) this.#fetch(plane, ...this.#block(plane, k, now));
    }
  }

  #coming(plane, k) {
    return [...this.running.values()].some(
      (one) => one.plane === plane && k >= one.first && k < one.first + one.count,
    );
  }

  /** First slice and count of what is asked for with slice k: itself alone where somebody waits for it. */
  #block(plane, k, now) {
    if (now) return [k, 1];
    const missing = (at) => !this.kept.has(`${plane}:${at}`) && !this.#coming(plane, at);
    const start = k - (k % BLOCK);
    const stop = Math.min(start + BLOCK, this.geometry.count(plane));
    let [first, last] = [k, k];
    while (first > start && missing(first - 1)) first -= 1;
    while (last + 1 < stop && missing(last + 1)) last += 1;
    return [first, last - first + 1];
  }

  async #fetch(plane, first, count) {
    const key = `${plane}:${first}:${count}`;
    const request = { plane, first, count, abort: new AbortController() };
    this.running.set(key, request);
    try {
      const path = `/cases/${this.job}/slices/${plane}/${first + 1}?count=${count}`;
      const answer = await ask(path, request.abort.signal);
      this.#keep(plane, first, new Int16Array(await answer.arrayBuffer()));
    } catch (error) {
      if (error.name !== "AbortError" && !this.broken) {
        this.stop();
        this.failed(error);
      }
    }
    if (this.running.get(key) === request) this.running.delete(key);
    this.#pump();
  }

  #keep(plane, first, values) {
    const size = this.geometry.rows(plane) * this.geometry.columns(plane);
    for (let n = 0; (n + 1) * size <= values.length; n += 1) {
      const key = `${plane}:${first + n}`;
      if (!this.kept.has(key)) {
        this.kept.set(key, values.slice(n * size, (n + 1) * size));
        this.bytes += 2 * size;
      }
      this.arrived(plane, first + n);
    }
    for (const [key, one] of this.kept) {
      if (this.bytes <= LARGEST_BYTES) return;
      this.kept.delete(key);
      this.bytes -= one.byteLength;
    }
  }
}
