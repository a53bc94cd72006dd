/** What the reader sees: pictures with their distances, and the patches that vote for one pixel. */
import { make } from "./dom.mjs";
import { paintFrames, paintGray, paintPatch } from "./paint.mjs";
import { SIDE } from "./state.mjs";

/**
 * One picture: a title, a canvas that can be pointed at, and a note with its distances.
 *
 * Its status is "current"; "preview", from some of the training images; "computing", of an older setting; or "missing".
 */
export class Picture {
  /**
   * @param {string} title
   * @param {string} help said to who cannot see it
   * @param {(row: number, col: number, press: "start" | "move" | "key" | null) => void} pointed
   */
  constructor(title, help, pointed) {
    this.canvas = make("canvas", { width: SIDE, height: SIDE });
    this.frames = make("canvas", { class: "try-frames", "aria-hidden": "true" });
    this.blank = make("span", { class: "try-blank" });
    this.grid = make(
      "div",
      { class: "try-grid", role: "application", tabindex: "0", "aria-label": `${title}. ${help}` },
      this.canvas,
      this.frames,
      this.blank,
    );
    this.note = make("div", { class: "try-note" });
    this.badge = make("span", { class: "try-badge" });
    this.figure = make(
      "figure",
      { class: "try-picture" },
      make("figcaption", {}, make("b", { text: title }), this.badge),
      this.grid,
      this.note,
    );
    this.pointed = pointed;
    this.at = [0, 0];
    this.#listen();
  }

  /** @param {"current" | "preview" | "computing" | "missing"} status */
  setStatus(status, badge = "") {
    this.figure.dataset.status = status;
    this.badge.textContent = badge;
  }

  /** The distances in dB, a line each; none where they are not known. */
  setNote(lines) {
    this.note.replaceChildren(...lines.map((line) => make("div", { text: line })));
  }

  /** Why there is no picture; "" where there is one. */
  setBlank(reason) {
    this.blank.textContent = reason;
  }

  setPaintable(paintable) {
    this.grid.classList.toggle("try-paintable", paintable);
  }

  /** Frame the pixel that is explained and the patch that the formula sees. */
  frame(row, col, patchSize) {
    this.at = [row, col];
    paintFrames(this.frames, row, col, patchSize);
  }

  #listen() {
    const place = (event) => {
      const box = this.canvas.getBoundingClientRect();
      const index = (offset, length) => Math.min(SIDE - 1, Math.max(0, Math.floor((offset / length) * SIDE)));
      return [index(event.clientY - box.top, box.height), index(event.clientX - box.left, box.width)];
    };
    this.grid.addEventListener("pointerdown", (event) => {
      if (this.grid.classList.contains("try-paintable")) this.grid.setPointerCapture(event.pointerId);
      this.pointed(...place(event), "start");
    });
    this.grid.addEventListener("pointermove", (event) => {
      const pressed = event.buttons > 0;
      if (pressed || event.pointerType === "mouse") this.pointed(...place(event), pressed ? "move" : null);
    });
    this.grid.addEventListener("keydown", (event) => {
      const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
      const press = event.key === " " || event.key === "Enter" ? "key" : null;
      if (!step && !press) return;
      event.preventDefault();
      const [row, col] = this.at.map((value, axis) => (value + (step?.[axis] ?? 0) + SIDE) % SIDE);
      this.pointed(row, col, press);
    });
  }
}

/** The vote for one pixel: the noisy patch, and the training images whose patches weigh most. */
export class VotePanel {
  constructor() {
    this.sentence = make("p", { class: "try-sentence", "aria-live": "polite" });
    this.row = make("div", { class: "try-sources" });
    this.element = make(
      "section",
      { class: "try-vote", "aria-label": "The vote for one pixel" },
      make("h3", { text: "The vote for one pixel" }),
      this.sentence,
      this.row,
    );
  }

  setStatus(status) {
    this.element.dataset.status = status;
  }

  /**
   * @param {{row: number, col: number, sources: import("./sources.mjs").Source[], effective: number, mean: number,
   *     competing: number}} vote
   * @param {{y: Float32Array, truth: Float32Array, patchSize: number, training: Float32Array[]}} shown
   */
  show({ row, col, sources, effective, mean, competing }, { y, truth, patchSize, training }) {
    const share = sources.reduce((sum, { weight }) => sum + weight, 0);
    this.sentence.textContent =
      `Row ${row + 1}, column ${col + 1}: ${formatCount(effective)} effective votes of ${formatCount(competing)} patches. ` +
      `The ${sources.length} heaviest carry ${formatShare(share)} of the weight. ` +
      `Output ${mean.toFixed(3)}, truth ${truth[row * SIDE + col].toFixed(3)}.`;
    const noisy = make("canvas", { class: "try-noisy" });
    paintPatch(noisy, y, row, col, patchSize);
    this.row.replaceChildren(
      card(noisy, null, "noisy patch", "asks"),
      ...sources.map((source) => {
        const canvas = make("canvas", { width: SIDE, height: SIDE });
        paintGray(canvas, training[source.image]);
        const frames = make("canvas", { class: "try-frames" });
        paintFrames(frames, source.row, source.col, patchSize);
        return card(canvas, frames, formatShare(source.weight), `says ${source.value.toFixed(2)}`, source.image + 1);
      }),
    );
  }
}

function card(canvas, frames, title, note, number) {
  const name = number === undefined ? title : `Training image ${number}: ${title} of the weight, ${note}`;
  return make(
    "figure",
    { class: "try-source", role: "img", "aria-label": name },
    make("b", { text: title }),
    make("span", { class: "try-grid" }, canvas, frames),
    make("span", { class: "try-note", text: note }),
  );
}

/** A number of votes: two digits where there are few. */
export function formatCount(value) {
  if (value < 10) return value.toFixed(1);
  return Math.round(value).toLocaleString("en");
}

function formatShare(share) {
  if (share < 0.001) return "< 0.1 %";
  return share < 0.1 ? `${(100 * share).toFixed(1)} %` : `${Math.round(100 * share)} %`;
}

/** A distance, "equal" where there is none. */
export function formatDecibel(value) {
  return Number.isFinite(value) ? `${value.toFixed(1)} dB` : "equal";
}
