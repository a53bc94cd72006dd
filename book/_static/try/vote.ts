// The inner loop of formula.mjs in four lanes of float32: AssemblyScript, compiled into vote.wasm (see tests/js/README.md).
//
// For one training image it adds, at each output pixel m and over all positions k, to
//     weight[m] = sum 2^(least - t),  value[m] = sum 2^(least - t) u,  square[m] = sum 2^(2 (least - t))
// where t = |Pi_m y - Pi_k A x_i|^2 / (2 sigma^2) / ln 2, u = x_i[k] minus the center, and least = min t so far.
// No sum is updated by subtraction: a box-sum adds P numbers along the row and P down the column, so nothing cancels.

const CUT: f32 = 38; // 2^-38 of the largest weight: what lies below is left out
const LANES: i32 = 4;

/**
 * @param height, width of the images; width is a multiple of 4
 * @param patchSize P
 * @param unit 1 / (2 sigma^2 ln 2), what turns squared distances into t
 * @param queries (height, queryRow) y, each row continued P/2 pixels to both sides
 * @param keys (height, keyRow) A x_i, each row continued P/2 pixels to the left, and over two periods
 * @param values (height, 2 width) u, each row twice
 * @param differences (queryRow) scratch
 * @param rowSums (height + P - 1, width) scratch
 * @param least, weight, value, square (height, width), updated
 * @param heaviest (height, width) i32, the number of the patch of least t, updated
 * @param first the number of patch k = 0
 */
export function vote(
  height: i32,
  width: i32,
  patchSize: i32,
  unit: f32,
  queries: usize,
  queryRow: i32,
  keys: usize,
  keyRow: i32,
  values: usize,
  differences: usize,
  rowSums: usize,
  least: usize,
  weight: usize,
  value: usize,
  square: usize,
  heaviest: usize,
  first: i32,
): void {
  const half = patchSize / 2;
  for (let down = 0; down < height; down++) {
    for (let right = 0; right < width; right++) {
      // The box-sum along the rows; row r of rowSums belongs to row r - P/2 of the image.
      for (let row = 0; row < height; row++) {
        const query = queries + ((row * queryRow) << 2);
        const key = keys + ((((row + down) % height) * keyRow + right) << 2);
        for (let j = 0; j < queryRow; j += LANES) {
          const difference = f32x4.sub(v128.load(query + (j << 2)), v128.load(key + (j << 2)));
          v128.store(differences + (j << 2), f32x4.mul(difference, difference));
        }
        const out = rowSums + (((row + half) * width) << 2);
        for (let col = 0; col < width; col += LANES) {
          let at = differences + (col << 2);
          let sum = v128.load(at);
          for (let j = 1; j < patchSize; j++) {
            at += 4;
            sum = f32x4.add(sum, v128.load(at));
          }
          v128.store(out + (col << 2), sum);
        }
      }
      const rowBytes = width << 2;
      memory.copy(rowSums, rowSums + height * rowBytes, half * rowBytes);
      memory.copy(rowSums + (height + half) * rowBytes, rowSums + half * rowBytes, half * rowBytes);
      // The box-sum down the columns, and the votes.
      for (let row = 0; row < height; row++) {
        const keyRowNumber = (row + down) % height;
        const u = values + ((keyRowNumber * 2 * width + right) << 2);
        for (let col = 0; col < width; col += LANES) {
          let at = rowSums + ((row * width + col) << 2);
          let t = v128.load(at);
          for (let r = 1; r < patchSize; r++) {
            at += rowBytes;
            t = f32x4.add(t, v128.load(at));
          }
          t = f32x4.mul(t, f32x4.splat(unit));
          const m = (row * width + col) << 2;
          let low = v128.load(least + m);
          let below = f32x4.sub(t, low);
          if (!v128.any_true(f32x4.lt(below, f32x4.splat(CUT)))) continue;
          let w = v128.load(weight + m);
          let v = v128.load(value + m);
          let s = v128.load(square + m);
          const nearer = f32x4.lt(below, f32x4.splat(0));
          if (v128.any_true(nearer)) {
            const scale = power(f32x4.max(f32x4.neg(below), f32x4.splat(0)));
            w = f32x4.mul(w, scale);
            v = f32x4.mul(v, scale);
            s = f32x4.mul(s, f32x4.mul(scale, scale));
            low = f32x4.min(low, t);
            below = f32x4.sub(t, low);
            v128.store(least + m, low);
            v128.store(heaviest + m, v128.bitselect(keyNumbers(first + keyRowNumber * width, col + right, width), v128.load(heaviest + m), nearer));
          }
          const e = power(below);
          v128.store(weight + m, f32x4.add(w, e));
          v128.store(value + m, f32x4.add(v, f32x4.mul(e, v128.load(u + (col << 2)))));
          v128.store(square + m, f32x4.add(s, f32x4.mul(e, e)));
        }
      }
    }
  }
}

/** The numbers of four neighboring patches of a row whose first is number `row`; columns wrap around. */
// @ts-ignore: decorator
@inline
function keyNumbers(row: i32, col: i32, width: i32): v128 {
  const columns = i32x4.add(i32x4.splat(col), i32x4(0, 1, 2, 3));
  const beyond = i32x4.ge_s(columns, i32x4.splat(width));
  return i32x4.add(i32x4.splat(row), i32x4.sub(columns, v128.and(beyond, i32x4.splat(width))));
}

/** 2^-t for t >= 0, to 2e-7: the integer part goes to the exponent, the rest into a polynomial. */
// @ts-ignore: decorator
@inline
function power(t: v128): v128 {
  const x = f32x4.min(t, f32x4.splat(120));
  const whole = f32x4.nearest(x);
  const f = f32x4.sub(whole, x); // in [-1/2, 1/2]: 2^-t = 2^f 2^-whole
  let p = f32x4.splat(0.00133335581);
  p = f32x4.add(f32x4.mul(p, f), f32x4.splat(0.00961812911));
  p = f32x4.add(f32x4.mul(p, f), f32x4.splat(0.0555041087));
  p = f32x4.add(f32x4.mul(p, f), f32x4.splat(0.240226507));
  p = f32x4.add(f32x4.mul(p, f), f32x4.splat(0.693147181));
  p = f32x4.add(f32x4.mul(p, f), f32x4.splat(1));
  const exponent = i32x4.shl(i32x4.sub(i32x4.splat(127), i32x4.trunc_sat_f32x4_s(whole)), 23);
  return f32x4.mul(p, exponent);
}
