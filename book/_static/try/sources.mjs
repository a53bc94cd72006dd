/**
 * Where one output pixel comes from: the training patches that vote for it, their weights, and how many count.
 *
 * This is the formula written out for one m, every weight kept: it shares no box-sum and no softmax with `formula.mjs`.
 */
import { periodicRows, wrap } from "./formula.mjs";

/**
 * @typedef {object} Source
 * @property {number} image i, the training image
 * @property {number} row of the patch's center k
 * @property {number} col
 * @property {number} weight w_{i,k}, of all weights
 * @property {number} value x_i[k], the clean center pixel
 */

/**
 * @param {Float32Array} y the measurement
 * @param {Float32Array[]} keys A x_i
 * @param {Float32Array[]} images x_i
 * @param {number} row of the output pixel m
 * @param {number} col
 * @param {import("./formula.mjs").Setting} setting
 * @param {number} count how many sources to name, the heaviest
 * @returns {{sources: Source[], effective: number, mean: number, competing: number}}
 */
export function sourcesOf(y, keys, images, row, col, { height, width, patchSize, sigma }, count) {
  const pixels = height * width;
  const half = patchSize >> 1;
  const length = width + 2 * half; // a row of an image and what a patch sees left and right of it
  const unit = 1 / (sigma * Math.SQRT2); // squared differences in this unit are terms of the exponent
  const rows = new Float64Array(height * length);
  const logits = new Float64Array(keys.length * pixels);
  keys.forEach((key, i) => {
    const ofImage = logits.subarray(i * pixels, (i + 1) * pixels);
    periodicRows(rows, key, height, width, half, unit, 0);
    for (const [r, c] of patchOffsets(patchSize)) {
      const value = unit * y[wrap(row + r, height) * width + wrap(col + c, width)];
      for (let k = 0; k < height; k++) {
        const from = wrap(k + r, height) * length + half + c;
        for (let j = 0; j < width; j++) {
          const difference = value - rows[from + j];
          ofImage[k * width + j] -= difference * difference;
        }
      }
    }
  });
  const largest = logits.reduce((a, b) => Math.max(a, b), -Infinity);
  const weights = logits.map((logit) => Math.exp(logit - largest));
  const total = weights.reduce((a, b) => a + b);
  let [mean, squares] = [0, 0];
  weights.forEach((weight, at) => {
    mean += (weight / total) * images[Math.floor(at / pixels)][at % pixels];
    squares += (weight / total) ** 2;
  });
  const sources = largestOf(weights, count).map((at) => {
    const [image, k] = [Math.floor(at / pixels), at % pixels];
    return { image, row: Math.floor(k / width), col: k % width, weight: weights[at] / total, value: images[image][k] };
  });
  return { sources, effective: 1 / squares, mean, competing: logits.length };
}

/** The offsets (row, column) of the pixels of a P x P patch from its center. */
export function patchOffsets(patchSize) {
  const half = patchSize >> 1;
  const axis = Array.from({ length: patchSize }, (_, j) => j - half);
  return axis.flatMap((r) => axis.map((c) => [r, c]));
}

/** The places of the `count` largest values, in descending order. */
function largestOf(values, count) {
  const places = [];
  for (let at = 0; at < values.length; at++) {
    if (places.length === count && values[at] <= values[places.at(-1)]) continue;
    const rank = places.findIndex((other) => values[other] < values[at]);
    places.splice(rank < 0 ? places.length : rank, 0, at);
    if (places.length > count) places.pop();
  }
  return places;
}
