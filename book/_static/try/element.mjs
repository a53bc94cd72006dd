/**
 * <lemmse-try>: the formula, the trained network and the best affine filter on the reader's own image, live.
 *
 * Attributes: view = "full" (default), "pixel" or "patchwork"; image, operator, sigma, P set where it starts. What stands
 * inside the element is shown where there is no JavaScript. Only the full view keeps its state in the address.
 */
import { button, Controls } from "./controls.mjs";
import { loadImages } from "./data.mjs";
import { make } from "./dom.mjs";
import { STEPS } from "./guide.mjs";
import { median, psnr } from "./metrics.mjs";
import { normal } from "./noise.mjs";
import { applyOperator, measure } from "./operators.mjs";
import { paintGray, paintMeasurement, paintPieces, paintVotes } from "./paint.mjs";
import { readPicture } from "./picture.mjs";
import { pythonFor } from "./python.mjs";
import { Solver } from "./solver.mjs";
import { decodeState, encodeState, initialState, isOwn, SIDE } from "./state.mjs";
import { formatCount, formatDecibel, Picture, VotePanel } from "./view.mjs";

const TITLES = {
  measurement: "Measurement",
  formula: "Formula",
  network: "Trained network",
  affine: "Best affine filter",
  truth: "Truth",
  votes: "Effective votes",
  pieces: "Pieces",
};
const VIEWS = {
  full: ["measurement", "formula", "network", "affine", "truth", "votes"],
  pixel: ["measurement", "formula", "truth"],
  patchwork: ["measurement", "formula", "pieces", "votes"],
};
const OF_FORMULA = ["formula", "votes", "pieces"];
const SOURCES = 6;
const PREFIX = "#try?";
const FULL_PAGE = new URL("../../try_it.html", import.meta.url);
const HELP = "Arrow keys move the pixel that is explained.";

class TryIt extends HTMLElement {
  async connectedCallback() {
    if (this.solver) return;
    this.view = this.getAttribute("view") in VIEWS ? this.getAttribute("view") : "full";
    this.full = this.view === "full";
    this.solver = new Solver({
      formula: (answer) => this.#showFormula(answer),
      controls: (answer) => this.#showControls(answer),
      sources: (answer) => this.#showSources(answer),
      failed: (message) => this.#fail(message),
    });
    this.revision = 0;
    this.estimates = {}; // of the current state: formula, network, affine, as far as they are exact
    try {
      this.data = await loadImages();
    } catch {
      return; // the still picture stays
    }
    const attributes = Array.from(this.attributes, ({ name, value }) => [name === "patch" ? "P" : name, value]);
    this.start = this.#known(decodeState(new URLSearchParams(attributes).toString(), initialState()));
    this.state = this.start;
    this.#build();
    if (this.full) {
      this.onHash = () => this.#readAddress();
      addEventListener("hashchange", this.onHash);
      this.#readAddress();
    }
    this.#refresh();
  }

  disconnectedCallback() {
    removeEventListener("hashchange", this.onHash);
    this.solver?.stop();
    this.solver = null;
  }

  #build() {
    this.pictures = Object.fromEntries(
      VIEWS[this.view].map((name) => [
        name,
        new Picture(TITLES[name], HELP, (...where) => this.#point(name, ...where)),
      ]),
    );
    this.panel = new VotePanel();
    this.controls = new Controls(
      this.data,
      !this.full,
      (change) => this.#change(change),
      (file) => this.#pick(file),
    );
    this.summary = make("p", { class: "try-summary", role: "status" });
    this.message = make("p", { class: "try-message", role: "status" });
    const figures = Object.values(this.pictures).map(({ figure }) => figure);
    this.classList.add("try", `try-view-${this.view}`);
    this.replaceChildren(
      ...[
        this.full ? this.#guide() : null,
        this.controls.element,
        make("div", { class: "try-pictures" }, ...figures),
        this.summary,
        this.panel.element,
        this.#buttons(),
        this.message,
      ].filter(Boolean),
    );
    if (this.full) this.#acceptDrops();
  }

  #guide() {
    this.look = make("p", { class: "try-look", role: "status" });
    this.steps = STEPS.map(({ title, look, state }, number) => {
      return button(title, () => {
        this.look.textContent = look;
        this.#markStep(number);
        this.#change({ ...state, seed: 0 });
      });
    });
    const items = this.steps.map((step) => make("li", {}, step));
    return make("section", { class: "try-guide", "aria-label": "Five steps" }, make("ol", {}, ...items), this.look);
  }

  /** Show which of the five steps was taken last; -1 for none. */
  #markStep(number) {
    this.steps?.forEach((step, i) => {
      if (i === number) step.setAttribute("aria-current", "step");
      else step.removeAttribute("aria-current");
    });
  }

  #buttons() {
    const copy = (text, said) => {
      navigator.clipboard.writeText(text).then(
        () => this.#say(said),
        () => this.#say(`The browser does not allow copying. Here it is: ${text}`),
      );
    };
    const all = [
      button("New noise", () => this.#change({ seed: this.state.seed + 1 })),
      button("Reset", () => this.#reset()),
    ];
    if (this.full) {
      all.push(
        button("Copy link to this setting", () => copy(this.#address(), "The link is copied.")),
        button("Copy Python", () =>
          copy(this.python, "The Python is copied: it gives these numbers with the library."),
        ),
      );
    }
    this.more = this.full ? null : make("a", { text: "Open this in Try it" });
    return make("div", { class: "try-buttons" }, ...all, this.more);
  }

  /** The Python that gives, with the library, what is shown now. */
  get python() {
    return pythonFor(this.state, this.data.preset, this.data.trained);
  }

  #address() {
    return new URL(PREFIX + encodeState(this.state), location.href).href;
  }

  #readAddress() {
    if (!location.hash.startsWith(PREFIX)) return;
    const text = location.hash.slice(PREFIX.length);
    if (text !== encodeState(this.state)) this.#change(this.#known(decodeState(text, this.start)), false);
  }

  /** A state whose image exists. */
  #known(state) {
    const [split, number] = state.image.split("-");
    return isOwn(state.image) || this.data[split][number] ? state : { ...state, image: "test-1" };
  }

  #reset() {
    if (this.look) this.look.textContent = "";
    this.#markStep(-1);
    this.#say("");
    this.#change(this.start);
    if (this.full) history.replaceState(null, "", location.pathname + location.search);
    this.touched = false;
  }

  #change(change, touched = true) {
    this.state = { ...this.state, ...change };
    this.touched ||= touched;
    this.#refresh();
  }

  /** Measure anew, show what is known at once, and ask for the rest. */
  #refresh() {
    const { state } = this;
    this.revision += 1;
    this.controls.show(state);
    this.truth = this.#truth();
    const signal = applyOperator(state.operator, this.truth, state.hidden, SIDE, SIDE);
    this.y = measure(signal, normal(state.seed, SIDE * SIDE), state.sigma);
    this.estimates = {};
    this.summary.dataset.status = "computing";
    const { operator, hidden, sigma, patchSize } = state;
    this.request = { y: this.y, operator, hidden, sigma, patchSize };
    for (const [name, picture] of Object.entries(this.pictures)) {
      picture.setNote([]);
      picture.setStatus("computing", "computing …");
      const paintable = (name === "truth" && isOwn(state.image)) || (name === "measurement" && operator === "hole");
      picture.setPaintable(this.full && paintable);
    }
    paintMeasurement(this.pictures.measurement.canvas, this.y, operator === "hole" ? hidden : null);
    this.pictures.measurement.setStatus("current");
    this.pictures.measurement.setNote([`to truth ${formatDecibel(psnr(this.y, this.truth))}`]);
    if (this.pictures.truth) {
      paintGray(this.pictures.truth.canvas, this.truth);
      this.pictures.truth.setStatus("current");
    }
    this.more?.setAttribute("href", FULL_PAGE + PREFIX + encodeState(state));
    this.solver.solve(this.request, this.revision, this.full);
    this.#explain();
  }

  #truth() {
    const [split, number] = this.state.image.split("-");
    return isOwn(split) ? Float32Array.from(this.state.pixels, (value) => value / 255) : this.data[split][number];
  }

  #explain() {
    const { row, col, patchSize } = this.state;
    for (const picture of Object.values(this.pictures)) picture.frame(row, col, patchSize);
    this.panel.setStatus("computing");
    this.solver.explain(this.request, this.revision, row, col, SOURCES);
  }

  #showFormula({ revision, images, exact, milliseconds, mean, effective, heaviest }) {
    const current = revision === this.revision;
    const { pictures } = this;
    paintGray(pictures.formula.canvas, mean);
    if (pictures.votes) paintVotes(pictures.votes.canvas, effective, images * SIDE * SIDE);
    if (pictures.pieces) paintPieces(pictures.pieces.canvas, heaviest);
    if (!current) return; // it stays marked as being computed
    const total = this.data.training.length;
    const first = pictures.formula.figure.dataset.status === "computing";
    if (exact || first) this.dataset[exact ? "exactMilliseconds" : "previewMilliseconds"] = Math.round(milliseconds);
    const [status, badge] = exact ? ["current", "exact"] : ["preview", `${images} of ${total}`];
    for (const name of OF_FORMULA) pictures[name]?.setStatus(status, badge);
    pictures.formula.setNote([`to truth ${formatDecibel(psnr(mean, this.truth))}`]);
    const votes = median(effective);
    pictures.votes?.setNote([`median ${formatCount(votes)}`]);
    if (!exact) return;
    Object.assign(this.estimates, { formula: mean, votes });
    this.#compare();
  }

  #showControls({ revision, network, affine }) {
    if (revision !== this.revision) return;
    paintGray(this.pictures.affine.canvas, affine);
    this.pictures.affine.setStatus("current");
    const picture = this.pictures.network;
    picture.setStatus(network ? "current" : "missing", network ? `P = ${this.data.networkPatchSize}` : "");
    picture.setBlank(network ? "" : "No network was trained on a painted hole.");
    if (network) paintGray(picture.canvas, network);
    Object.assign(this.estimates, { network, affine });
    this.#compare();
  }

  /** The distances, as soon as both sides of each are exact and current. */
  #compare() {
    const { formula, network, affine, votes } = this.estimates;
    const distances = {};
    for (const [name, estimate] of Object.entries({ network, affine })) {
      if (!estimate) continue;
      const toTruth = formatDecibel(psnr(estimate, this.truth));
      const toFormula = formula && formatDecibel(psnr(estimate, formula));
      this.pictures[name].setNote([`to truth ${toTruth}`, ...(formula ? [`to formula ${toFormula}`] : [])]);
      distances[name] = { toTruth, toFormula };
    }
    if (!formula || (this.full && !affine)) return;
    const sentences = [`Exact, from ${this.data.training.length} training images.`];
    sentences.push(`Formula to truth ${formatDecibel(psnr(formula, this.truth))}.`);
    if (network)
      sentences.push(`Network to formula ${distances.network.toFormula}, to truth ${distances.network.toTruth}.`);
    if (affine)
      sentences.push(`Affine filter to formula ${distances.affine.toFormula}, to truth ${distances.affine.toTruth}.`);
    sentences.push(`Half of the pixels have ${formatCount(votes)} effective votes or fewer.`);
    this.summary.textContent = sentences.join(" ");
    this.summary.dataset.status = "current";
    this.dataset.settled = this.revision;
    if (this.full && this.touched) history.replaceState(null, "", this.#address());
  }

  #showSources(answer) {
    const { row, col, patchSize } = this.state;
    if (answer.revision !== this.revision || answer.row !== row || answer.col !== col) return;
    this.panel.show(answer, { y: this.y, truth: this.truth, patchSize, training: this.data.training });
    this.panel.setStatus("current");
  }

  /** The reader points at a pixel of a picture, and may press to paint there. */
  #point(name, row, col, press) {
    const { state } = this;
    const moved = row !== state.row || col !== state.col;
    this.state = { ...state, row, col };
    if (press && this.pictures[name].grid.classList.contains("try-paintable")) this.#paint(name, row, col, press);
    else if (moved) this.#explain();
  }

  #paint(name, row, col, press) {
    const key = name === "truth" ? "pixels" : "hidden";
    const at = row * SIDE + col;
    if (press !== "move") this.brush = name === "truth" ? this.controls.ink : 1 - this.state.hidden[at];
    const painted = this.state[key].slice();
    for (const m of [at, at + 1, at + SIDE, at + SIDE + 1]) {
      if (m < painted.length && (m - at) % SIDE <= SIDE - 1 - col) painted[m] = this.brush;
    }
    this.#change({ [key]: painted });
  }

  #acceptDrops() {
    this.addEventListener("dragover", (event) => event.preventDefault());
    this.addEventListener("drop", (event) => {
      event.preventDefault();
      const file = event.dataTransfer.files[0];
      if (file) this.#pick(file);
    });
  }

  async #pick(file) {
    try {
      this.#change({ image: "picture", pixels: await readPicture(file) });
      this.#say("Your picture is shown as 28 × 28 gray values. It has not left your browser.");
    } catch (error) {
      this.#say(error.message);
    }
  }

  #say(text) {
    this.message.textContent = text;
  }

  #fail(message) {
    if (this.message) this.#say(`Something went wrong while computing: ${message}`);
  }
}

customElements.define("lemmse-try", TryIt);
