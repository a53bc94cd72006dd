/** Distances between images. */

/**
 * PSNR in dB, peak 1, without clipping; Infinity where the images are equal.
 * @param {ArrayLike<number>} a
 * @param {ArrayLike<number>} b
 */
export function psnr(a, b) {
  let sum = 0;
  for (let m = 0; m < a.length; m++) sum += (a[m] - b[m]) ** 2;
  return -10 * Math.log10(sum / a.length);
}

/** @param {ArrayLike<number>} values */
export function median(values) {
  const sorted = Float64Array.from(values).sort();
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}
