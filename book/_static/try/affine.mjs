/**
 * The control: the best affine map of the P x P patch v of the measurement,
 *
 *     x_hat[m] = mean(u) + c^T (C + sigma^2 I)^-1 (v - mean(v)),    C = Cov(v), c = Cov(v, u),
 *
 * over all patches v = Pi_k A x_i and their clean center pixels u = x_i[k]. On the torus, every entry of C is the
 * autocorrelation of the measured training images at the difference of two offsets, and every entry of c is their
 * cross-correlation with the clean ones: two tables of H x W numbers say it all, for every P and sigma.
 */
import { wrap } from "./formula.mjs";
import { patchOffsets } from "./sources.mjs";

/**
 * @typedef {object} Moments
 * @property {number} keyMean mean(v)
 * @property {number} cleanMean mean(u)
 * @property {Float64Array} auto Cov of a measured pixel with the one at a shift, (height, width)
 * @property {Float64Array} cross Cov of a clean pixel with the measured one at a shift
 */

/**
 * @param {Float32Array[]} keys A x_i
 * @param {Float32Array[]} images x_i
 * @param {number} height
 * @param {number} width
 * @returns {Moments}
 */
export function moments(keys, images, height, width) {
  const pixels = height * width;
  const auto = { re: new Float64Array(pixels), im: new Float64Array(pixels) };
  const cross = { re: new Float64Array(pixels), im: new Float64Array(pixels) };
  const zero = new Float64Array(pixels);
  const [keyMean, cleanMean] = [meanOf(keys), meanOf(images)];
  for (let i = 0; i < keys.length; i++) {
    const a = fourier(
      Float64Array.from(keys[i], (value) => value - keyMean),
      zero,
      height,
      width,
    );
    const x = fourier(
      Float64Array.from(images[i], (value) => value - cleanMean),
      zero,
      height,
      width,
    );
    for (let f = 0; f < pixels; f++) {
      auto.re[f] += a.re[f] ** 2 + a.im[f] ** 2;
      cross.re[f] += x.re[f] * a.re[f] + x.im[f] * a.im[f]; // the conjugate of X times A
      cross.im[f] += x.re[f] * a.im[f] - x.im[f] * a.re[f];
    }
  }
  // The inverse transform is the forward one of the conjugate, conjugated, over n; the covariance is over N n patches.
  const covariance = ({ re, im }) => {
    const back = fourier(
      re,
      im.map((value) => -value),
      height,
      width,
    ).re;
    return back.map((value) => value / (keys.length * pixels * pixels));
  };
  return { keyMean, cleanMean, auto: covariance(auto), cross: covariance(cross) };
}

/**
 * (C + sigma^2 I)^-1 c, a number for each pixel of the patch.
 * @param {Moments} known
 * @param {import("./formula.mjs").Setting} setting
 * @returns {Float64Array}
 */
export function affineFilter(known, { height, width, patchSize, sigma }) {
  const offsets = patchOffsets(patchSize);
  const at = (table, r, c) => table[wrap(r, height) * width + wrap(c, width)];
  const C = offsets.map(([r, c]) => {
    return Float64Array.from(offsets, ([otherR, otherC]) => at(known.auto, otherR - r, otherC - c));
  });
  for (let j = 0; j < C.length; j++) C[j][j] += sigma * sigma;
  return solve(
    C,
    Float64Array.from(offsets, ([r, c]) => at(known.cross, r, c)),
  );
}

/**
 * The estimate of the affine map.
 * @param {Moments} known
 * @param {Float64Array} filter
 * @param {Float32Array} y
 * @param {import("./formula.mjs").Setting} setting
 * @returns {Float32Array}
 */
export function applyAffine(known, filter, y, { height, width, patchSize }) {
  const offsets = patchOffsets(patchSize);
  return y.map((_, m) => {
    const [row, col] = [Math.floor(m / width), m % width];
    let sum = known.cleanMean;
    for (let j = 0; j < offsets.length; j++) {
      const [r, c] = offsets[j];
      sum += filter[j] * (y[wrap(row + r, height) * width + wrap(col + c, width)] - known.keyMean);
    }
    return sum;
  });
}

/** The solution of A x = b for a symmetric, positive definite A, by Cholesky: A = L L^T; the rows of A become L. */
function solve(A, b) {
  const n = b.length;
  const x = Float64Array.from(b);
  for (let i = 0; i < n; i++) {
    for (let j = 0; j <= i; j++) {
      let sum = A[i][j];
      for (let k = 0; k < j; k++) sum -= A[i][k] * A[j][k];
      A[i][j] = i === j ? Math.sqrt(sum) : sum / A[j][j];
    }
    for (let k = 0; k < i; k++) x[i] -= A[i][k] * x[k];
    x[i] /= A[i][i];
  }
  for (let i = n - 1; i >= 0; i--) {
    for (let k = i + 1; k < n; k++) x[i] -= A[k][i] * x[k];
    x[i] /= A[i][i];
  }
  return x;
}

/** The discrete Fourier transform in two dimensions, along the rows and then along the columns. */
function fourier(re, im, height, width) {
  const rows = transformLines(re, im, height, width, width, 1);
  return transformLines(rows.re, rows.im, width, height, 1, width);
}

function transformLines(re, im, lines, length, lineStride, stride) {
  const angle = (2 * Math.PI) / length;
  const cos = Float64Array.from({ length }, (_, j) => Math.cos(angle * j));
  const sin = Float64Array.from({ length }, (_, j) => Math.sin(angle * j));
  const out = { re: new Float64Array(re.length), im: new Float64Array(re.length) };
  for (let line = 0; line < lines; line++) {
    for (let f = 0; f < length; f++) {
      let [real, imaginary] = [0, 0];
      for (let j = 0; j < length; j++) {
        const at = line * lineStride + j * stride;
        const turn = (f * j) % length;
        real += re[at] * cos[turn] + im[at] * sin[turn];
        imaginary += im[at] * cos[turn] - re[at] * sin[turn];
      }
      out.re[line * lineStride + f * stride] = real;
      out.im[line * lineStride + f * stride] = imaginary;
    }
  }
  return out;
}

function meanOf(images) {
  let sum = 0;
  for (const image of images) for (const value of image) sum += value;
  return sum / (images.length * images[0].length);
}
