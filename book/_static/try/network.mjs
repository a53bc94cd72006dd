/**
 * The trained network: the PatchMLP of `lemmse.networks.architectures`, from the weights that the book trained,
 *
 *     x_hat = mu_x + a (y - mu_y) + s F((y - mu_y) / sqrt(var), sigma),
 *
 * with F a perceptron on each P x P patch: four layers SiLU(W v + b + W' embedding(sigma)), then a sum. Like the
 * formula, it sees P x P pixels and treats all positions alike.
 */
import { wrap } from "./formula.mjs";
import { patchOffsets } from "./sources.mjs";

/**
 * @param {(name: string) => {data: Float32Array, shape: number[]}} weight a tensor of the network by its name in PyTorch
 * @param {Float32Array} y the measurement
 * @param {{height: number, width: number, sigma: number}} setting
 * @returns {Float32Array}
 */
export function runNetwork(weight, y, { height, width, sigma }) {
  const scalar = (name) => weight(name).data[0];
  const variance = scalar("input_variance") + sigma * sigma * scalar("noise_variance");
  const covariance = scalar("covariance");
  const gain = covariance / variance;
  const unexplained = scalar("output_variance") - covariance ** 2 / variance;
  const spread = Math.sqrt(Math.max(unexplained, 1e-4 * scalar("output_variance")));
  const inputMean = scalar("input_mean");
  const scaled = Float64Array.from(y, (value) => (value - inputMean) / Math.sqrt(variance));
  const level = embedding(weight, sigma);
  let features = patchesOf(scaled, height, width, weight("body.layers.0.conv.weight").shape[2]);
  for (let layer = 0; layer < 4; layer++) {
    const noise = linear(weight, `body.layers.${layer}.noise`, level);
    const bias = weight(`body.layers.${layer}.conv.bias`).data;
    const shift = noise.map((value, o) => value + bias[o]);
    features = pointwise(weight(`body.layers.${layer}.conv.weight`).data, features, shift).map((row) => row.map(silu));
  }
  const [out] = pointwise(weight("body.out.weight").data, features, weight("body.out.bias").data);
  return y.map((value, m) => scalar("output_mean") + gain * (value - inputMean) + spread * out[m]);
}

/** sigma as 64 numbers: sines and cosines of log sigma, then two layers. */
function embedding(weight, sigma) {
  const level = Math.log(Math.max(sigma, 1e-6));
  const angles = [0.5, 1, 2, 4].map((frequency) => level * frequency);
  const waves = [level / 4, ...angles.map(Math.sin), ...angles.map(Math.cos)];
  const hidden = linear(weight, "embedding.mlp.0", Float64Array.from(waves)).map(silu);
  return linear(weight, "embedding.mlp.2", hidden).map(silu);
}

/** W v + b for one vector. */
function linear(weight, name, v) {
  const { data } = weight(`${name}.weight`);
  return Float64Array.from(weight(`${name}.bias`).data, (sum, o) => {
    for (let i = 0; i < v.length; i++) sum += data[o * v.length + i] * v[i];
    return sum;
  });
}

/** W features + shift at all pixels: `features` and the result hold one row of pixels for each channel. */
function pointwise(W, features, shift) {
  const channels = features.length;
  const pixels = features[0].length;
  return Array.from(shift, (start, o) => {
    const out = new Float64Array(pixels).fill(start);
    let i = 0;
    for (; i + 3 < channels; i += 4) {
      const at = o * channels + i;
      const [p, q, r, s] = [W[at], W[at + 1], W[at + 2], W[at + 3]];
      const [a, b, c, d] = [features[i], features[i + 1], features[i + 2], features[i + 3]];
      for (let m = 0; m < pixels; m++) out[m] += p * a[m] + q * b[m] + r * c[m] + s * d[m];
    }
    for (; i < channels; i++) {
      const [p, a] = [W[o * channels + i], features[i]];
      for (let m = 0; m < pixels; m++) out[m] += p * a[m];
    }
    return out;
  });
}

/** For each pixel of a P x P patch, what it holds at all positions: P^2 rows of pixels. */
function patchesOf(image, height, width, patchSize) {
  return patchOffsets(patchSize).map(([r, c]) => {
    return image.map((_, m) => image[wrap(Math.floor(m / width) + r, height) * width + wrap((m % width) + c, width)]);
  });
}

function silu(value) {
  return value / (1 + Math.exp(-value));
}
