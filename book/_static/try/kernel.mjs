/**
 * The inner loop of `formula.mjs` in WebAssembly, four float32 lanes at a time: the same sums, about ten times faster.
 *
 * `vote.wasm` is compiled from `vote.ts`, where the loop is explained. It counts in powers of two and in float32, for one
 * training image; the sums over images stay in float64, in a `Vote`.
 */
import { periodicRows } from "./formula.mjs";

const LANES = 4;
const CENTER = 0.5; // of the gray values, taken off while float32 adds them

export class Kernel {
  /**
   * @param {BufferSource} code the bytes of vote.wasm
   * @returns {Promise<Kernel>} rejects where the browser has no WebAssembly with vectors
   */
  static async compile(code) {
    const memory = new WebAssembly.Memory({ initial: 8 });
    const { instance } = await WebAssembly.instantiate(code, { env: { memory } });
    return new Kernel(memory, instance.exports.vote);
  }

  constructor(memory, run) {
    this.memory = memory;
    this.run = run;
  }

  /** Whether the loop serves images of this setting: it needs rows of whole vectors. */
  static serves({ width }) {
    return width % LANES === 0;
  }

  /**
   * `accumulate` of formula.mjs, the same arguments and the same effect.
   * @param {import("./formula.mjs").Vote} vote
   */
  accumulate(vote, y, key, clean, image, { height, width, patchSize, sigma }) {
    const pixels = height * width;
    const half = patchSize >> 1;
    const queryRow = Math.ceil((width + 2 * half) / LANES) * LANES;
    const keyRow = queryRow + width;
    const unit = 1 / (2 * sigma * sigma * Math.LN2); // turns squared distances into powers of two
    const sizes = [height * queryRow, height * keyRow, 2 * pixels, queryRow, (height + patchSize) * width];
    const [queries, keys, values, differences, rowSums, least, weight, value, square, heaviest] = this.#place([
      ...sizes,
      ...Array(5).fill(pixels),
    ]);
    periodicRows(queries, y, height, width, half, 1, 0);
    periodicRows(keys, key, height, width, half, 1, 0);
    periodicRows(values, clean, height, width, 0, 1, CENTER);
    least.set(vote.largest.map((logit) => -logit / Math.LN2));
    for (const sums of [weight, value, square]) sums.fill(0);
    const numbers = new Int32Array(heaviest.buffer, heaviest.byteOffset, pixels);
    numbers.set(vote.heaviest);
    const addresses = [
      queries,
      queryRow,
      keys,
      keyRow,
      values,
      differences,
      rowSums,
      least,
      weight,
      value,
      square,
      numbers,
    ];
    const given = addresses.map((argument) => argument.byteOffset ?? argument);
    this.run(height, width, patchSize, unit, ...given, image * pixels);
    for (let m = 0; m < pixels; m++) {
      const largest = -least[m] * Math.LN2;
      const scale = Math.exp(vote.largest[m] - largest); // 0 for the first image
      vote.weight[m] = vote.weight[m] * scale + weight[m];
      vote.value[m] = vote.value[m] * scale + value[m] + CENTER * weight[m];
      vote.square[m] = vote.square[m] * scale * scale + square[m];
      vote.largest[m] = largest;
    }
    vote.heaviest.set(numbers);
    vote.images += 1;
  }

  /** Float32 arrays of these lengths, one after the other, each on a multiple of 16 bytes. */
  #place(lengths) {
    const starts = [0];
    for (const length of lengths) starts.push(starts.at(-1) + Math.ceil(length / LANES) * LANES * 4);
    const missing = starts.at(-1) - this.memory.buffer.byteLength;
    if (missing > 0) this.memory.grow(Math.ceil(missing / 65536));
    return lengths.map((length, i) => new Float32Array(this.memory.buffer, starts[i], length));
  }
}
