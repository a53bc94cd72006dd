/** Five short lessons: each sets the state and says what to look at. */
import { SIDE } from "./state.mjs";

/**
 * @typedef {object} Step
 * @property {string} title on the button
 * @property {string} look what to look at
 * @property {Partial<import("./state.mjs").State>} state
 */

/** @type {Step[]} */
export const STEPS = [
  {
    title: "Raise σ: the vote spreads",
    look:
      "Drag σ from left to right. At little noise a few training patches decide each pixel, and the map of effective " +
      "votes is dark. As the noise grows, ever more patches share the vote, and the picture becomes an average.",
    state: { image: "test-1", operator: "noise", sigma: 0.5, patchSize: 5 },
  },
  {
    title: "P = 15: it recites",
    look:
      "This is a training image under strong noise, and yet it comes back almost unharmed: a patch of 15 × 15 pixels is " +
      "so rare that only its own copy votes. Then choose a test image: the formula can only paste what it remembers.",
    state: { image: "training-0", operator: "noise", sigma: 0.2, patchSize: 15 },
  },
  {
    title: "Paint a hole",
    look:
      "The striped pixels are hidden. Paint on the measurement to hide more; start on a hidden pixel to show it again. " +
      "The rim of the hole is filled from patches that were cut in the same way; deep inside nothing is known.",
    state: { image: "test-4", operator: "hole", sigma: 0.05, patchSize: 7, hidden: cross() },
  },
  {
    title: "Draw something no training image has",
    look:
      "No photograph holds this pattern. Formula and network both fail, and they fail alike: compare their distance to " +
      "the truth with their distance to each other. Draw on the truth to try your own.",
    state: { image: "drawing", operator: "noise", sigma: 0.3, patchSize: 5, pixels: pattern() },
  },
  {
    title: "Where do network and formula part?",
    look:
      "Lower σ and watch the distance from network to formula. At little noise the formula follows single patches, which " +
      "the network cannot. Then move P away from 5: a network is predicted only at its own receptive field.",
    state: { image: "test-3", operator: "noise", sigma: 0.05, patchSize: 5 },
  },
];

function cross() {
  return grid((row, col) =>
    Number((within(row, 11, 16) && within(col, 5, 22)) || (within(col, 11, 16) && within(row, 5, 22))),
  );
}

/** Thin black and white rings. */
function pattern() {
  return grid((row, col) => (Math.floor(Math.hypot(row - 13.5, col - 13.5)) % 3 ? 30 : 235));
}

function grid(value) {
  return Uint8Array.from({ length: SIDE * SIDE }, (_, m) => value(Math.floor(m / SIDE), m % SIDE));
}

function within(value, low, high) {
  return value >= low && value <= high;
}
