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
      "Drag σ to the right. At little noise a few training patches decide each pixel, and the map of effective votes is " +
      "dark. As the noise grows, ever more patches share the vote, and each pixel is an average of many.",
    state: { image: "test-1", operator: "noise", sigma: 0.05, patchSize: 5 },
  },
  {
    title: "P = 15: it recites",
    look:
      "This is a training image under strong noise, and yet it comes back almost unharmed: a patch of 15 × 15 pixels is " +
      "so rare that only its own copy votes. Now choose the second test image: the formula pastes what it remembers, and " +
      "the network, which sees 5 × 5 pixels, comes nearer to the truth.",
    state: { image: "training-0", operator: "noise", sigma: 0.2, patchSize: 15 },
  },
  {
    title: "Paint a hole",
    look:
      "The striped pixels are hidden: the formula sees zeros and noise there. Few patches elsewhere look like a patch that " +
      "the hole cuts, so the votes inside come mostly from the same place in other training images. Paint on the " +
      "measurement to hide more; start on a hidden pixel to show it again.",
    state: { image: "test-4", operator: "hole", sigma: 0.05, patchSize: 7, hidden: cross(), row: 14, col: 14 },
  },
  {
    title: "Draw something no training image has",
    look:
      "No photograph holds this pattern. Formula and network both fail, and they fail alike: each is much nearer to the " +
      "other than to the truth. Draw on the truth to try your own.",
    state: { image: "drawing", operator: "noise", sigma: 0.3, patchSize: 5, pixels: pattern() },
  },
  {
    title: "Where do network and formula part?",
    look:
      "Move P away from 5, up or down: the network comes less near to the formula, which predicts it best at the window " +
      "that the network has. Then go back to P = 5 and lower σ: they part. The formula follows single patches, and the " +
      "network, which does not, stays nearer to the truth.",
    state: { image: "test-1", operator: "noise", sigma: 0.2, patchSize: 5 },
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
