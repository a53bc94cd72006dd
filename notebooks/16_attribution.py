# ---
# jupyter:
#   jupytext: {text_representation: {extension: .py, format_name: percent}}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Who taught it that?
#
# **Question.** Which training images is an estimate made of? What would change if some of them were removed? The
# formula answers both exactly. Does its answer predict what a network does that is trained again without these images?

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
draws: int = 8  # noisy measurements of the one image that is asked about
share: float = 0.1  # of the training images that is removed
seeds: int = 3  # trainings of each kind
network_size: str = "tiny"  # tiny (30,000 weights), small, medium, or paper (4 million weights)
steps: int = 2000  # of training
batch_size: int = 8  # images a step
learning_rate: float = 2.0e-3  # at its highest
seed: int = 0  # of the weights, the training, and which images are removed
noise_seed: int = 0  # of the noise that the estimates are compared on
strict: bool = True  # whether this chapter fails if the claim at its end does

# %% tags=["hide-input"]
import logging
from dataclasses import dataclass, replace
from itertools import product

import pandas as pd
import torch
from torch import Tensor

from lemmse import AffineMMSE, Denoising, LocalEquivariantMMSE, figures, load_images
from lemmse.analysis.attribution import Attribution, attribute
from lemmse.analysis.evaluate import formula_error
from lemmse.analysis.experiment import Training
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
# We ask about one image, a training image where there are few of them and a test image where there are many, and
# measure it several times. One pass, image by image, gives all shares.


# %%
@dataclass
class Case:
    """One image, measured several times at each level, and its teachers."""

    images: Tensor
    truth: Tensor
    formula: LocalEquivariantMMSE
    top: list[int]  # the images with the largest shares
    y: dict[float, Tensor]
    found: dict[float, Attribution]


def ask(count, split):
    options = {"size": size, "channels": 1}
    images = load_images(data, count=count, **options)
    truth = load_images(data, split=split, count=1, **options)
    formula = LocalEquivariantMMSE(images, physics, patch_size=P)
    repeated = truth.expand(draws, -1, -1, -1)

    def measured(sigma, drawn):
        noise = torch.Generator().manual_seed(drawn)
        return physics.measure(repeated, sigma, generator=noise)

    naming = attribute(formula, measured(shown, seed), shown)
    removed = max(1, round(share * count))
    top = naming.image_shares.mean(0).topk(removed).indices.tolist()
    y = {sigma: measured(sigma, noise_seed) for sigma in sigmas}
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
    mean_shares = case.found[shown].image_shares.mean(0)
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
    measurements at σ = {shown:g}. With few training images the image itself decides; with many, each has a small
    share.""",
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


def correlation(a, b):
    """Of two changes, over pixels and measurements."""
    a, b = (change.double().flatten() for change in (a, b))
    return float(a @ b / (a.norm() * b.norm()).clamp_min(1e-30))


def size_of(change):
    """Root mean square."""
    return float(change.double().square().mean().sqrt())


def affine_change(case, removed, sigma):
    """What the affine filter changes without these images."""
    kept = torch.ones(len(case.images), dtype=torch.bool)
    kept[removed] = False
    parts = (case.images, case.images[kept])
    whole, rest = (AffineMMSE(x, physics, patch_size=P)(case.y[sigma], sigma) for x in parts)
    return rest - whole


rows, pictures = [], {}
for (name, case), sigma in product(cases.items(), sigmas):
    found, y = case.found[sigma], case.y[sigma]
    whole = torch.stack([networks[name, "all", turn](y, sigma) for turn in range(seeds)])
    spread = size_of(whole - whole.mean(0)) * (seeds / max(1, seeds - 1)) ** 0.5
    for kind, sets in list(sets_of(case).items())[1:]:
        changes = torch.stack([networks[name, kind, turn](y, sigma) for turn in range(seeds)]) - whole
        predicted = torch.stack([found.change(removed) for removed in sets])
        control = torch.stack([affine_change(case, removed, sigma) for removed in sets])
        by_seed = [correlation(change, guess) for change, guess in zip(changes, predicted, strict=True)]
        row = {"case": name, "sigma": sigma, "removed": kind, "spread": spread}
        row |= {"predicted": size_of(predicted), "observed": size_of(changes)}
        row |= {"least": min(by_seed), "most": max(by_seed)}
        row |= {"correlation": correlation(changes.mean(0), predicted.mean(0))}
        row |= {"affine": correlation(changes.mean(0), control.mean(0))}
        rows.append(row)
        if kind == "top":
            pictures[name, sigma] = (predicted.mean(0), changes.mean(0))
table = pd.DataFrame(rows)
show_table(
    pd.DataFrame(
        {
            "asked about": table["case"],
            "σ": table["sigma"].map("{:g}".format),
            "removed": [f"{len(cases[n].top)} {k}" for n, k in table[["case", "removed"]].to_numpy()],
            "change of the formula": table["predicted"].map("{:.4f}".format),
            "of the networks": table["observed"].map("{:.4f}".format),
            "by the seed alone": table["spread"].map("{:.4f}".format),
            "correlation": table["correlation"].map("{:.2f}".format),
            "of one seed": [figures.span(pair) for pair in table[["least", "most"]].to_numpy()],
            "with the affine filter": table["affine"].map("{:.2f}".format),
        }
    ),
    name="tab-unlearning",
    caption=f"""Root mean square changes of the estimate of one image, over {draws} measurements. The change of a
    network is between two trainings with the same seed, with the images and without. The correlation with the change
    that the formula predicts is that of the mean over {seeds} seeds, then the range over single seeds; last, the
    correlation with the change of the affine filter. Random images are others for each seed. By the seed alone:
    standard deviation over trainings with all images.""",
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
    caption=f"""What removing the images of the largest shares changes at σ = {highest:g}: predicted by the formula
    without any training, and observed, the mean over {seeds} pairs of trainings; images are means over {draws}
    measurements. Gray is no change. Right: all pixels of all measurements; on the line the two are equal.""",
    alt="For both cases: the image, the predicted change, the observed change, and a scatter of one against the other.",
)

# %% [markdown]
# ## The answer, and what would prove it wrong
#
# The answer would be wrong if, at large noise, the change of the networks had nothing to do with the change that the
# formula predicts, if the affine filter predicted it as well, or if networks missed random images as much as those that
# the formula names. At small noise a network that was trained for longer may recite more, and then the formula should
# predict it better.

# %% tags=["hide-input"]
recites, general = cases
of = table.set_index(["case", "removed", "sigma"])
own = cases[recites].found[shown].image_shares.mean(0)
largest = float(cases[general].found[shown].image_shares.mean(0).max())
sharing = float(cases[general].found[shown].effective_images.mean())
judged = table[(table["removed"] == "top") & (table["sigma"] >= claimed_from)]
small = of.loc[(recites, "top", shown)]
observed = table.pivot(index=["case", "sigma"], columns="removed", values="observed")
missed = observed["top"] / observed["random"]
at_random = table[(table["removed"] == "random") & (table["sigma"] >= claimed_from)]
spread_text = "no more than" if small["observed"] <= small["spread"] else "more than"
show_answer(f"""The formula names the teachers exactly; what networks forget, it predicts at large noise only. Asked
about one of N = {few} training images at σ = {shown:g}, the image itself has a share of {100 * float(own[0]):.0f} %.
Asked about a test image with N = {many}, no image has a share above {100 * largest:.1f} %, and some {sharing:.0f}
images share each pixel. From σ = {claimed_from:g} on, where the networks are near the formula, training without the
{100 * share:.0f} % of the images with the largest shares changes the networks as predicted, with a correlation of
{figures.span(judged["correlation"])} (mean over {seeds} seeds; {figures.span([*judged["least"], *judged["most"]])} for
a single one), where the affine filter reaches {figures.span(judged["affine"])}. Without these images the networks
change {figures.span(missed, ".1f")} times as much as without as many random ones, at all noise levels, with few images
and with many; what random ones change, from σ = {claimed_from:g} on, the formula predicts with a correlation of
{figures.span([*at_random["least"], *at_random["most"]])} for a single seed. At σ = {shown:g} networks of this size
recite much less than the formula: asked about the training image, the formula would change by
{small["predicted"]:.3f} without its teachers, the networks change by {small["observed"]:.3f}, {spread_text} another
seed changes ({small["spread"]:.3f}), and the correlation is {small["correlation"]:.2f}, where the affine filter has
{small["affine"]:.2f}. This is about one image each, networks of {network_size} size and P = {P}.""")

# %% tags=["hide-input"]
for case in cases.values():
    kept = torch.tensor([i not in case.top for i in range(len(case.images))])
    rebuilt = case.formula.rebuilt(case.images[kept])(case.y[shown], shown)
    error = float((rebuilt - case.found[shown].without(case.top)).abs().max())
    assert error < 1e-4, f"removing images must be a rebuild, got {error}"
    y = case.y[shown][:1]
    assert formula_error(case.formula, y, shown) < 1e-5, "the engine must agree with the formula written out"
assert table.notna().all(axis=None), "every change must be a number"
statements = {
    f"From sigma = {claimed_from:g} on, the change of the networks correlates with the prediction above 0.6.": bool(
        (judged["correlation"] > 0.6).all()
    ),
    f"From sigma = {claimed_from:g} on, the formula predicts it better than the affine filter does.": bool(
        (judged["correlation"] > judged["affine"]).all()
    ),
    "At every sigma, with few images and with many, networks change more without the images of the largest shares than "
    "without as many random ones.": bool((missed > 1).all()),
    "Where the formula recites, the image itself has the largest share.": int(own.argmax()) == 0,
    "With many images no training image has a share above 15 %.": largest < 0.15,
}
check_claim(statements, preset, strict=strict)

# %% tags=["remove-cell"] jupyter={"source_hidden": true}
record(own_share=own[0], correlation_least=judged["correlation"].min(), affine_most=judged["affine"].max())

# %% [markdown]
# ## Try it
#
# - `lemmse run 16 -p shown 0.1`: less noise, where the image itself decides.
# - `lemmse run 16 -p seeds 2`: fewer trainings, which show less of the spread.
# - `lemmse run 16 -p few 40`: more images beside the one that is asked about. The networks are trained anew, which
# takes   minutes.
