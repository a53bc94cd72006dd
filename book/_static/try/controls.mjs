/** What the reader sets: image, operator, noise level, patch size. Native inputs, so that every key works. */
import { make } from "./dom.mjs";
import { paintGray } from "./paint.mjs";
import { isOwn, OPERATORS, PATCH_SIZES, SIDE, SIGMAS } from "./state.mjs";

const OPERATOR_NAMES = { noise: "Noise", hole: "Painted hole", blur: "Blur" };
const INKS = { black: 0, gray: 128, white: 255 };
const SHOWN_TRAINING = 4; // training images that can be chosen
let made = 0; // how many sets of controls there are on the page

export class Controls {
  /**
   * @param {import("./data.mjs").PageData} data
   * @param {boolean} small whether the operator and the reader's own images are left out
   * @param {(change: Partial<import("./state.mjs").State>) => void} changed
   * @param {(file: Blob) => void} picked a picture of the reader's own
   */
  constructor(data, small, changed, picked) {
    this.group = `try-${made++}`;
    this.ink = INKS.white;
    this.images = this.#imageChoice(data, small, changed, picked);
    this.operators = OPERATORS.map((operator) => {
      return this.#radio("operator", operator, OPERATOR_NAMES[operator], () => changed({ operator }));
    });
    this.sigma = slider("Noise σ", SIGMAS, (sigma) => changed({ sigma }), String);
    this.patchSize = slider(
      "Patch P",
      PATCH_SIZES,
      (patchSize) => changed({ patchSize }),
      (P) => `${P} × ${P}`,
    );
    this.inks = make(
      "fieldset",
      { class: "try-inks" },
      make("legend", { text: "Draw on the truth in" }),
      ...Object.entries(INKS).map(([name, ink]) => {
        return this.#radio("ink", name, name, () => {
          this.ink = ink;
        });
      }),
      button("Clear", () => changed({ pixels: new Uint8Array(SIDE * SIDE).fill(128) })),
    );
    this.inks.querySelector("[value=white]").checked = true;
    this.hole = make(
      "div",
      { class: "try-hole" },
      make("span", { class: "try-label", text: "Paint on the measurement." }),
      button("Clear the hole", () => changed({ hidden: new Uint8Array(SIDE * SIDE) })),
    );
    const operatorChoice = make("fieldset", {}, make("legend", { text: "Operator A" }), ...this.operators);
    this.element = make(
      "div",
      { class: "try-controls" },
      this.images,
      small ? null : this.inks,
      small ? null : operatorChoice,
      small ? null : this.hole,
      make("div", { class: "try-sliders" }, this.sigma.element, this.patchSize.element),
    );
  }

  /** Let all inputs say what the state says. */
  show(state) {
    for (const input of this.element.querySelectorAll("input[type=radio]")) {
      if (input.name.endsWith("image")) input.checked = input.value === state.image;
      if (input.name.endsWith("operator")) input.checked = input.value === state.operator;
    }
    this.sigma.show(state.sigma);
    this.patchSize.show(state.patchSize);
    this.inks.hidden = !isOwn(state.image);
    this.hole.hidden = state.operator !== "hole";
  }

  #imageChoice({ test, training }, small, changed, picked) {
    const thumbnails = (images, split, name) => {
      return images.map((image, i) => {
        const canvas = make("canvas", { width: SIDE, height: SIDE, "aria-hidden": "true" });
        paintGray(canvas, image);
        const value = `${split}-${i}`;
        return this.#radio("image", value, `${name} image ${i + 1}`, () => changed({ image: value }), canvas);
      });
    };
    const file = make("input", {
      type: "file",
      accept: "image/*",
      on: { change: () => file.files[0] && picked(file.files[0]) },
    });
    const own = [
      this.#radio("image", "drawing", "Draw", () => changed({ image: "drawing" })),
      make("label", { class: "try-file" }, make("span", { text: "Your own picture" }), file),
      make("small", { text: "or drop one here: it stays in your browser" }),
    ];
    return make(
      "fieldset",
      { class: "try-images" },
      make("legend", { text: "Test images, and four of the training images" }),
      make("div", { class: "try-thumbnails" }, ...thumbnails(test, "test", "Test")),
      make(
        "div",
        { class: "try-thumbnails" },
        ...thumbnails(training.slice(0, SHOWN_TRAINING), "training", "Training"),
      ),
      small ? null : make("div", { class: "try-own" }, ...own),
    );
  }

  #radio(what, value, label, chosen, picture = null) {
    const input = make("input", {
      type: "radio",
      name: `${this.group}-${what}`,
      value,
      "aria-label": label,
      on: { change: chosen },
    });
    const shown = picture ?? make("span", { text: label });
    return make("label", { class: picture ? "try-thumbnail" : "try-choice", title: picture && label }, input, shown);
  }
}

/** A slider over the values of a list, with its value beside it. */
function slider(label, values, chosen, format) {
  const output = make("output", { "aria-hidden": "true" }); // the slider says it
  const input = make("input", { type: "range", min: 0, max: values.length - 1, step: 1, "aria-label": label });
  const say = (value) => {
    output.textContent = format(value);
    input.setAttribute("aria-valuetext", format(value));
  };
  input.addEventListener("input", () => {
    const value = values[input.valueAsNumber];
    say(value);
    chosen(value);
  });
  return {
    element: make("label", { class: "try-slider" }, make("span", { class: "try-label", text: label }), input, output),
    show(value) {
      const distances = values.map((other) => Math.abs(Math.log(other / value)));
      input.value = String(distances.indexOf(Math.min(...distances)));
      say(value);
    },
  };
}

/** A button with its text. */
export function button(text, pressed) {
  return make("button", { type: "button", text, on: { click: pressed } });
}
