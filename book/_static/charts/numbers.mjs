/** Numbers as a reader sees them. */

/**
 * One decimal, two where the number is small, two digits where it is smaller still; an en dash where there is none.
 * @param {number | null} value
 */
export function format(value) {
  if (value === null) return "–";
  const size = Math.abs(value);
  if (size >= 999.5) return value.toLocaleString("en", { maximumSignificantDigits: 3 });
  const text = size >= 9.95 ? value.toFixed(1) : size >= 0.1 || size === 0 ? value.toFixed(2) : value.toPrecision(2);
  return text.replace("-", "−");
}
