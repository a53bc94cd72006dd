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
sigma: float = 0.2  # noise level
draws: int = 8  # noisy measurements of the one image that is asked about
share: float = 0.1  # of the training images that is removed
seeds: int = 3  # trainings of each kind
network_size: str = "tiny"  # tiny (30,000 weights), small, medium, or paper (4 million weights)
steps: int = 2000  # of training
batch_size: int = 8  # images a step
learning_rate: float = 2.0e-3  # at its highest
seed: int = 0  # of weights, training, noise and random removals
strict: bool = True  # whether this chapter fails if the claim at its end does

# %% tags=["hide-input"]
import logging
from dataclasses import dataclass, replace

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
    """One image, measured several times, and who taught it."""

    images: Tensor
    truth: Tensor
    y: Tensor
    formula: LocalEquivariantMMSE
    found: Attribution
    top: list[int]  # the images with the largest shares


def ask(count, split):
    options = {"size": size, "channels": 1}
    images = load_images(data, count=count, **options)
    truth = load_images(data, split=split, count=1, **options)
    noise = torch.Generator().manual_seed(seed)
    repeated = truth.expand(draws, -1, -1, -1)
    y = physics.measure(repeated, sigma, generator=noise)
    formula = LocalEquivariantMMSE(images, physics, patch_size=P)
    found = attribute(formula, y, sigma)
    removed = max(1, round(share * count))
    top = found.image_shares.mean(0).topk(removed).indices
    return Case(images, truth, y, formula, found, top.tolist())


cases = {
    f"a training image, N = {few}": ask(few, "train"),
    f"a test image, N = {many}": ask(many, "test"),
}

# %% tags=["hide-input"]
shown = 5
figure, axes = figures.new_figure(len(cases), shown + 3, 1.2 * (shown + 3) + 0.3, 1.75 * len(cases))
for line, (name, case) in zip(axes, cases.items(), strict=True):
    mean_shares = case.found.image_shares.mean(0)
    estimate = case.found.without([])
    figures.draw_image(line[0], case.truth[0], title="truth")
    figures.draw_image(line[1], case.y[0], title="measurement")
    figures.draw_image(line[2], estimate[0], title="formula")
    line[0].set_ylabel(name.replace(", ", "\n"), fontsize=8)
    for turn, (axis, image) in enumerate(zip(line[3:], mean_shares.topk(shown).indices.tolist(), strict=True)):
        note = f"{100 * float(mean_shares[image]):.1f} %"
        figures.draw_image(axis, case.images[image], title=f"teacher {turn + 1}", note=note)
show_figure(
    figure,
    name="fig-teachers",
    caption=f"""The training images with the largest shares in the estimate, means over all pixels and {draws}
    measurements at σ = {sigma:g}. With few training images the image itself decides; with many, each has a small
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
    chance = []
    for _ in range(seeds):
        shuffled = torch.randperm(count, generator=order).tolist()
        chance.append(shuffled[:removed])
    nothing = [[]] * seeds
    return {"all": nothing, "top": [case.top] * seeds, "random": chance}


def network_without(case, removed, turn):
    """What a network makes of it that is trained without some images."""
    kept = torch.ones(len(case.images), dtype=torch.bool)
    kept[removed] = False
    network = replace(training, seed=seed + turn).network(
        "PatchMLP",
        case.images[kept],
        physics,
        patch_size=P,
    )
    return network(case.y, sigma)


# %%
estimates = {}
for name, case in cases.items():
    for kind, sets in sets_of(case).items():
        numbered = enumerate(sets)
        each = [network_without(case, out, n) for n, out in numbered]
        estimates[name, kind] = torch.stack(each)

# %% tags=["hide-input"]


def correlation(a, b):
    """Of two changes, over pixels and measurements."""
    a, b = (change.double().flatten() for change in (a, b))
    return float(a @ b / (a.norm() * b.norm()).clamp_min(1e-30))


def size_of(change):
    """Root mean square."""
    return float(change.double().square().mean().sqrt())


def affine_change(case, removed):
    """What the affine filter changes without these images."""
    kept = torch.ones(len(case.images), dtype=torch.bool)
    kept[removed] = False
    whole, rest = (AffineMMSE(x, physics, patch_size=P)(case.y, sigma) for x in (case.images, case.images[kept]))
    return rest - whole


rows, pictures = [], {}
for name, case in cases.items():
    whole = estimates[name, "all"]
    spread = size_of(whole - whole.mean(0)) * (seeds / max(1, seeds - 1)) ** 0.5
    for kind, sets in list(sets_of(case).items())[1:]:
        changes = estimates[name, kind] - whole  # with the same seeds
        predicted = [case.found.change(removed) for removed in sets]
        by_seed = [correlation(change, guess) for change, guess in zip(changes, predicted, strict=True)]
        affine = [correlation(change, affine_change(case, r)) for change, r in zip(changes, sets, strict=True)]
        rows.append(
            {
                "case": name,
                "removed": kind,
                "predicted": sum(map(size_of, predicted)) / seeds,
                "observed": sum(map(size_of, changes)) / seeds,
                "spread": spread,
                "correlation": sum(by_seed) / seeds,
                "least": min(by_seed),
                "most": max(by_seed),
                "of the mean": correlation(changes.mean(0), sum(predicted) / seeds),
                "affine": sum(affine) / seeds,
            }
        )
        if kind == "top":
            pictures[name] = (case.found.change(case.top), changes.mean(0))
table = pd.DataFrame(rows)
show_table(
    pd.DataFrame(
        {
            "asked about": table["case"],
            "removed": [
                f"{len(cases[name].top)} {kind}" for name, kind in zip(table["case"], table["removed"], strict=True)
            ],
            "change of the formula": table["predicted"].map("{:.4f}".format),
            "change of the networks": table["observed"].map("{:.4f}".format),
            "spread over seeds": table["spread"].map("{:.4f}".format),
            "correlation": [
                f"{mean:.2f} ({low:.2f} to {high:.2f})"
                for mean, low, high in table[["correlation", "least", "most"]].to_numpy()
            ],
            "with the affine filter": table["affine"].map("{:.2f}".format),
        }
    ),
    name="tab-unlearning",
    caption=f"""Root mean square changes of the estimate of one image at σ = {sigma:g}, over {draws} measurements. The
    change of a network is between two trainings with the same seed, with the images and without; the correlation is
    between that change and the one that the formula predicts, mean and range over {seeds} seeds; last, with the
    change of the affine filter. The spread is the standard deviation over trainings with all images and other seeds:
    it is what the seed alone changes.""",
)

# %% tags=["hide-input"]
figure, axes = figures.new_figure(len(cases), 4, 6.4, 2.1 * len(cases))
for line, (name, (guess, change)) in zip(axes, pictures.items(), strict=True):
    most = float(guess[0].abs().max())
    figures.draw_image(line[0], cases[name].truth[0], title="truth")
    figures.draw_image(line[1], guess[0].float(), title="formula: change", limits=(-most, most))
    figures.draw_image(line[2], change[0], title="networks: change", limits=(-most, most), note=f"white: +{most:.2f}")
    line[3].plot(guess.flatten(), change.flatten(), ".", markersize=2, color="#0072B2", alpha=0.5)
    ends = [-most, most]
    line[3].plot(ends, ends, color="black", linewidth=0.8)
    line[3].set_xlabel("formula", fontsize=8)
    line[3].set_title("networks over formula", fontsize=9)
    line[3].tick_params(labelsize=7)
    line[0].set_ylabel(name.replace(", ", "\n"), fontsize=8)
show_figure(
    figure,
    name="fig-unlearning",
    caption=f"""What removing the images of the largest shares changes: predicted by the formula without any training,
    and observed, the mean over {seeds} pairs of trainings. Gray is no change. Right: all pixels of {draws}
    measurements; on the line the two are equal.""",
    alt="For both cases: the image, the predicted change, the observed change, and a scatter of one against the other.",
)

# %% [markdown]
# ## The answer, and what would prove it wrong
#
# The answer would be wrong if the change of the networks had nothing to do with the change that the formula predicts,
# or if removing random images changed the networks as much as removing those of the largest shares.

# %% tags=["hide-input"]
recites, general = cases
of = table.set_index(["case", "removed"])
own = cases[recites].found.image_shares.mean(0)
largest = float(cases[general].found.image_shares.mean(0).max())
teachers = float(cases[general].found.effective_images.mean())
show_answer(f"""The formula names the teachers exactly, and it predicts what networks forget where they recite. Asked
about {recites}, the image itself has a share of {100 * float(own[0]):.0f} %. Without the {len(cases[recites].top)}
images of the largest shares, networks that were trained again change by {of.loc[(recites, "top"), "observed"]:.3f},
and the change correlates with the predicted one at {of.loc[(recites, "top"), "correlation"]:.2f}
({of.loc[(recites, "top"), "least"]:.2f} to {of.loc[(recites, "top"), "most"]:.2f} over {seeds} seeds); without random
images they change by {of.loc[(recites, "random"), "observed"]:.3f}, where other seeds alone change
{of.loc[(recites, "random"), "spread"]:.3f}. Asked about {general}, no image has a share above {100 * largest:.1f} % and
some {teachers:.0f} images share each pixel. Removing the {len(cases[general].top)} largest changes the networks by
{of.loc[(general, "top"), "observed"]:.3f}, with a correlation of {of.loc[(general, "top"), "correlation"]:.2f}. This is
about one image each, σ = {sigma:g}, networks of {network_size} size and P = {P}.""")

# %% tags=["hide-input"]
for case in cases.values():
    kept = torch.tensor([i not in case.top for i in range(len(case.images))])
    rebuilt = case.formula.rebuilt(case.images[kept])(case.y, sigma)
    error = float((rebuilt - case.found.without(case.top)).abs().max())
    assert error < 1e-4, f"removing images must be a rebuild, got {error}"
    assert formula_error(case.formula, case.y[:1], sigma) < 1e-5, "the engine must agree with the formula written out"
assert all(bool(torch.isfinite(batch).all()) for batch in estimates.values()), "every estimate must be finite"
statements = {
    "Where the formula recites, the change of the networks correlates with its prediction above 0.5, for each "
    "seed.": bool(of.loc[(recites, "top"), "least"] > 0.5),
    "There the formula predicts the change better than the affine filter does.": bool(
        of.loc[(recites, "top"), "correlation"] > of.loc[(recites, "top"), "affine"]
    ),
    "There removing the largest shares changes the networks more than removing random images.": bool(
        of.loc[(recites, "top"), "observed"] > of.loc[(recites, "random"), "observed"]
    ),
    "With many images no training image has a share above 15 %.": largest < 0.15,
}
check_claim(statements, preset, strict=strict)

# %% tags=["remove-cell"] jupyter={"source_hidden": true}
record(
    own_share=own[0],
    correlation_few=of.loc[(recites, "top"), "correlation"],
    correlation_many=of.loc[(general, "top"), "correlation"],
)

# %% [markdown]
# ## Try it
#
# - `lemmse run 16 -p sigma 0.1`: less noise, where the image itself decides.
# - `lemmse run 16 -p seeds 2`: fewer trainings, which show less of the spread.
# - `lemmse run 16 -p few 40`: more images beside the one that is asked about. The networks are trained anew, which
# takes   minutes.
