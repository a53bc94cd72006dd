/**
 * LE-MMSE with B = I, the estimator of the page "The theory in five minutes":
 *
 *     x_hat[m] = sum_{i,k} w_{i,k} x_i[k],    w_{i,k} ~ exp(-|Pi_m y - Pi_k A x_i|^2 / (2 sigma^2))
 *
 * over all training images i and positions k. For one image and one shift s = k - m, the distances of all patches at once
 * are the P x P box-sum of one image of squared differences, (y[m] - (A x_i)[m + s])^2, on the torus. The softmax is
 * online: each pixel keeps its largest logit and sums that are relative to it, so that no weight is ever stored, and
 * votes over different images merge into one.
 */

/** Weights below exp(-CUT) of the largest are left out: together they weigh less than 1e-6 of it. */
const CUT = 26;
const STEPS = 64; // tabulated exponentials between two integers
const TABLE = Float64Array.from({ length: CUT * STEPS + 1 }, (_, i) => Math.exp(-i / STEPS));

/**
 * exp(-t) for 0 <= t <= CUT, to 1e-11: a table for the multiples of 1/64 and four terms of the series for the rest.
 * @param {number} t
 */
export function exponential(t) {
  const i = (t * STEPS) | 0;
  const f = t - i / STEPS;
  return TABLE[i] * (1 - f * (1 - f * (1 / 2 - f * (1 / 6 - f / 24))));
}

/** What the softmax over training patches keeps for each pixel m; `l` stands for the logits, `u` for the center pixels. */
export class Vote {
  /** @param {number} pixels n, the number of output pixels */
  constructor(pixels) {
    this.images = 0; // training images that have voted
    this.largest = new Float64Array(pixels).fill(-Infinity); // max l
    this.weight = new Float64Array(pixels); // sum exp(l - max l)
    this.value = new Float64Array(pixels); // sum exp(l - max l) u
    this.square = new Float64Array(pixels); // sum exp(l - max l)^2
    this.heaviest = new Int32Array(pixels).fill(-1); // i n + k of the patch with the largest logit
  }
}

/**
 * @typedef {object} Setting
 * @property {number} height H of all images
 * @property {number} width W
 * @property {number} patchSize P, odd, at most H and W
 * @property {number} sigma the noise level, positive
 */

/**
 * Let all patches of one training image vote.
 * @param {Vote} vote changed in place
 * @param {Float32Array} y the measurement
 * @param {Float32Array} key A x_i, the measured training image
 * @param {Float32Array} clean x_i
 * @param {number} image i, its number
 * @param {Setting} setting
 */
export function accumulate(vote, y, key, clean, image, setting) {
  const { height, width, patchSize, sigma } = check(setting, y);
  const half = patchSize >> 1;
  const row = width + 2 * half; // a row of the image and what a patch sees left and right of it
  const unit = 1 / (sigma * Math.SQRT2); // squared differences in this unit are terms of the exponent
  const queries = periodicRows(new Float64Array(height * row), y, height, width, half, unit, 0);
  const keys = periodicRows(new Float64Array(height * (row + width)), key, height, width, half, unit, 0);
  const values = periodicRows(new Float64Array(height * 2 * width), clean, height, width, 0, 1, 0);
  const differences = new Float64Array(row);
  const rowSums = new Float64Array(height * width); // box-sums along the rows
  const exponents = new Float64Array(width); // and along the columns: |Pi_m y - Pi_k A x_i|^2 / (2 sigma^2), one row of m
  for (let down = 0; down < height; down++) {
    for (let right = 0; right < width; right++) {
      sumAlongRows(rowSums, differences, queries, keys, down, right, height, width, patchSize);
      exponents.fill(0);
      for (let row = -half; row <= half; row++) {
        const at = wrap(row, height) * width;
        for (let col = 0; col < width; col++) exponents[col] += rowSums[at + col];
      }
      for (let row = 0; row < height; row++) {
        if (row > 0) {
          const entering = wrap(row + half, height) * width;
          const leaving = wrap(row - half - 1, height) * width;
          for (let col = 0; col < width; col++) exponents[col] += rowSums[entering + col] - rowSums[leaving + col];
        }
        castVotes(vote, exponents, values, row, down, right, height, width, image);
      }
    }
  }
  vote.images += 1;
}

/** For one shift, the sum of the squared differences over P neighbors in a row, at every pixel. */
function sumAlongRows(rowSums, differences, queries, keys, down, right, height, width, patchSize) {
  const rowLength = differences.length;
  const keyRowLength = keys.length / height;
  for (let row = 0; row < height; row++) {
    const query = row * rowLength;
    const key = wrap(row + down, height) * keyRowLength + right;
    for (let j = 0; j < rowLength; j++) {
      const difference = queries[query + j] - keys[key + j];
      differences[j] = difference * difference;
    }
    let sum = 0;
    for (let j = 0; j < patchSize - 1; j++) sum += differences[j];
    const at = row * width;
    for (let col = 0; col < width; col++) {
      sum += differences[col + patchSize - 1];
      rowSums[at + col] = sum;
      sum -= differences[col];
    }
  }
}

/** One step of the online softmax for each pixel of a row. */
function castVotes(vote, exponents, values, row, down, right, height, width, image) {
  const { largest, weight, value, square, heaviest } = vote;
  const keyRow = wrap(row + down, height);
  const clean = keyRow * 2 * width + right;
  for (let col = 0; col < width; col++) {
    const m = row * width + col;
    const logit = -exponents[col];
    const below = largest[m] - logit;
    if (below < 0) {
      const scale = Math.exp(below);
      weight[m] = weight[m] * scale + 1;
      value[m] = value[m] * scale + values[clean + col];
      square[m] = square[m] * scale * scale + 1;
      largest[m] = logit;
      heaviest[m] = (image * height + keyRow) * width + ((col + right) % width);
    } else if (below < CUT) {
      const w = exponential(below);
      weight[m] += w;
      value[m] += w * values[clean + col];
      square[m] += w * w;
    }
  }
}

/**
 * The vote of two disjoint sets of training images together.
 * @param {Vote} a
 * @param {Vote} b
 * @returns {Vote}
 */
export function merge(a, b) {
  const both = new Vote(a.largest.length);
  both.images = a.images + b.images;
  for (let m = 0; m < both.largest.length; m++) {
    const largest = Math.max(a.largest[m], b.largest[m]);
    if (largest === -Infinity) continue; // nobody has voted yet
    const [p, q] = [Math.exp(a.largest[m] - largest), Math.exp(b.largest[m] - largest)];
    both.largest[m] = largest;
    both.weight[m] = p * a.weight[m] + q * b.weight[m];
    both.value[m] = p * a.value[m] + q * b.value[m];
    both.square[m] = p * p * a.square[m] + q * q * b.square[m];
    both.heaviest[m] = a.largest[m] >= b.largest[m] ? a.heaviest[m] : b.heaviest[m];
  }
  return both;
}

/**
 * The estimate x_hat and the effective number of votes 1 / sum w^2 at each pixel.
 * @param {Vote} vote
 * @returns {{mean: Float32Array, effective: Float32Array, heaviest: Int32Array}}
 */
export function finish(vote) {
  const mean = Float32Array.from(vote.value, (value, m) => value / vote.weight[m]);
  const effective = Float32Array.from(vote.weight, (weight, m) => (weight * weight) / vote.square[m]);
  return { mean, effective, heaviest: vote.heaviest };
}

/**
 * Fill `rows` with the rows of an image, (value - center) * unit, each continued periodically to rows.length / height
 * pixels, of which `before` lie left of the image.
 */
export function periodicRows(rows, image, height, width, before, unit, center) {
  const length = rows.length / height;
  for (let row = 0; row < height; row++) {
    for (let j = 0; j < length; j++) {
      rows[row * length + j] = (image[row * width + wrap(j - before, width)] - center) * unit;
    }
  }
  return rows;
}

/** @returns {number} i modulo n, never negative */
export function wrap(i, n) {
  return ((i % n) + n) % n;
}

function check(setting, y) {
  const { height, width, patchSize, sigma } = setting;
  if (y.length !== height * width)
    throw new RangeError(`the image must have ${height * width} pixels, got ${y.length}`);
  if (!(patchSize % 2 === 1 && patchSize <= Math.min(height, width))) {
    throw new RangeError(`P must be odd and at most ${Math.min(height, width)}, got ${patchSize}`);
  }
  if (!(sigma > 0 && Number.isFinite(sigma))) throw new RangeError(`sigma must be positive and finite, got ${sigma}`);
  return setting;
}
