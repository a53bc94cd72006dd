/**
 * Sends what the reader asks for to the workers, the newest first, and hands their answers on.
 *
 * While the reader drags, requests come faster than answers. Each kind of request has a line of its own, in which only
 * the newest waits; a formula request that has given its preview makes room at once.
 */
import { finish, merge } from "./formula.mjs";

/** Two workers for the formula, more where the machine has cores to spare: the page and the other worker need one. */
const FORMULA_WORKERS = Math.min(4, Math.max(2, (navigator.hardwareConcurrency ?? 2) - 1));

/** One kind of request: one at a time runs, and only the newest waits. */
class Line {
  constructor(workers, answer) {
    this.workers = workers;
    this.answer = answer; // (job, message) => void
    this.job = null;
    this.waiting = null;
    this.started = 0;
    for (const worker of workers) worker.addEventListener("message", ({ data }) => this.#receive(data));
  }

  submit(job) {
    this.waiting = job;
    if (!this.job || this.job.mayStop) this.#next();
  }

  /** End the job that runs, or note that it may give way, and start the one that waits. */
  finish() {
    this.job = null;
    if (this.waiting) this.#next();
  }

  mayStop() {
    this.job.mayStop = true;
    if (this.waiting) this.#next();
  }

  #next() {
    if (this.job) for (const worker of this.workers) worker.postMessage({ stop: this.job.id });
    this.started += 1;
    this.job = { ...this.waiting, id: `${this.waiting.task} ${this.started}`, answers: [], started: performance.now() };
    this.waiting = null;
    this.workers.forEach((worker, part) => {
      const { id, task, request, row, col, count } = this.job;
      worker.postMessage({ id, task, request, part, parts: this.workers.length, row, col, count });
    });
  }

  #receive(data) {
    if (data.id === this.job?.id) this.answer(this.job, data); // else it answers a job that was stopped
  }
}

export class Solver {
  /**
   * @param {object} listener what is called with the answers, each with the revision of its request:
   *     formula({revision, images, exact, milliseconds, mean, effective, heaviest}), controls({revision, network,
   *     affine}), sources({revision, row, col, sources, effective, mean, competing}), failed(message)
   */
  constructor(listener) {
    const start = () => new Worker(new URL("worker.mjs", import.meta.url), { type: "module" });
    const others = start();
    this.workers = [others, ...Array.from({ length: FORMULA_WORKERS }, start)];
    this.listener = listener;
    this.formula = new Line(this.workers.slice(1), (job, message) => this.#formulaAnswer(job, message));
    this.controls = new Line([others], (job, message) => this.#answer(this.controls, job, message));
    this.sources = new Line([others], (job, message) => this.#answer(this.sources, job, message));
    for (const worker of this.workers) worker.addEventListener("error", (event) => listener.failed(event.message));
  }

  /**
   * Ask for the formula, and after its preview for network and affine filter if they are shown: the preview has the
   * cores for itself.
   * @param {{y: Float32Array, operator: string, hidden: Uint8Array, sigma: number, patchSize: number}} request
   * @param {number} revision of the state that it belongs to
   */
  solve(request, revision, withControls) {
    this.formula.submit({ task: "formula", request, revision });
    this.afterPreview = withControls ? { task: "controls", request, revision } : null;
  }

  /** Ask for the `count` heaviest training patches of the pixel (row, col). */
  explain(request, revision, row, col, count) {
    this.sources.submit({ task: "sources", request, revision, row, col, count });
  }

  stop() {
    for (const worker of this.workers) worker.terminate();
  }

  #formulaAnswer(job, message) {
    if (message.error) return this.#fail(this.formula, message);
    job.answers[message.part] = message;
    const answers = job.answers.filter(Boolean);
    const exact = answers.length === FORMULA_WORKERS && answers.every(({ done }) => done);
    const vote = answers.map((answer) => answer.vote).reduce(merge);
    const milliseconds = performance.now() - job.started;
    if (this.afterPreview?.revision === job.revision) {
      this.controls.submit(this.afterPreview);
      this.afterPreview = null;
    }
    this.listener.formula({ revision: job.revision, images: vote.images, exact, milliseconds, ...finish(vote) });
    if (exact) this.formula.finish();
    else this.formula.mayStop();
  }

  #answer(line, job, message) {
    if (message.error) return this.#fail(line, message);
    this.listener[job.task]({ ...message, revision: job.revision });
    line.finish();
  }

  #fail(line, { error }) {
    this.listener.failed(error);
    line.finish();
  }
}
