/** What the reader has set, and the text in the page's address that holds it. */

/**
 * @typedef {object} State
 * @property {string} image "test-3", "training-0", "drawing" or "picture"
 * @property {Uint8Array} pixels the gray values of a drawing or a picture of the reader's own
 * @property {import("./operators.mjs").OperatorName} operator
 * @property {Uint8Array} hidden 1 where the painted hole is
 * @property {number} sigma the noise level
 * @property {number} patchSize P, odd
 * @property {number} seed of the noise
 * @property {number} row of the pixel that is explained
 * @property {number} col
 */

export const SIDE = 28;
export const OPERATORS = ["noise", "hole", "blur"];
export const PATCH_SIZES = [1, 3, 5, 7, 9, 11, 13, 15];
/** The steps of the slider: equal factors from 0.02 to 1, rounded to two digits. */
export const SIGMAS = [0.02, 0.03, 0.04, 0.05, 0.07, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1];

/** @returns {State} */
export function initialState(pixels = SIDE * SIDE) {
  return {
    image: "test-1",
    pixels: new Uint8Array(pixels).fill(128),
    operator: "noise",
    hidden: new Uint8Array(pixels),
    sigma: 0.2,
    patchSize: 5,
    seed: 0,
    row: 14,
    col: 14,
  };
}

/** Whether the image is the reader's own, so that its pixels belong to the state. */
export function isOwn(image) {
  return image === "drawing" || image === "picture";
}

/**
 * The state as the text after "#try?" in the address.
 * @param {State} state
 */
export function encodeState(state) {
  const text = new URLSearchParams({
    image: state.image,
    operator: state.operator,
    sigma: String(state.sigma),
    P: String(state.patchSize),
    seed: String(state.seed),
    pixel: `${state.row},${state.col}`,
  });
  if (isOwn(state.image)) text.set("pixels", toBase64(state.pixels));
  if (state.hidden.includes(1)) text.set("hidden", toBase64(packBits(state.hidden)));
  return text.toString().replaceAll("%2C", ",");
}

/**
 * The state that a text holds; what is missing or makes no sense is taken from `otherwise`.
 * @param {string} text
 * @param {State} otherwise
 * @returns {State}
 */
export function decodeState(text, otherwise) {
  const given = new URLSearchParams(text);
  const state = { ...otherwise };
  const accept = (name, read, allowed) => {
    if (!given.has(name)) return;
    const value = read(given.get(name));
    if (allowed(value)) Object.assign(state, value);
  };
  const number = (key) => (value) => ({ [key]: value === "" ? Number.NaN : Number(value) });
  accept(
    "image",
    (image) => ({ image }),
    ({ image }) => isOwn(image) || /^(test|training)-\d{1,3}$/.test(image),
  );
  accept(
    "operator",
    (operator) => ({ operator }),
    ({ operator }) => OPERATORS.includes(operator),
  );
  accept("sigma", number("sigma"), ({ sigma }) => sigma >= 0.01 && sigma <= 2);
  accept("P", number("patchSize"), ({ patchSize }) => PATCH_SIZES.includes(patchSize));
  accept("seed", number("seed"), ({ seed }) => Number.isInteger(seed) && seed >= 0 && seed < 2 ** 32);
  accept(
    "pixels",
    (value) => ({ pixels: fromBase64(value) }),
    ({ pixels }) => pixels?.length === state.pixels.length,
  );
  accept(
    "hidden",
    (value) => ({ hidden: unpackBits(fromBase64(value)) }),
    ({ hidden }) => hidden.length === state.hidden.length,
  );
  const place = (value) => {
    const [row, col] = value.split(",").map(Number);
    return { row, col };
  };
  const inside = (at) => Number.isInteger(at) && at >= 0 && at < SIDE;
  accept("pixel", place, ({ row, col }) => inside(row) && inside(col));
  return state;
}

/** URL-safe base64 without padding. */
export function toBase64(bytes) {
  return btoa(String.fromCharCode(...bytes))
    .replaceAll("+", "-")
    .replaceAll("/", "_")
    .replaceAll("=", "");
}

/** @returns {Uint8Array | null} null where the text is no base64 */
export function fromBase64(text) {
  try {
    return Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (letter) => letter.charCodeAt(0));
  } catch {
    return null;
  }
}

/** Eight zeros and ones in each byte, the first in the highest bit. */
export function packBits(bits) {
  const bytes = new Uint8Array(Math.ceil(bits.length / 8));
  bits.forEach((bit, m) => {
    bytes[m >> 3] |= bit << (7 - (m & 7));
  });
  return bytes;
}

function unpackBits(bytes) {
  return Uint8Array.from({ length: 8 * (bytes?.length ?? 0) }, (_, m) => (bytes[m >> 3] >> (7 - (m & 7))) & 1);
}
