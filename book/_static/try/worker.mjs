/**
 * A thread that computes, so that the page never waits. It is sent requests and answers each with its number:
 *
 *     formula   votes of a part of the training images: an answer after the first few, another after all
 *     controls  the trained network and the best affine filter
 *     sources   the training patches that vote for one pixel
 *
 * A formula request ends early when it is told to stop.
 */
import { affineFilter, applyAffine, moments } from "./affine.mjs";
import { loadImages, loadNetwork } from "./data.mjs";
import { accumulate, Vote } from "./formula.mjs";
import { Kernel } from "./kernel.mjs";
import { runNetwork } from "./network.mjs";
import { applyOperator } from "./operators.mjs";
import { sourcesOf } from "./sources.mjs";

const PREVIEW = 12; // images of a part after which it answers first

const images = loadImages();
const kernel = fetch(new URL("vote.wasm", import.meta.url))
  .then((response) => response.arrayBuffer())
  .then((code) => Kernel.compile(code))
  .catch(() => null); // no WebAssembly with vectors here: the plain loop serves
const networks = new Map();
const stopped = new Set();
const tasks = { formula: answerFormula, controls: answerControls, sources: answerSources };

addEventListener("message", async ({ data }) => {
  if (data.stop !== undefined) {
    stopped.add(data.stop);
    return;
  }
  try {
    await tasks[data.task](data);
  } catch (error) {
    postMessage({ id: data.id, error: String(error) });
  }
});

async function answerFormula({ id, request, part, parts }) {
  const { training, side } = await images;
  const keys = measuredImages(request, training, side);
  const setting = settingOf(request, side);
  const fast = Kernel.serves(setting) ? await kernel : null;
  const vote = new Vote(side * side);
  const mine = training.map((_, i) => i).filter((i) => i % parts === part);
  for (const [count, i] of mine.entries()) {
    if (count === PREVIEW) postMessage({ id, part, vote, done: false });
    await otherMessages();
    if (stopped.delete(id)) return;
    if (fast) fast.accumulate(vote, request.y, keys[i], training[i], i, setting);
    else accumulate(vote, request.y, keys[i], training[i], i, setting);
  }
  postMessage({ id, part, vote, done: true });
}

async function answerControls({ id, request }) {
  const { training, side, trained } = await images;
  const setting = settingOf(request, side);
  const known = knownMoments(request, training, side);
  const affine = applyAffine(known, affineFilter(known, setting), request.y, setting);
  let network = null; // none was trained on this operator
  if (trained.includes(request.operator)) {
    if (!networks.has(request.operator)) networks.set(request.operator, loadNetwork(request.operator));
    network = runNetwork(await networks.get(request.operator), request.y, setting);
  }
  postMessage({ id, network, affine });
}

async function answerSources({ id, request, row, col, count }) {
  const { training, side } = await images;
  const keys = measuredImages(request, training, side);
  postMessage({ id, row, col, ...sourcesOf(request.y, keys, training, row, col, settingOf(request, side), count) });
}

function settingOf({ patchSize, sigma }, side) {
  return { height: side, width: side, patchSize, sigma };
}

/** The last value that `make` returned, made anew only when the operator changes. */
function perOperator(make) {
  let [last, value] = ["", null];
  return (request, training, side) => {
    const name = request.operator === "hole" ? `hole ${request.hidden.join("")}` : request.operator;
    if (name !== last) [last, value] = [name, make(request, training, side)];
    return value;
  };
}

const measuredImages = perOperator(({ operator, hidden }, training, side) => {
  return training.map((image) => applyOperator(operator, image, hidden, side, side));
});
const knownMoments = perOperator((request, training, side) => {
  return moments(measuredImages(request, training, side), training, side, side);
});

const { port1, port2 } = new MessageChannel();

/** Lets the messages that wait be read: a timer would take 4 ms. */
function otherMessages() {
  return new Promise((resolve) => {
    port1.onmessage = resolve;
    port2.postMessage(0);
  });
}
