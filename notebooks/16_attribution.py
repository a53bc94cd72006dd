# ---
# jupyter:
#   jupytext: {text_representation: {extension: .py, format_name: percent}}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Who taught it that?
#
# **Question.** Which training images is an estimate made of? What would change if some of them were removed? The
# formula answers both exactly for its own estimate. Does its answer predict what a network does after it is trained
# again without these images?

# %% [markdown] tags=["answer"]
# **Answer.** This notebook computes the answer; you find it near the end, with the numbers of your run.

# %% [markdown]
# **The formula.** Let $Z_i$ be the sum of the weights, before they are normalized, of all patches of image $i$, and
# $\hat x^{(i)}$ the weighted mean over its patches alone. The share of image $i$ in one pixel of the estimate is
#
# $$
# \begin{gathered}
# r_i = \frac{Z_i}{\sum_j Z_j}, \\[1ex]
# \hat x = \sum_i r_i\, \hat x^{(i)},
# \end{gathered}
# $$
#
# and without the images of a set $S$ the estimate is, exactly as if it were built anew,
#
# $$
# \hat x^{-S} = \frac{\sum_{i \notin S} r_i\, \hat x^{(i)}}{\sum_{i \notin S} r_i}.
# $$
#
# For a network this is a *prediction* of what training it again without these images would change. The theory says
# nothing about how a network forgets; it says what a well-trained network returns for a given set of images.

# %% tags=["parameters", "hide-input"]
preset: str = "quick"  # smoke, quick or paper: which bar the claim at the end is held to
data: str = "photos"  # what load_images takes: a name, or the path of a folder or zip
few: int = 20  # training images of the case in which the formula recites
many: int = 160  # training images of the case in which it does not
size: int = 16  # pixels a side
patch_size: int = 5  # P, odd: the receptive field
shown: float = 0.2  # noise level at which the teachers are named and shown
sigmas: list[float] = [0.1, 0.2, 0.4, 0.8]  # noise levels at which changes are compared, `shown` among them
claimed_from: float = 0.8  # the least noise level at which the claim about the networks is made
asked: int = 4  # images that are asked about; the first one names the training images that are removed
draws: int = 4  # noisy measurements of each of them
share: float = 0.1  # of the training images that is removed
seeds: int = 3  # trainings of each kind
network_size: str = "tiny"  # tiny (30,000 weights), small, medium, or paper (4 million weights)
steps: int = 2000  # of training
batch_size: int = 8  # images a step
learning_rate: float = 1.0e-2  # at its highest
seed: int = 0  # of the weights, the training, and which images are removed
noise_seed: int = 0  # of the noise that the estimates are compared on
strict: bool = True  # whether this chapter fails if the claim at its end does

# %% tags=["hide-input"]
import logging
from dataclasses import dataclass, replace
from functools import partial
from itertools import product

import pandas as pd
import torch
from torch import Tensor

from lemmse import AffineMMSE, Denoising, LocalEquivariantMMSE, figures, load_images
from lemmse.analysis.attribution import Attribution, attribute
from lemmse.analysis.evaluate import formula_error
from lemmse.analysis.experiment import Training
from lemmse.analysis.margins import SURE
from lemmse.analysis.uncertainty import jackknife
from lemmse.book.chapter import check_claim, record, show_answer, show_figure, show_table

logging.basicConfig(level=logging.INFO, format="%(message)s")
physics = Denoising()
P = patch_size
training = Training(
    steps=steps,
    batch_size=batch_size,
    lr=learning_rate,
    size=network_size,
    seed=seed,
)

# %% [markdown]
# ## The shares of one estimate
#
# We ask about an image, a training image where there are few of them and a test image where there are many, and measure
# it several times. One pass, image by image, gives all shares. The next images of the same set are there for the
# statistics: the formula has to predict what happens to them as well.


# %%
@dataclass
class Case:
    """Some images, measured several times at each level; their shares."""

    images: Tensor
    truth: Tensor
    formula: LocalEquivariantMMSE
    top: list[int]  # the largest shares in the first of them
    y: dict[float, Tensor]
    found: dict[float, Attribution]


def ask(count, split):
    options = {"size": size, "channels": 1}
    images = load_images(data, count=count, **options)
    truth = load_images(data, split=split, count=asked, **options)
    formula = LocalEquivariantMMSE(images, physics, patch_size=P)

    def measured(x, sigma, drawn):
        noise = torch.Generator().manual_seed(drawn)
        repeated = x.repeat_interleave(draws, 0)
        return physics.measure(repeated, sigma, generator=noise)

    naming = attribute(formula, measured(truth[:1], shown, seed), shown)
    removed = max(1, round(share * count))
    top = naming.image_shares.mean(0).topk(removed).indices.tolist()
    y = {sigma: measured(truth, sigma, noise_seed) for sigma in sigmas}
    found = {sigma: attribute(formula, y[sigma], sigma) for sigma in sigmas}
    return Case(images, truth, formula, top, y, found)


cases = {
    f"a training image, N = {few}": ask(few, "train"),
    f"a test image, N = {many}": ask(many, "test"),
}

# %% tags=["hide-input"]
teachers = 5
figure, axes = figures.new_figure(len(cases), teachers + 3, 1.2 * (teachers + 3) + 0.3, 1.75 * len(cases))
for line, (name, case) in zip(axes, cases.items(), strict=True):
    mean_shares = case.found[shown].image_shares[:draws].mean(0)
    estimate = case.found[shown].without([])
    figures.draw_image(line[0], case.truth[0], title="truth")
    figures.draw_image(line[1], case.y[shown][0], title="measurement")
    figures.draw_image(line[2], estimate[0], title="formula")
    line[0].set_ylabel(name.replace(", ", "\n"), fontsize=8)
    for turn, (axis, image) in enumerate(zip(line[3:], mean_shares.topk(teachers).indices.tolist(), strict=True)):
        note = f"{100 * float(mean_shares[image]):.1f} %"
        figures.draw_image(axis, case.images[image], title=f"teacher {turn + 1}", note=note)
show_figure(
    figure,
    name="fig-teachers",
    caption=f"""The training images with the largest shares in the estimate, means over all pixels and {draws}
    measurements at $\\sigma = {shown:g}$. With few training images the image itself decides; with many, each has a
    small share.""",
    alt="Two rows: truth, measurement and estimate of one image, then the five training images of the largest shares.",
)

# %% [markdown]
# ## Trained again without them
#
# For each case we train networks with all images, without the images of the largest shares, and without as many random
# ones, each several times with other seeds. The formula predicts the change without any training. The control is the
# affine filter, which can also be built without these images, but does not know single patches.


# %%
def sets_of(case):
    """The images that are removed, for each kind and seed."""
    count, removed = len(case.images), len(case.top)
    order = torch.Generator().manual_seed(seed)
    drawn = [torch.randperm(count, generator=order) for _ in range(seeds)]
    return {
        "all": [[]] * seeds,
        "top": [case.top] * seeds,
        "random": [each[:removed].tolist() for each in drawn],
    }


def network_without(case, removed, turn):
    """A network that is trained without some images."""
    kept = torch.ones(len(case.images), dtype=torch.bool)
    kept[removed] = False
    return replace(training, seed=seed + turn).network(
        "PatchMLP",
        case.images[kept],
        physics,
        patch_size=P,
    )


# %%
networks = {}
for name, case in cases.items():
    for kind, sets in sets_of(case).items():
        for turn, removed in enumerate(sets):
            network = network_without(case, removed, turn)
            networks[name, kind, turn] = network

# %% tags=["hide-input"]


def correlation(a, b, average):
    """Of two changes, over all images, measurements and pixels; `average` takes the means over the seeds first."""
    a, b = ((change.double().mean(0) if average else change.double()).flatten() for change in (a, b))
    return float(a @ b / (a.norm() * b.norm()).clamp_min(1e-30))


def lead(change, predicted, control, average):
    """How much larger the correlation with the prediction is than that with the control."""
    return correlation(change, predicted, average) - correlation(change, control, average)


def size_of(change):
    """Root mean square."""
    return float(change.double().square().mean().sqrt())


def size_ratio(one, other):
    """Of the root mean squares of two changes."""
    return size_of(one) / max(size_of(other), 1e-30)


def affine_change(case, removed, sigma):
    """What the affine filter changes without these images."""
    kept = torch.ones(len(case.images), dtype=torch.bool)
    kept[removed] = False
    parts = (case.images, case.images[kept])
    whole, rest = (AffineMMSE(x, physics, patch_size=P)(case.y[sigma], sigma) for x in parts)
    return rest - whole


def by_image(changes):
    """Changes of all measurements, one batch for each seed: (seeds, images, measurements, C, H, W)."""
    return torch.stack(changes).unflatten(1, (asked, draws))


size_rows, correlation_rows, pictures = [], [], {}
for (name, case), sigma in product(cases.items(), sigmas):
    found, y = case.found[sigma], case.y[sigma]
    whole = by_image([networks[name, "all", turn](y, sigma) for turn in range(seeds)])
    spread = size_of(whole[:, 0] - whole[:, 0].mean(0)) * (seeds / max(1, seeds - 1)) ** 0.5
    changes = {}
    for kind, sets in list(sets_of(case).items())[1:]:
        change = by_image([networks[name, kind, turn](y, sigma) for turn in range(seeds)]) - whole
        predicted = by_image([found.change(removed) for removed in sets])
        control = by_image([affine_change(case, removed, sigma) for removed in sets])
        average = kind == "top"  # random images are others for each seed
        ahead, error = jackknife(partial(lead, average=average), change, predicted, control, axes=(0, 1))
        by_seed = [correlation(change[turn], predicted[turn], False) for turn in range(seeds)]
        row = {"case": name, "sigma": sigma, "removed": kind, "ahead": ahead, "error": error}
        row |= {"formula": correlation(change, predicted, average), "affine": correlation(change, control, average)}
        correlation_rows.append(row | {"least": min(by_seed), "most": max(by_seed)})
        changes[kind] = change[:, :1]  # of the image whose teachers are removed
        if kind == "top":
            pictures[name, sigma] = (predicted.mean(0)[0], change.mean(0)[0])
            of_formula = size_of(predicted[:, 0])
    ratio, error = jackknife(size_ratio, changes["top"], changes["random"], axes=(0,))
    row = {"case": name, "sigma": sigma, "predicted": of_formula, "spread": spread}
    row |= {kind: size_of(change) for kind, change in changes.items()}
    size_rows.append(row | {"ratio": ratio, "error": error})
sizes, correlations = pd.DataFrame(size_rows), pd.DataFrame(correlation_rows)
in_case = {name: f"{len(case.images)}" for name, case in cases.items()}
show_table(
    pd.DataFrame(
        {
            "N": sizes["case"].map(in_case),
            "σ": sizes["sigma"].map("{:g}".format),
            "formula without the teachers": sizes["predicted"].map("{:.4f}".format),
            "networks without the teachers": sizes["top"].map("{:.4f}".format),
            "networks without random images": sizes["random"].map("{:.4f}".format),
            "ratio of the last two": [figures.plus_minus(*pair) for pair in sizes[["ratio", "error"]].to_numpy()],
            "networks with another seed": sizes["spread"].map("{:.4f}".format),
        }
    ),
    name="tab-unlearning",
    caption=f"""How much the estimate of the first image changes: root mean squares over {draws} measurements. The
    change of a network is between two trainings with the same seed, with the images and without; *teachers* are the
    {100 * share:.0f} % of the images with the largest shares, *random images* are as many others for each seed. *With
    another seed*: standard deviation over {seeds} trainings with all images. The ratio is given ± the standard error
    over the seeds.""",
)

# %% tags=["hide-input"]
show_table(
    pd.DataFrame(
        {
            "N": correlations["case"].map(in_case),
            "σ": correlations["sigma"].map("{:g}".format),
            "without": correlations["removed"].map({"top": "teachers", "random": "random images"}),
            "with the formula": [figures.span([value]) for value in correlations["formula"]],
            "of one seed": [figures.span(pair) for pair in correlations[["least", "most"]].to_numpy()],
            "with the affine filter": [figures.span([value]) for value in correlations["affine"]],
            "difference": [figures.plus_minus(*pair) for pair in correlations[["ahead", "error"]].to_numpy()],
        }
    ),
    name="tab-unlearning-correlation",
    caption=f"""Correlation between what removing images changes in the networks and in the formula, over all pixels of
    {asked} images in {draws} measurements each, then its range over single seeds. Teachers are the same for all
    {seeds} seeds, so their line is about the mean over the seeds; random images are others for each seed, so theirs is
    about all seeds together. Last come the correlation with the change of the affine filter, and how much larger that
    with the formula is, ± the standard error over images and seeds.""",
)

# %% tags=["hide-input"]
highest = max(sigmas)
figure, axes = figures.new_figure(len(cases), 4, 6.6, 2.1 * len(cases))
for line, (name, case) in zip(axes, cases.items(), strict=True):
    guess, change = pictures[name, highest]
    most = float(guess.mean(0).abs().max())
    figures.draw_image(line[0], case.truth[0], title="truth")
    figures.draw_image(line[1], guess.mean(0).float(), title="predicted", limits=(-most, most))
    figures.draw_image(line[2], change.mean(0), title="observed", limits=(-most, most))
    line[2].set_xlabel(f"white: +{most:.3f}", fontsize=8)
    line[3].plot(guess.flatten(), change.flatten(), ".", markersize=2, color="#0072B2", alpha=0.5)
    ends = [float(guess.min()), float(guess.max())]
    line[3].plot(ends, ends, color="black", linewidth=0.8)
    line[3].set_xlabel("formula", fontsize=8)
    line[3].set_title("networks", fontsize=9)
    line[3].tick_params(labelsize=7)
    line[0].set_ylabel(name.replace(", ", "\n"), fontsize=8)
show_figure(
    figure,
    name="fig-unlearning",
    caption=f"""What removing the images of the largest shares changes at $\\sigma = {highest:g}$: predicted by the
    formula without any training, and observed, the mean over {seeds} pairs of trainings; images are means over {draws}
    measurements of the first image. Gray is no change. Right: all pixels of these measurements; on the line the two
    are equal.""",
    alt="For both cases: the image, the predicted change, the observed change, and a scatter of one against the other.",
)

# %% [markdown]
# ## The answer, and what would prove it wrong
#
# The answer would be wrong if, at the noise level that it names, the affine filter predicted the change of the networks
# as well as the formula does, or if networks missed random images as much as those that the formula names. At small
# noise a network that was trained for longer may recite more, and then the formula should predict it better.

# %% tags=["hide-input"]
recites, general = cases
own = cases[recites].found[shown].image_shares[:draws].mean(0)
largest = float(cases[general].found[shown].image_shares[:draws].mean(0).max())
sharing = float(cases[general].found[shown].effective_images[:draws].mean())
without_teachers = correlations[correlations["removed"] == "top"]
at_random = correlations[(correlations["removed"] == "random") & (correlations["sigma"] >= claimed_from)]
judged = without_teachers[without_teachers["sigma"] >= claimed_from]
fewer_noise = without_teachers[without_teachers["sigma"] < claimed_from]


def mean_with_error(values, errors):
    """The mean of independent numbers, and its standard error."""
    return float(values.mean()), float((errors**2).sum() ** 0.5) / len(values)


ahead = mean_with_error(judged["ahead"], judged["error"])
missed = mean_with_error(sizes["ratio"], sizes["error"])
better = fewer_noise["ahead"] > SURE * fewer_noise["error"]
worse = fewer_noise["ahead"] < -SURE * fewer_noise["error"]
if ahead[0] > SURE * ahead[1]:
    verdict = "at large noise it predicts what networks of this size forget better than the affine filter does"
    verdict += "" if better.any() else ", but at less noise it does not"
elif ahead[0] > -SURE * ahead[1]:
    verdict = "it predicts what networks of this size forget no better than the affine filter does"
else:
    verdict = "the affine filter predicts what networks of this size forget better than the formula does"
at_less_noise = ""
if len(fewer_noise):
    nearest_level = fewer_noise[fewer_noise["sigma"] == fewer_noise["sigma"].max()]
    differences = " and ".join(
        f"{figures.plus_minus(line.ahead, line.error)} with N = {in_case[line.case]} ({figures.span([line.formula])} "
        f"against {figures.span([line.affine])})"
        for line in nearest_level.itertuples()
    )
    at_less_noise = f"""With less noise the formula is ahead by {SURE:g} standard errors in
    {int(better.sum()) or "none"} of {len(fewer_noise)} cases, the affine filter in {int(worse.sum()) or "none"}; at
    $\\sigma = {nearest_level["sigma"].iloc[0]:g}$ the difference is {differences}. """
by_seed = sizes["top"] / sizes["spread"]
compared = "less than" if (by_seed < 1).all() else "more than" if (by_seed > 1).all() else "about"
small = sizes.set_index(["case", "sigma"]).loc[(recites, shown)]
show_answer(f"""The formula gives the exact share of each training image in its own estimate; {verdict}. If one asks
about one of N = {few} training images at $\\sigma = {shown:g}$, this image itself has a share of
{100 * float(own[0]):.0f} %. If one asks about a test image with N = {many}, no image has a share above
{100 * largest:.1f} %, and some {sharing:.0f} images share each pixel. Networks that are trained without the
{100 * share:.0f} % of the images with the largest shares change by {figures.span(sizes["top"], ".3f")}. This change is
{compared} what another seed changes ({figures.span(by_seed)} times as much), and {figures.plus_minus(*missed)} times as
large as the change without as many random images, in the mean over all noise levels and both N. From $\\sigma =
{claimed_from:g}$ on, where the networks are near the formula, the mean change over {seeds} seeds correlates with that
of the formula at {figures.span(judged["formula"])} and with that of the affine filter at
{figures.span(judged["affine"])}; the difference is {figures.plus_minus(*ahead)} in the mean over both N. When random
images are removed, these correlations are {figures.span(at_random["formula"])} with the formula and
{figures.span(at_random["affine"])} with the affine filter. {at_less_noise}At $\\sigma = {shown:g}$ the networks recite
much less than the formula: without these images, the estimate of the training image by the formula changes by
{small["predicted"]:.3f}, that by the networks by {small["top"]:.3f}. This is about {asked} images for each N, networks
of {network_size} size, P = {P} and $\\sigma$ from {min(sigmas):g} to {max(sigmas):g}.""")

# %% tags=["hide-input"]
for case in cases.values():
    kept = torch.tensor([i not in case.top for i in range(len(case.images))])
    y = case.y[shown][:draws]
    rebuilt = case.formula.rebuilt(case.images[kept])(y, shown)
    error = float((rebuilt - case.found[shown].without(case.top)[:draws]).abs().max())
    assert error < 1e-4, f"removing images must be a rebuild, got {error}"
    assert formula_error(case.formula, y[:1], shown) < 1e-5, "the engine must agree with the formula written out"
assert correlations.notna().all(axis=None), "every correlation must be a number"
assert sizes.notna().all(axis=None), "every change must be a number"
statements = {
    f"From sigma = {claimed_from:g} on, the formula predicts the change of the networks better than the affine filter, "
    f"by {SURE:g} standard errors in the mean over both N.": ahead[0] > SURE * ahead[1],
    "Networks change more without the images of the largest shares than without as many random ones, by "
    f"{SURE:g} standard errors in the mean over the noise levels and both N.": missed[0] - 1 > SURE * missed[1],
    "Where the formula recites, the image itself has the largest share.": int(own.argmax()) == 0,
    "With many images no training image has a share above 15 %.": largest < 0.15,
}
check_claim(statements, preset, strict=strict)

# %% tags=["remove-cell"] jupyter={"source_hidden": true}
record(own_share=own[0], ahead=ahead[0], ahead_error=ahead[1], missed=missed[0])

# %% [markdown]
# ## Try it
#
# - `lemmse run 16 -p shown 0.1`: less noise, where the image itself decides.
# - `lemmse run 16 -p seeds 2`: fewer trainings, which show less of the spread.
# - `lemmse run 16 -p few 40`: more images beside the one that is asked about. The networks are trained anew, which
#   takes minutes.
