/** The Python that gives, with the library, what the page shows. */
import { isOwn, packBits, toBase64 } from "./state.mjs";

/**
 * @param {import("./state.mjs").State} state
 * @param {string} preset of the book, which says how long its networks were trained
 * @param {string[]} trained the operators that a network was trained on
 * @returns {string}
 */
export function pythonFor(state, preset, trained) {
  const [split, number] = state.image.split("-");
  const truth = isOwn(state.image)
    ? `page_drawing("${toBase64(state.pixels)}")`
    : `page_images("${split === "test" ? "test" : "train"}")[${number} : ${Number(number) + 1}]`;
  const hidden = state.operator === "hole" ? `, hidden="${toBase64(packBits(state.hidden))}"` : "";
  const network = trained.includes(state.operator)
    ? `network = page_network("${state.operator}", "${preset}")  # from the cache of weights, or trained now
print(f"network to truth: {float(psnr(network(y, sigma), truth)):.1f} dB")
print(f"network to formula: {float(psnr(network(y, sigma), x_hat)):.1f} dB")
`
    : "";
  const loaders = [isOwn(state.image) && "page_drawing", "page_images", network && "page_network"].filter(Boolean);
  return `from lemmse import LocalEquivariantMMSE, psnr
from lemmse.book.export import ${[...loaders, "page_noise", "page_physics"].join(", ")}

images = page_images("train")
truth = ${truth}
physics = page_physics("${state.operator}"${hidden})
sigma = ${state.sigma}
y = physics.A(truth) + sigma * page_noise(${state.seed})
formula = LocalEquivariantMMSE(images, physics, patch_size=${state.patchSize})
x_hat = formula(y, sigma)
print(f"formula to truth: {float(psnr(x_hat, truth)):.1f} dB")
${network}`;
}
