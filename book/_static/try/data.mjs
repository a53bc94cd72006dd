/** The files that the build exported: images and trained networks, see `lemmse/book/export.py`. */

const FOLDER = new URL("data/", import.meta.url);

/**
 * @typedef {object} PageData
 * @property {number} side of the images, pixels
 * @property {string} preset of the book
 * @property {number} networkPatchSize P of the networks
 * @property {string[]} trained the operators that a network was trained on
 * @property {Float32Array[]} training x_i, whose patches vote
 * @property {Float32Array[]} test
 */

/** @returns {Promise<PageData>} rejects, naming the file, if one is missing */
export async function loadImages() {
  const manifest = await loadManifest();
  const bytes = await fetchBytes("images.bin");
  const images = (name) => {
    const { data, shape } = arrayAt(bytes, manifest.arrays[name]);
    const pixels = data.length / shape[0];
    return Array.from({ length: shape[0] }, (_, i) => data.subarray(i * pixels, (i + 1) * pixels));
  };
  return {
    side: manifest.side,
    preset: manifest.preset,
    networkPatchSize: manifest.patch_size,
    trained: manifest.trained,
    training: images("training"),
    test: images("test"),
  };
}

/**
 * The tensors of the network that was trained on an operator, by name.
 * @param {string} operator
 */
export async function loadNetwork(operator) {
  const manifest = await loadManifest();
  const bytes = await fetchBytes(`network-${operator}.bin`);
  return (name) => arrayAt(bytes, manifest.arrays[`${operator}/${name}`]);
}

let manifest;

function loadManifest() {
  manifest ??= fetchFile("manifest.json").then((response) => response.json());
  return manifest;
}

async function fetchBytes(name) {
  return (await fetchFile(name)).arrayBuffer();
}

async function fetchFile(name) {
  const response = await fetch(new URL(name, FOLDER));
  if (!response.ok) throw new Error(`the book lacks ${name} (status ${response.status})`);
  return response;
}

function arrayAt(bytes, { offset, shape }) {
  const length = shape.reduce((a, b) => a * b, 1);
  return { data: new Float32Array(bytes, offset, length), shape };
}
