/** The modules of the page against the formulas written out. Run by `node --test tests/js/`. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import test from "node:test";

const PAGE = new URL("../../book/_static/try/", import.meta.url);
const load = (name) => import(new URL(name, PAGE));
const { Vote, accumulate, exponential, finish, merge } = await load("formula.mjs");
const { Kernel } = await load("kernel.mjs");
const { sourcesOf } = await load("sources.mjs");
const { normal, uniform } = await load("noise.mjs");
const { affineFilter, applyAffine, moments } = await load("affine.mjs");
const { applyOperator, measure } = await load("operators.mjs");
const { psnr } = await load("metrics.mjs");
const { decodeState, encodeState, initialState } = await load("state.mjs");

const [height, width] = [8, 12];
const pixels = height * width;
const kernel = await Kernel.compile(await readFile(new URL("vote.wasm", PAGE)));

/** Random images whose neighbors correlate, as in photographs. */
function randomImages(count, seed) {
  const draw = uniform(seed);
  return Array.from({ length: count }, () => {
    const rough = Float32Array.from({ length: pixels }, draw);
    return rough.map((value, m) => (value + rough[(m + 1) % pixels] + rough[(m + width) % pixels]) / 3);
  });
}

function vote(accumulateOne, y, keys, images, setting) {
  const found = new Vote(pixels);
  images.forEach((image, i) => {
    accumulateOne(found, y, keys[i], image, i, setting);
  });
  return found;
}

function largestDifference(a, b) {
  return a.reduce((most, value, m) => Math.max(most, Math.abs(value - b[m])), 0);
}

const images = randomImages(6, 1);
const hidden = Uint8Array.from({ length: pixels }, (_, m) => Number(m % 12 > 7 && m > 40));
const engines = { plain: accumulate, vectors: (...given) => kernel.accumulate(...given) };

for (const [name, engine] of Object.entries(engines)) {
  for (const operator of ["noise", "hole", "blur"]) {
    test(`${name}: every pixel is the softmax written out, ${operator}`, () => {
      const keys = images.map((image) => applyOperator(operator, image, hidden, height, width));
      for (const patchSize of [1, 3, 5, 7]) {
        for (const sigma of [0.02, 0.1, 1]) {
          const setting = { height, width, patchSize, sigma };
          const y = measure(keys[2], normal(5, pixels), sigma);
          const found = finish(vote(engine, y, keys, images, setting));
          for (const m of [0, 37, pixels - 1]) {
            const exact = sourcesOf(y, keys, images, Math.floor(m / width), m % width, setting, 2);
            assert.ok(Math.abs(found.mean[m] - exact.mean) < 2e-6, `P ${patchSize}, sigma ${sigma}, pixel ${m}`);
            assert.ok(Math.abs(found.effective[m] / exact.effective - 1) < 1e-4);
            const [{ image, row, col, weight }, second] = exact.sources;
            if (weight > 1.01 * second.weight) assert.equal(found.heaviest[m], (image * height + row) * width + col);
          }
        }
      }
    });
  }

  test(`${name}: votes over disjoint sets of images merge into the vote over all`, () => {
    const setting = { height, width, patchSize: 3, sigma: 0.1 };
    const y = measure(images[0], normal(2, pixels), 0.1);
    const all = vote(engine, y, images, images, setting);
    const parts = [new Vote(pixels), new Vote(pixels)];
    images.forEach((image, i) => {
      engine(parts[i % 2], y, image, image, i, setting);
    });
    const merged = merge(...parts);
    assert.equal(merged.images, all.images);
    assert.ok(largestDifference(finish(merged).mean, finish(all).mean) < 1e-6);
    assert.deepEqual(finish(merged).heaviest, finish(all).heaviest);
    assert.deepEqual(merge(all, new Vote(pixels)), all);
  });
}

test("the formula refuses what it is not defined for, naming the value", () => {
  const setting = { height, width, patchSize: 3, sigma: 0.1 };
  const given = [new Vote(pixels), images[0], images[0], images[0], 0];
  assert.throws(() => accumulate(...given, { ...setting, patchSize: 4 }), /P must be odd and at most 8, got 4/);
  assert.throws(() => accumulate(...given, { ...setting, patchSize: 9 }), /got 9/);
  assert.throws(() => accumulate(...given, { ...setting, sigma: 0 }), /sigma must be positive and finite, got 0/);
  assert.throws(() => accumulate(...given, { ...setting, height: 9 }), /must have 108 pixels, got 96/);
});

test("the tabulated exponential is the exponential", () => {
  for (let t = 0; t <= 26; t += 0.0037) assert.ok(Math.abs(exponential(t) / Math.exp(-t) - 1) < 1e-10);
});

test("the affine filter is least squares over all patches, and the ridge is the noise", () => {
  const keys = images.map((image) => applyOperator("hole", image, hidden, height, width));
  const known = moments(keys, images, height, width);
  const setting = { height, width, patchSize: 3, sigma: 0.3 };
  const filter = affineFilter(known, setting);
  // The gradient of the expected squared error in each coefficient vanishes.
  const offsets = Array.from({ length: 9 }, (_, j) => [Math.floor(j / 3) - 1, (j % 3) - 1]);
  const gradient = new Float64Array(9);
  for (let i = 0; i < images.length; i++) {
    const estimate = applyAffine(known, filter, keys[i], setting);
    for (let m = 0; m < pixels; m++) {
      const [row, col] = [Math.floor(m / width), m % width];
      offsets.forEach(([r, c], j) => {
        const at = ((row + r + height) % height) * width + ((col + c + width) % width);
        gradient[j] += ((estimate[m] - images[i][m]) * (keys[i][at] - known.keyMean)) / (images.length * pixels);
      });
    }
  }
  const residual = gradient.map((value, j) => value + 0.3 ** 2 * filter[j]);
  assert.ok(Math.max(...residual.map(Math.abs)) < 1e-7);
});

test("noise has the moments of the normal law, and a seed its own numbers", () => {
  const values = normal(3, 20_000);
  const moment = (power) => values.reduce((sum, value) => sum + value ** power, 0) / values.length;
  assert.ok(Math.abs(moment(1)) < 0.03 && Math.abs(moment(2) - 1) < 0.05 && Math.abs(moment(4) - 3) < 0.3);
  assert.deepEqual(normal(3, 5), values.slice(0, 5));
  assert.notDeepEqual(normal(4, 5), values.slice(0, 5));
});

test("the blur keeps the mean and commutes with shifts", () => {
  const shift = (image) => image.map((_, m) => image[(m + width) % pixels]);
  const blurred = applyOperator("blur", images[0], hidden, height, width);
  const mean = (image) => image.reduce((a, b) => a + b) / pixels;
  assert.ok(Math.abs(mean(blurred) - mean(images[0])) < 1e-6);
  assert.deepEqual(applyOperator("blur", shift(images[0]), hidden, height, width), shift(blurred));
});

test("PSNR counts 20 dB for a difference of a tenth everywhere", () => {
  assert.ok(Math.abs(psnr([0.1, 0.9], [0, 1]) - 20) < 1e-9);
  assert.equal(psnr([1], [1]), Number.POSITIVE_INFINITY);
});

test("the address holds the whole state, and what it does not understand is left out", () => {
  const state = {
    ...initialState(784),
    image: "drawing",
    operator: "hole",
    sigma: 0.35,
    patchSize: 7,
    seed: 12,
    row: 3,
    col: 20,
    pixels: Uint8Array.from({ length: 784 }, (_, m) => m % 251),
    hidden: Uint8Array.from({ length: 784 }, (_, m) => Number(m % 3 === 0)),
  };
  assert.deepEqual(decodeState(encodeState(state), initialState(784)), state);
  const bad = "image=..%2Fx&operator=melt&sigma=-1&P=4&seed=x&pixel=99,1&pixels=@&hidden=AAAA";
  assert.deepEqual(decodeState(bad, initialState(784)), initialState(784));
});
