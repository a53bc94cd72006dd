/** Normal noise from a seed: the same numbers in every browser, and in Python (`lemmse.book.export.page_noise`). */

/**
 * The generator mulberry32 of Tommy Ettinger (public domain): uniform numbers in (0, 1).
 * @param {number} seed an integer
 * @returns {() => number}
 */
export function uniform(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return (((t ^ (t >>> 14)) >>> 0) + 0.5) / 2 ** 32;
  };
}

/**
 * Standard normal numbers by Box and Muller, one of each pair of uniform numbers.
 * @param {number} seed an integer
 * @param {number} count
 * @returns {Float32Array}
 */
export function normal(seed, count) {
  const draw = uniform(seed);
  return Float32Array.from({ length: count }, () => {
    const radius = Math.sqrt(-2 * Math.log(draw()));
    return radius * Math.cos(2 * Math.PI * draw());
  });
}
