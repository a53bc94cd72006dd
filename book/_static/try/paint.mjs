/** Numbers on a canvas: gray images, maps of votes, pieces of the patchwork. All are SIDE x SIDE. */
import { wrap } from "./formula.mjs";
import { SIDE } from "./state.mjs";

const VIRIDIS = [
  [68, 1, 84],
  [59, 82, 139],
  [33, 145, 140],
  [94, 201, 98],
  [253, 231, 37],
];

/**
 * Fill a canvas with one color a pixel.
 * @param {HTMLCanvasElement} canvas
 * @param {(m: number) => number[]} color red, green and blue of pixel m, from 0 to 255
 */
function paint(canvas, color) {
  const context = canvas.getContext("2d");
  const picture = context.createImageData(SIDE, SIDE);
  for (let m = 0; m < SIDE * SIDE; m++) picture.data.set([...color(m), 255], 4 * m);
  context.putImageData(picture, 0, 0);
}

/** Gray values, clipped to [0, 1]. */
export function paintGray(canvas, image) {
  paint(canvas, (m) => Array(3).fill(255 * Math.min(1, Math.max(0, image[m]))));
}

/** A measurement whose hidden pixels are striped. */
export function paintMeasurement(canvas, image, hidden) {
  paint(canvas, (m) => {
    const gray = 255 * Math.min(1, Math.max(0, image[m]));
    if (!hidden?.[m]) return [gray, gray, gray];
    const stripe = (Math.floor(m / SIDE) + (m % SIDE)) % 3 === 0;
    return stripe ? [230, 160, 60] : [120 + gray / 4, 72 + gray / 4, 20];
  });
}

/** Effective votes from one (dark) to all (light), on a logarithmic scale. */
export function paintVotes(canvas, effective, all) {
  paint(canvas, (m) => {
    const at = Math.min(1, Math.max(0, Math.log(effective[m]) / Math.log(all))) * (VIRIDIS.length - 1);
    const low = Math.min(VIRIDIS.length - 2, Math.floor(at));
    return VIRIDIS[low].map((value, c) => value + (at - low) * (VIRIDIS[low + 1][c] - value));
  });
}

/** A shade for each training image and shift: a region of one shade is copied from one place. */
export function paintPieces(canvas, heaviest) {
  paint(canvas, (m) => {
    const patch = heaviest[m];
    const image = Math.floor(patch / (SIDE * SIDE));
    const down = wrap(Math.floor(patch / SIDE) - Math.floor(m / SIDE), SIDE);
    const right = wrap((patch % SIDE) - (m % SIDE), SIDE);
    const shade = (((image * SIDE + down) * SIDE + right) * 0.6180339887498949) % 1;
    return Array(3).fill(40 + 200 * shade);
  });
}

/** The P x P patch around a pixel, on the torus, enlarged to the whole canvas. */
export function paintPatch(canvas, image, row, col, patchSize) {
  const half = patchSize >> 1;
  canvas.width = patchSize;
  canvas.height = patchSize;
  const context = canvas.getContext("2d");
  for (let r = 0; r < patchSize; r++) {
    for (let c = 0; c < patchSize; c++) {
      const value = image[wrap(row + r - half, SIDE) * SIDE + wrap(col + c - half, SIDE)];
      const gray = Math.round(255 * Math.min(1, Math.max(0, value)));
      context.fillStyle = `rgb(${gray} ${gray} ${gray})`;
      context.fillRect(c, r, 1, 1);
    }
  }
}

/** Frame the P x P patch around a pixel, and the pixel: a patch that leaves the image comes in on the other side. */
export function paintFrames(canvas, row, col, patchSize) {
  const scale = 12;
  canvas.width = scale * SIDE; // this also clears it
  canvas.height = scale * SIDE;
  const context = canvas.getContext("2d");
  for (const [style, width] of [
    ["#fff", 5],
    ["#d55e00", 2.5],
  ]) {
    context.strokeStyle = style;
    context.lineWidth = width;
    for (const side of patchSize === 1 ? [1] : [patchSize, 1]) {
      for (const down of [-SIDE, 0, SIDE]) {
        for (const right of [-SIDE, 0, SIDE]) {
          const corner = [col + right - (side >> 1), row + down - (side >> 1)].map((value) => value * scale);
          context.strokeRect(...corner, side * scale, side * scale);
        }
      }
    }
  }
}
