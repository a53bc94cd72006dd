/** Numbers as a reader sees them. */

/**
 * One decimal, two below 10, two digits below 0.1 as far as a thousandth; an en dash where there is no number.
 * @param {number | null} value
 * @param {number | null} like the number whose decimals it takes, for an error that of its value
 */
export function format(value, like = value) {
  if (value === null) return "–";
  const size = Math.abs(like);
  if (size >= 999.5) return value.toLocaleString("en", { maximumSignificantDigits: 3 });
  const text = size >= 9.95 ? value.toFixed(1) : size >= 0.1 || size < 0.001 ? value.toFixed(2) : value.toPrecision(2);
  return text.replace("-", "−");
}
