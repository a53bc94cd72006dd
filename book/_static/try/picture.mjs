/** A picture of the reader's own as 28 x 28 gray values; it never leaves the page. */
import { SIDE } from "./state.mjs";

/**
 * @param {Blob} file
 * @returns {Promise<Uint8Array>} its central square, averaged over blocks; rejects if the file is no image
 */
export async function readPicture(file) {
  const image = await createImageBitmap(file).catch(() => {
    throw new Error("This file is not an image that the browser can read.");
  });
  const square = Math.min(image.width, image.height);
  const [left, top] = [(image.width - square) / 2, (image.height - square) / 2];
  const fine = SIDE * Math.max(1, Math.min(32, Math.floor(square / SIDE))); // whole blocks
  const canvas = new OffscreenCanvas(fine, fine);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(image, left, top, square, square, 0, 0, fine, fine);
  return averageBlocks(context.getImageData(0, 0, fine, fine).data, fine);
}

/** Gray values, by the weights of Rec. 601, averaged over blocks. */
function averageBlocks(rgba, fine) {
  const sums = new Float64Array(SIDE * SIDE);
  const block = fine / SIDE;
  for (let p = 0; p < fine * fine; p++) {
    const [row, col] = [Math.floor(p / fine / block), Math.floor((p % fine) / block)];
    sums[row * SIDE + col] += 0.299 * rgba[4 * p] + 0.587 * rgba[4 * p + 1] + 0.114 * rgba[4 * p + 2];
  }
  return Uint8Array.from(sums, (sum) => Math.round(sum / block ** 2));
}
