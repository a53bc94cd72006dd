# ---
# jupyter:
#   jupytext: {text_representation: {extension: .py, format_name: percent}}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Counting photons
#
# **Question.** Cameras in dim light count photons, and counts have Poisson noise. Does a network that was trained on
# counts follow the formula for Poisson noise, or is a formula for Gaussian noise as good?

# %% [markdown] tags=["answer"]
# **Answer.** This notebook computes the answer; you find it near the end, with the numbers of your run.

# %% [markdown]
# **The formula.** A pixel of the clean image $x$ sends $\lambda x$ photons to the detector on average, and the
# background
# $\lambda b$ more. What is measured is a count $y \sim \mathrm{Poisson}(\lambda (x + b))$. Given the image, the pixels
# are still independent of one another, so the weight of a training patch is a product of probabilities of counts:
#
# $$
# \begin{gathered}
# \hat x[m] = \sum_{i,k} w_{i,k}\, x_i[k], \\[1ex]
# w_{i,k} \propto \prod_{p} e^{-\mu_p} \mu_p^{\,y_{m+p}}, \\[1ex]
# \mu_p = \lambda \left( x_i[k + p] + b \right),
# \end{gathered}
# $$
#
# the product over the $P \times P$ pixels of the window. The logarithm of a weight is the sum of $y \log \mu - \mu$
# over the window. So a sum over windows gives the logarithms of all weights, as fast as it gives the sums of squared
# differences for Gaussian noise. The mean of the posterior can also be read off the density $p$ of the counts alone,
# which is [Robbins' formula](../relatives.md):
#
# $$
# \lambda \left( \hat x[m] + b \right) = (y_m + 1)\, \frac{p(v + e_m)}{p(v)}.
# $$

# %% tags=["parameters", "hide-input"]
preset: str = "quick"  # smoke, quick or paper: which bar the claim at the end is held to
data: str = "photos"  # what load_images takes: a name, or the path of a folder or zip
count: int = 200  # N, training images
size: int = 20  # pixels a side
channels: int = 1  # 1 gray, 3 color
patch_size: int = 5  # P, odd: the receptive field
background: float = 0.05  # b, in units of a white pixel
architectures: list[str] = ["PatchMLP"]  # trained on counts
network_size: str = "small"  # small, or paper (4 million weights)
steps: int = 3000  # of training
batch_size: int = 8  # images a step
learning_rate: float = 1.0e-2  # at its highest
sigma_min: float = 0.04  # the training draws 1 / sqrt(rate) uniformly from here
sigma_max: float = 0.5  # to here
rates: list[float] = [5, 8, 15, 50, 150, 500]  # photons of a white pixel
shown: float = 15  # the rate of the pictures
tested: int = 8  # training and test images, each
few: int = 20  # training images of the control that has few of them
claimed_to: float = 8  # the largest rate at which the claim about all controls is made
claimed_gaussian: float = 15  # and about the formulas for Gaussian noise
seed: int = 0  # of the weights and of the training
noise_seed: int = 1  # of the noise
strict: bool = True  # whether this chapter fails if the claim at its end does

# %% tags=["hide-input"]
import logging

import pandas as pd
import torch

from lemmse import AffineMMSE, Denoising, LocalEquivariantMMSE, figures, load_images
from lemmse.analysis.controls import (
    AFFINE,
    MEASUREMENT,
    NON_LOCAL_MEANS,
    NonLocalMeans,
    half_and_double,
    patch_size_control,
    with_images,
    with_patch_size,
)
from lemmse.analysis.evaluate import FORMULA, TRUTH, pair_distances, restore_each
from lemmse.analysis.experiment import evaluation_images
from lemmse.analysis.margins import SURE, margins, mean_margins
from lemmse.analysis.photons import AfterAnscombe, AsGaussian, Counting, OfCounts
from lemmse.book.chapter import check_claim, record, show_answer, show_figure, show_table
from lemmse.data.groups import image_groups
from lemmse.networks.weights import trained
from lemmse.patches import extract_patches

logging.basicConfig(level=logging.INFO, format="%(message)s")
images = load_images(data, count=count, size=size, channels=channels)
clean = evaluation_images(images, data, tested)  # "training" and "test"

# %% [markdown]
# ## Counts, the formula, and networks

# %%
camera = Counting(Denoising(), background)
formula = LocalEquivariantMMSE(
    images,
    Denoising(),
    patch_size=patch_size,
    noise="poisson",
    background=background,
)
options = {
    "steps": steps,
    "batch_size": batch_size,
    "lr": learning_rate,
    "sigma_min": sigma_min,
    "sigma_max": sigma_max,
    "weighting": "inverse_error",
    "noise": "poisson",
    "background": background,
}
networks = {}
for name in architectures:
    network = trained(
        name,
        images,
        Denoising(),
        patch_size=patch_size,
        size=network_size,
        seed=seed,
        **options,
    )
    networks[name] = OfCounts(network, background)

# %% [markdown]
# A network sees $z = y / \lambda - b$, whose mean is the image, and $\sigma = 1 / \sqrt \lambda$.
#
# ## The controls
#
# What else could predict the network? We take the formula for Gaussian noise, with the mean variance of the counts. We
# take the same after the Anscombe transform $2 \sqrt{y + 3/8}$, which gives all counts nearly the variance 1, in two
# ways. One is the practice in the field: transform the counts, denoise them, and apply the inverse of the transform.
# The other takes only the weights from the transformed counts, and averages the clean pixels with them. It needs no
# inverse. The other controls are the best affine filter, non-local means, which is a filter that knows no training
# image, the formula for Poisson noise with other receptive fields, the same with few training images, and the
# measurement itself.

# %%
gaussian = LocalEquivariantMMSE(images, Denoising(), patch_size=patch_size)
affine = AffineMMSE(images, Denoising(), patch_size=patch_size)
mean = float(images.mean())
searching = NonLocalMeans(patch_size)
rivals = {
    "Gaussian formula": AsGaussian(gaussian, background, mean),
    AFFINE: AsGaussian(affine, background, mean),
    MEASUREMENT: OfCounts(lambda z, sigma: z, background),
    NON_LOCAL_MEANS: AsGaussian(searching, background, mean),
}
for back, name in ((True, "and back"), (False, "weights")):
    rivals[f"Anscombe, {name}"] = AfterAnscombe(
        images,
        patch_size,
        background,
        back,
    )
for other in half_and_double(patch_size):
    rivals[patch_size_control(other)] = with_patch_size(formula, other)
of_few = f"formula of {few} images"
rivals[of_few] = with_images(formula, images[:few])

# %%
shape = {"count": tested, "size": size, "channels": channels}
everyone = networks | {FORMULA: formula} | rivals
frames, pictures = [], {}
for restored in restore_each(
    everyone,
    camera,
    clean,
    rates,
    seed=noise_seed,
):
    split, rate = restored.split, restored.sigma
    estimates = restored.estimates | {TRUTH: restored.truth}
    pictures[split, rate] = estimates
    kind = {"training": "train"}.get(split, split)
    groups = image_groups(data, split=kind, **shape)
    about = {"split": split, "sigma": rate}
    frames.append(pair_distances(estimates, about, groups))
pairs = pd.concat(frames, ignore_index=True)
margin_table = margins(
    pairs,
    networks,
    rivals,
    generator=torch.Generator().manual_seed(noise_seed),
)
gaussian_kinds = [
    "Gaussian formula",
    "Anscombe, and back",
    "Anscombe, weights",
]


def in_the_mean(up_to, against):
    """The margin over some controls in the mean over the dim rates."""
    return mean_margins(
        pairs[pairs["sigma"] <= up_to],
        networks,
        against,
        generator=torch.Generator().manual_seed(noise_seed),
    )


over_all = in_the_mean(claimed_to, rivals)
over_gaussian = in_the_mean(claimed_gaussian, gaussian_kinds)

# %% tags=["hide-input"]
rate_shown = min(rates, key=lambda rate: abs(rate - shown))
titles = {"Gaussian formula": "Gaussian\nformula", AFFINE: "affine\nfilter"}
columns = [MEASUREMENT, *architectures, FORMULA, "Gaussian formula", AFFINE, TRUTH]
show_figure(
    figures.gallery(
        {
            f"image {i + 1}": {titles.get(name, name): pictures["test", rate_shown][name][i] for name in columns}
            for i in range(min(3, tested))
        },
        [titles.get(name, name) for name in columns],
        figures.note_truth,
    ),
    name="fig-photons",
    caption=f"""Test images at {rate_shown:g} photons for a white pixel. The measurement is $y / \\lambda - b$. Below
    each estimate is its PSNR to the truth.""",
    alt="Rows of noisy counts, network outputs, Poisson formula, Gaussian formula, affine filter and truth.",
)

# %% tags=["hide-input"]
show_figure(
    figures.control_lines(pairs, networks, rivals, level="photons of a white pixel"),
    name="fig-photons-controls",
    caption=f"""How near the networks are to the formula for Poisson noise and to the controls, on {tested} training and
    {tested} test images: PSNR in dB, means over the networks.""",
    alt="PSNR between networks and each formula against the rate; the Poisson formula is drawn thickest.",
)

# %% tags=["hide-input"]
show_table(
    pd.DataFrame(
        {
            "images": line["split"],
            "photons": f"{line['sigma']:g}",
            "network": line["network"],
            "to the formula (dB)": f"{line['to_formula']:.1f}",
            "nearest control": line["control"],
            "margin (dB)": figures.plus_minus(line["margin"], line["error"]),
        }
        for _, line in margin_table.iterrows()
    ),
    name="tab-photons",
    caption=f"""How much nearer each network is to the formula for Poisson noise than to the nearest control, ± the
    standard error over {tested} images; *photons*: mean count of a white pixel without the background.""",
)

# %% [markdown]
# ## Robbins' formula
#
# One more photon in the middle of a patch, and the ratio of two densities of counts gives the mean of the posterior.

# %%
exact = LocalEquivariantMMSE(
    images[:20].double(),
    Denoising(),
    patch_size=patch_size,
    noise="poisson",
    background=background,
)
rate, row, column = rates[0], size // 2, size // 3
noise = torch.Generator().manual_seed(noise_seed)
counts = camera.measure(clean["test"][:1].double(), rate, noise)
one_more = counts.clone()
one_more[..., row, column] += 1
before = exact.posterior(counts, rate)
after = exact.posterior(one_more, rate)
growth = after.log_density - before.log_density
ratio = growth[0, row, column].exp()
robbins = (counts[0, 0, row, column] + 1) * ratio / rate - background
robbins_error = float(robbins - before.mean[0, 0, row, column])

# %% [markdown]
# The weights written out at the same pixel: products of the probabilities of counts.

# %%
keys = extract_patches(images[:20].double(), patch_size)
v = extract_patches(counts, patch_size)[0, :, row * size + column]
mu = rate * (keys + background)  # (N, C, H*W, p)
logits = (v[:, None] * mu.log() - mu).sum((1, 3)).flatten()
weights = torch.softmax(logits, 0)
written_out = weights @ images[:20, 0].double().flatten()
oracle_error = float(written_out - before.mean[0, 0, row, column])

# %% [markdown]
# ## The answer, and what would prove it wrong
#
# The answer would be wrong if, at the rates that it names, a control came as near to a network as the formula for
# Poisson noise does. With many photons the noise is nearly Gaussian, and all formulas come together; and where there is
# little noise, networks of this size are no longer near any formula, as
# [the main claim](01_theory_predicts_network.ipynb) says of Gaussian noise.

# %% tags=["hide-input"]
judged = margin_table[margin_table["sigma"] <= claimed_to]
least, most = (judged.loc[place] for place in (judged["margin"].idxmin(), judged["margin"].idxmax()))
bright = margin_table[margin_table["sigma"] == max(rates)]
worst = bright.loc[bright["margin"].idxmin()]


def written(table):
    """The least of some margins, with its error."""
    line = table.loc[table["margin"].idxmin()]
    return figures.plus_minus(line["margin"], line["error"])


def is_sure(table):
    """Whether all margins are above zero by two standard errors."""
    return bool((table["margin"] > SURE * table["error"]).all())


by_kind = {kind: in_the_mean(claimed_gaussian, [kind]) for kind in gaussian_kinds}
how = {
    "Gaussian formula": "the formula for Gaussian noise as it is",
    "Anscombe, and back": "the practice of transforming and denoising",
    "Anscombe, weights": "the transform for the weights alone",
}
against_gaussian = "; ".join(f"{written(by_kind[kind])} dB or more over {how[kind]}" for kind in gaussian_kinds)
verdict = "follows" if is_sure(over_all) else "does not surely follow"
other_sizes = " and ".join(f"{size_of_patch}" for size_of_patch in half_and_double(patch_size))
named = f"""the formulas for Gaussian noise, the affine filter, non-local means, the {of_few}, the formula with P =
{other_sizes}, and the measurement"""
at_bright = (
    f"""Even at {max(rates):g} photons none of them is nearer."""
    if worst["margin"] > 0
    else f"""With more light the formulas come together, and at {max(rates):g} photons the network is nearer to the
    control '{worst["control"]}' than to the formula, by {figures.plus_minus(-worst["margin"], worst["error"])} dB."""
)
show_answer(f"""In dim light the network {verdict} the formula for Poisson noise. We compare with {named}. In the mean
over {min(rates):g} to {claimed_to:g} photons for a white pixel, the network is nearer to the formula for Poisson noise
than to the nearest of them, by {written(over_all)} dB or more on training and on test images; rate by rate, the margin
is {figures.plus_minus(least["margin"], least["error"])} dB (nearest: {least["control"]}) to
{figures.plus_minus(most["margin"], most["error"])} dB. In the mean over the rates up to {claimed_gaussian:g} photons
its margins over the formulas for Gaussian noise are: {against_gaussian}. {at_bright} This holds for
{", ".join(networks)} with P = {patch_size}, one training, {tested} training and {tested} test images, and a background
of {background:g}.""")

# %% tags=["hide-input"]
assert abs(robbins_error) < 1e-9, "Robbins' formula must hold"
assert abs(oracle_error) < 1e-9 or channels > 1, "the engine must agree with the formula written out"
assert pairs.notna().all(axis=None), "every distance must be a number"
statements = {
    f"Up to {claimed_to:g} photons, {network} is nearer to the formula for Poisson noise than to the controls on "
    f"{split} images, by {SURE:g} standard errors in the mean over rates.": is_sure(part)
    for (split, network), part in over_all.groupby(["split", "network"], sort=False)
}
statements |= {
    f"Up to {claimed_gaussian:g} photons, {network} is nearer to it than to the formulas for Gaussian noise on "
    f"{split} images, by {SURE:g} standard errors in the mean over rates.": is_sure(part)
    for (split, network), part in over_gaussian.groupby(["split", "network"], sort=False)
}
check_claim(statements, preset, strict=strict)

# %% tags=["remove-cell"] jupyter={"source_hidden": true}
record(least_margin=least["margin"], most_margin=most["margin"], over_all=over_all["margin"].min())
record(over_gaussian=over_gaussian["margin"].min(), robbins_error=robbins_error)

# %% [markdown]
# ## Try it
#
# - `lemmse run 17 -p rates "[1, 2, 4]"`: fewer photons than the networks were trained on.
# - `lemmse run 17 -p background 0`: where a training patch is black, one photon excludes it. The networks are trained
#   anew, which takes minutes.
# - `LocalEquivariantMMSE(..., noise="gamma")` is the formula for speckle, `noise="bernoulli"` that for detectors that
#   only say whether there was light, and a map `sigma` of shape (Q, 1, H, W) serves Gaussian noise that varies over the
#   image.
