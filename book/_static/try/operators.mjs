/**
 * The forward operators A of the page, and the measurement y = A x + e, e ~ N(0, sigma^2 I).
 *
 * The solver is physics-agnostic, B = I: it is given y itself, and A enters the formula through A x_i alone.
 */
import { wrap } from "./formula.mjs";

/** @typedef {"noise" | "hole" | "blur"} OperatorName */

export const BLUR_STD = 1; // pixels, as everywhere in the book
const BLUR_RADIUS = 3;

/** Samples of a Gaussian along one axis, with sum 1; the blur is its product over both axes. */
const PROFILE = (() => {
  const samples = Array.from({ length: 2 * BLUR_RADIUS + 1 }, (_, i) => {
    return Math.exp(-0.5 * ((i - BLUR_RADIUS) / BLUR_STD) ** 2);
  });
  const sum = samples.reduce((a, b) => a + b);
  return samples.map((sample) => sample / sum);
})();

/**
 * A x.
 * @param {OperatorName} operator
 * @param {Float32Array} x
 * @param {Uint8Array} hidden 1 where the painted hole hides a pixel; only "hole" looks at it
 * @param {number} height
 * @param {number} width
 * @returns {Float32Array}
 */
export function applyOperator(operator, x, hidden, height, width) {
  if (operator === "hole") return x.map((value, m) => (hidden[m] ? 0 : value));
  if (operator === "blur") return blur(x, height, width);
  return x;
}

/**
 * y = A x + sigma e, rounded to float32 where the library rounds.
 * @param {Float32Array} signal A x
 * @param {Float32Array} noise e, standard normal
 * @param {number} sigma
 */
export function measure(signal, noise, sigma) {
  const level = Math.fround(sigma);
  return signal.map((value, m) => value + Math.fround(level * noise[m]));
}

function blur(x, height, width) {
  const alongRows = new Float64Array(x.length);
  const blurred = new Float32Array(x.length);
  for (let row = 0; row < height; row++) {
    for (let col = 0; col < width; col++) {
      let sum = 0;
      for (let j = -BLUR_RADIUS; j <= BLUR_RADIUS; j++) {
        sum += PROFILE[j + BLUR_RADIUS] * x[row * width + wrap(col - j, width)];
      }
      alongRows[row * width + col] = sum;
    }
  }
  for (let row = 0; row < height; row++) {
    for (let col = 0; col < width; col++) {
      let sum = 0;
      for (let j = -BLUR_RADIUS; j <= BLUR_RADIUS; j++) {
        sum += PROFILE[j + BLUR_RADIUS] * alongRows[wrap(row - j, height) * width + col];
      }
      blurred[row * width + col] = sum;
    }
  }
  return blurred;
}
