# ---
# jupyter:
#   jupytext: {text_representation: {extension: .py, format_name: percent}}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # A floor for every network
#
# **Question.** How good can a network of receptive field $P$ become, whatever its architecture and however long it is
# trained? And which $P$ is best for $N$ training images? Can both be known from the training images alone, before
# anything is trained and without test images?

# %% [markdown] tags=["answer"]
# **Answer.** This notebook computes the answer; you find it near the end, with the numbers of your run.

# %% [markdown]
# **The formula.** Let $\hat x$ be LE-MMSE with $N$ training images, and $\hat x^{-i}$ the same without image $i$. With
# $y_i = x_i + \sigma e$, the mean errors
#
# $$
# \begin{gathered}
# R_N = \frac1N \sum_i \|\hat x(y_i) - x_i\|^2, \\[1ex]
# R_{\mathrm{LOO}} = \frac1N \sum_i \|\hat x^{-i}(y_i) - x_i\|^2
# \end{gathered}
# $$
#
# enclose the least risk $R^*$ on the whole population of any map that treats all pixels alike and sees $P \times P$ of
# them:
#
# $$
# \mathbb E\, R_N \;\le\; R^* \;\le\; \mathbb E\, R_{\mathrm{LOO}}.
# $$
#
# The left inequality holds because $\hat x$ has the least error of all such maps on its own $N$ images. There its error
# is at most that of the map that is best for the whole population, and the error of that map is $R^*$ on average. The
# right inequality holds because $\hat x^{-i}$ is such a map too, made without the image that it is tested on, if the
# images are independent. So no network of receptive field $P$ has, on average, a test risk below the *floor* $R_N$,
# and the formula itself reaches the *ceiling* $R_{\mathrm{LOO}}$. The patch size with the least ceiling is the one to
# choose.

# %% tags=["parameters", "hide-input"]
preset: str = "quick"  # smoke, quick or paper: which bar the claim at the end is held to
data: str = ""  # what load_images takes: a name, or a path; empty: Fashion-MNIST where it is at hand, else photos
counts: list[int] = [20, 60, 180]  # N, training images, growing
patch_sizes: list[int] = [3, 5, 7, 11]  # P, odd, growing
size: int = 14  # pixels a side
sigmas: list[float] = [0.2, 0.4]  # noise levels
queries: int = 100  # training images, drawn at random, of each estimate; all of them where there are fewer
tested: int = 60  # test images
photographs: str = "photos"  # what the networks were trained on, as in the chapter on the main claim
photograph_count: int = 400  # N of the networks
photograph_size: int = 28  # pixels a side
network_patch_size: int = 5  # P of the networks
architectures: list[str] = ["UNet", "ResNet", "PatchMLP"]  # trained as in the chapter on the main claim
repeats: int = 2  # further trainings of the last of them, with other seeds
network_size: str = "small"  # small, or paper (4 million weights)
steps: int = 2000  # of training
batch_size: int = 8  # images a step
learning_rate: float = 1.0e-2  # at its highest
sigma_min: float = 0.01  # noise levels of the training are uniform in (sigma_min, 1)
photograph_queries: int = 12  # training crops, drawn at random, for the floor of the networks
photograph_tested: int = 24  # test crops of the networks
seed: int = 0  # of the weights and of the training
noise_seed: int = 0  # of the noise, the draws and the resampling
strict: bool = True  # whether this chapter fails if the claim at its end does

# %% tags=["hide-input"]
import logging

import pandas as pd
import torch
from matplotlib.ticker import NullFormatter

from lemmse import Denoising, LocalEquivariantMMSE, figures, load_images
from lemmse.analysis.evaluate import TRUTH, compare, formula_error
from lemmse.analysis.experiment import Training
from lemmse.analysis.floor import chosen_patch_sizes, floor_and_ceiling, risk_map, risks_with_and_without
from lemmse.analysis.margins import SURE
from lemmse.analysis.uncertainty import means_by_group
from lemmse.book.chapter import check_claim, record, show_answer, show_figure, show_table
from lemmse.book.results import show_floor
from lemmse.data.groups import image_groups
from lemmse.data.sets import is_here

logging.basicConfig(level=logging.INFO, format="%(message)s")
data = data or ("fashion_mnist" if is_here("fashion_mnist") else "photos")
shape = {"size": size, "channels": 1}
images = load_images(data, count=max(counts), **shape)
test = load_images(data, split="test", count=tested, **shape)
groups = image_groups(data, count=max(counts), **shape)
test_groups = image_groups(data, split="test", count=tested, **shape)

# %% [markdown]
# ## Leaving an image out takes one pass
#
# `exclude` names for each measurement the training image that it must do without. Nothing is built anew.

# %%
physics = Denoising()
formula = LocalEquivariantMMSE(images, physics, patch_size=5)
source = torch.Generator().manual_seed(noise_seed)
y = physics.measure(images[:4], 0.2, generator=source)
own = torch.arange(4)
at_home = formula(y, 0.2)
left_out = formula.posterior(y, 0.2, exclude=own).mean

# %% tags=["hide-input"]
show_figure(
    figures.gallery(
        {
            f"image {n}": {
                "measurement": y[n],
                "image kept": at_home[n],
                "image left out": left_out[n],
                TRUTH: images[n],
            }
            for n in range(4)
        },
        ["measurement", "image kept", "image left out", TRUTH],
        lambda row, name: (
            ""
            if name in ("measurement", TRUTH)
            else f"error {1e3 * float((row[name] - row[TRUTH]).square().mean()):.1f}"
        ),
        cell=1.2,
    ),
    name="fig-left-out",
    caption="""Four training images at σ = 0.2, restored by the formula with P = 5 that knows them, and by the formula
    without the image. Below is the squared error times 1000.""",
    alt="Four rows; columns are measurement, estimate with the image, estimate without it, and the truth.",
)

# %% [markdown]
# ## Floor and ceiling over N and P

# %%
table = risk_map(
    images,
    test,
    counts,
    patch_sizes,
    sigmas,
    queries=queries,
    seed=noise_seed,
    groups=groups,
    test_groups=test_groups,
)

# %% tags=["hide-input"]
figure, axes = figures.new_figure(
    len(sigmas), len(counts), 2.2 * len(counts) + 0.6, 2.3 * len(sigmas) + 0.6, sharex=True, sharey="row"
)
looks = {
    "floor": {"color": "#0072B2", "marker": "o", "linestyle": "-"},
    "ceiling": {"color": "#D55E00", "marker": "s", "linestyle": "--"},
    "test": {"color": "#000000", "marker": "*", "linestyle": ":"},
}
names = {"floor": "floor: image kept", "ceiling": "ceiling: image left out", "test": "test images"}
for row, sigma in zip(axes, sigmas, strict=True):
    for axis, count in zip(row, counts, strict=True):
        part = table[(table["count"] == count) & (table["sigma"] == sigma)]
        axis.fill_between(part["patch_size"], 1e3 * part["floor"], 1e3 * part["ceiling"], color="#DDDDDD")
        for risk, look in looks.items():
            bars = 1e3 * part[f"{risk}_error"]
            axis.errorbar(
                part["patch_size"], 1e3 * part[risk], bars, label=names[risk], capsize=2, markersize=5, **look
            )
        axis.set_title(f"N = {count}, σ = {sigma:g}", fontsize=10)
        axis.set_xticks(patch_sizes, patch_sizes)
        axis.set_yscale("log")
        axis.yaxis.set_major_formatter("{x:g}")
        axis.yaxis.set_minor_formatter(NullFormatter())
        axis.grid(alpha=0.3)
    row[0].set_ylabel("squared error × 1000")
for axis in axes[-1]:
    axis.set_xlabel("patch size P (pixels)")
figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=9)
show_figure(
    figure,
    name="fig-floor-and-ceiling",
    caption=f"""The gray band reaches from floor to ceiling. On average over training sets of independent images, the
    least risk of all local and equivariant maps lies between the two. They are estimated from the training images
    alone, at most {queries} of them drawn at random; stars are {tested} test images that neither knows. Bars are
    standard errors. Where the ceiling is lowest is the patch size to choose.""",
    alt="A panel for each N and sigma: floor falls with P, ceiling first falls and then rises, test risk lies on it.",
)

# %% [markdown]
# ## Choosing the receptive field without test images

# %%
chosen = chosen_patch_sizes(table, "ceiling")
best = chosen_patch_sizes(table, "test")

# %% tags=["hide-input"]
on_test = table.set_index(["count", "sigma", "patch_size"])["test"]
errors = table.set_index(["count", "sigma", "patch_size"])["test_error"]
choice = chosen.merge(best, on=["count", "sigma"], suffixes=("", "_best"))
keys = [(row["count"], row["sigma"]) for _, row in choice.iterrows()]
choice["risk"] = [on_test[(*key, p)] for key, p in zip(keys, choice["chosen"], strict=True)]
choice["least"] = [on_test[(*key, p)] for key, p in zip(keys, choice["chosen_best"], strict=True)]
choice["error"] = [errors[(*key, p)] for key, p in zip(keys, choice["chosen_best"], strict=True)]
choice["loss"] = 100 * (choice["risk"] / choice["least"] - 1)
widest = table["patch_size"].max()
choice["widest"] = [
    100 * (on_test[(*key, widest)] / least - 1) for key, least in zip(keys, choice["least"], strict=True)
]
narrowest = table["patch_size"].min()
choice["narrowest"] = [
    100 * (on_test[(*key, narrowest)] / least - 1) for key, least in zip(keys, choice["least"], strict=True)
]
show_table(
    pd.DataFrame(
        {
            "N": choice["count"].astype(int),
            "σ": choice["sigma"].map("{:g}".format),
            "chosen by the ceiling": choice["chosen"],
            "best on test images": choice["chosen_best"],
            "lost by the choice": choice["loss"].map("{:.1f} %".format),
            f"lost by P = {narrowest}": choice["narrowest"].map("{:.1f} %".format),
            f"lost by P = {widest}": choice["widest"].map("{:.1f} %".format),
        }
    ),
    name="tab-choice",
    caption=f"""The patch size of the least ceiling, that of the least risk on {tested} test images, and by how much the
    test risk of a choice is above the least. The controls always take the narrowest or the widest window.""",
)

# %% tags=["hide-input"]
show_floor()

# %% [markdown]
# ## No network below the floor
#
# The networks of the chapter on the main claim were trained on crops of photographs. Two crops of one photograph are
# not independent: they may overlap, and they show the same things. If a crop alone were left out, its neighbors would
# stay, and the ceiling would be too low. We therefore leave out the whole photograph, by building the formula without
# it. The floor needs no independence.

# %%
P = network_patch_size
options = {
    "count": photograph_count,
    "size": photograph_size,
    "channels": 1,
}
crops = load_images(photographs, **options)
albums = image_groups(photographs, **options)
training = Training(
    steps=steps,
    batch_size=batch_size,
    lr=learning_rate,
    sigma_min=sigma_min,
    size=network_size,
    seed=seed,
)
networks = training.networks(
    architectures,
    crops,
    physics,
    patch_size=P,
    repeats=repeats,
)
risks = {}
for left, kinds in {"photograph": albums, "crop": None}.items():
    risks[left] = risks_with_and_without(
        crops,
        P,
        sigmas,
        queries=photograph_queries,
        generator=torch.Generator().manual_seed(noise_seed),
        groups=kinds,
    )

# %% tags=["hide-input"]
resampling = torch.Generator().manual_seed(noise_seed)
options |= {"count": photograph_tested, "split": "test"}
new = {"test": load_images(photographs, **options)}
pairs = compare(
    networks, physics, new, sigmas, seed=noise_seed + 1, groups={"test": list(image_groups(photographs, **options))}
)
risk = means_by_group(pairs[pairs["other"] == TRUTH], "mse", ["one", "sigma"], generator=resampling)
bounds = floor_and_ceiling(risks["photograph"], generator=resampling).set_index("sigma")
too_low = floor_and_ceiling(risks["crop"], generator=resampling).set_index("sigma")
figure, (axes,) = figures.new_figure(1, len(sigmas), 3.1 * len(sigmas) + 0.4, 3.2)
for axis, sigma in zip(axes, sigmas, strict=True):
    low, high = 1e3 * bounds.loc[sigma, "floor"], 1e3 * bounds.loc[sigma, "ceiling"]
    axis.axhspan(low, high, color="#DDDDDD")
    for level, name, look in (
        (low, "floor", looks["floor"]),
        (high, "ceiling", looks["ceiling"]),
        (1e3 * too_low.loc[sigma, "ceiling"], "one crop left out", {"color": "#777777", "linestyle": ":"}),
    ):
        axis.axhline(level, label=name, color=look["color"], linestyle=look["linestyle"])
    for turn, (name, part) in enumerate(risk[risk["sigma"] == sigma].groupby("one", sort=False)):
        look = figures.style(name, turn) | {"linestyle": "none", "capsize": 3, "markersize": 7}
        axis.errorbar([turn], 1e3 * part["mean"], SURE * 1e3 * part["error"], label=name, **look)
    axis.set(title=f"σ = {sigma:g}", xticks=[])
axes[0].set_ylabel("squared error × 1000")
figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=8)
show_figure(
    figure,
    name="fig-below-the-floor",
    caption=f"""Networks with P = {P} on {photograph_tested} test crops, bars of ±{SURE:g} standard errors, between
    floor and ceiling from the {photograph_count} training crops. The dotted line is the ceiling that one gets if a
    crop alone is left out.""",
    alt="For each noise level a gray band from floor to ceiling, and the test risks of the networks with error bars.",
)

# %% tags=["hide-input"]
margin = risk.assign(
    floor=[bounds.loc[sigma, "floor"] for sigma in risk["sigma"]],
    floor_error=[bounds.loc[sigma, "floor_error"] for sigma in risk["sigma"]],
)
margin["above"] = margin["mean"] - margin["floor"]
margin["above_error"] = (margin["error"] ** 2 + margin["floor_error"] ** 2) ** 0.5
show_table(
    pd.DataFrame(
        {
            "network": margin["one"],
            "σ": margin["sigma"].map("{:g}".format),
            "test risk × 1000": [figures.plus_minus(1e3 * m, 1e3 * e) for m, e in margin[["mean", "error"]].to_numpy()],
            "floor × 1000": [
                figures.plus_minus(1e3 * m, 1e3 * e) for m, e in margin[["floor", "floor_error"]].to_numpy()
            ],
            "above the floor by": [
                f"{above / error:.1f} standard errors" for above, error in margin[["above", "above_error"]].to_numpy()
            ],
        }
    ),
    name="tab-floor",
    caption="Test risk of the networks and the floor of their receptive field. Standard errors resample photographs.",
)

# %% [markdown]
# ## The answer, and what would prove it wrong
#
# The answer would be wrong if a network had a test risk below the floor by more than chance allows; if test images of
# the same population were restored worse or better than the ceiling says; or if a fixed patch size did better than the
# one that the ceiling chooses.

# %% tags=["hide-input"]
gap = (table["ceiling"] - table["test"]) / (table["ceiling_error"] ** 2 + table["test_error"] ** 2) ** 0.5
below = (table["floor"] - table["test"]) / (table["floor_error"] ** 2 + table["test_error"] ** 2) ** 0.5
lost = choice["loss"]
independent = data != "photos"
kind = "pictures of Fashion-MNIST" if data == "fashion_mnist" else f"images of {data}"
lowest = margin["above"].div(margin["above_error"])
ratio = (table["ceiling"] / table["floor"]).groupby(table["count"]).median()
verdict = (
    f"The patch size that the ceiling chooses costs up to {lost.max():.1f} % of test risk against the best"
    if lost.max() > 0
    else f"Of {len(patch_sizes)} patch sizes the ceiling chooses the one that is best on test images, at every N and σ"
)
is_below = "none is" if lowest.min() > -SURE else "at least one is"
pictures = len(set(image_groups(photographs, **options)))
show_answer(f"""Yes. On {kind} of {size} × {size} pixels, floor and ceiling differ by a factor of
{ratio.iloc[0]:.1f} for N = {counts[0]} and {ratio.iloc[-1]:.1f} for N = {counts[-1]} (median over P and noise levels),
and the risk on test images differs from the ceiling by {gap.abs().max():.1f} standard errors at most, in {len(table)}
cases of N, P and σ. {verdict}; always taking P = {narrowest} or P = {widest} costs up to
{choice[["narrowest", "widest"]].max(axis=None):.0f} %. Of {len(networks)} networks with P = {P}, trained on
photographs, {is_below} below the floor on test crops by more than {SURE:g} standard errors: the lowest is
{"above" if lowest.min() > 0 else "below"} it by {abs(lowest.min()):.1f} standard errors. These errors are wide, because
the test crops come from {pictures} photographs only. For photographs the ceiling is honest only if the whole photograph
is left out: with a crop alone left out it is lower by
{100 * (1 - (too_low["ceiling"] / bounds["ceiling"]).min()):.0f} %. This was tested at σ from {min(sigmas):g} to
{max(sigmas):g}.""")

# %% tags=["hide-input"]
assert table.notna().all(axis=None), "every risk must be a number"
assert formula_error(formula, y, 0.2) < 1e-5, "the engine must agree with the formula written out"
rebuilt = LocalEquivariantMMSE(images[1:], physics, patch_size=5)(y[:1], 0.2)
assert float((rebuilt - left_out[:1]).abs().max()) < 1e-5, "leaving an image out must be a rebuild"
assert bool((table["floor"] < table["ceiling"]).all()), "an image helps with itself"
statements = {
    f"No risk on test images is below the floor by more than {SURE:g} standard errors.": bool((below < SURE).all()),
    "The patch size that the ceiling chooses costs at most 5 % of test risk, at every N and sigma.": bool(
        (lost <= 5).all()
    ),
    "Over all N and sigma it costs less than always taking the narrowest or always the widest window.": bool(
        lost.sum() < min(choice["narrowest"].sum(), choice["widest"].sum())
    ),
    f"No network has a test risk below the floor by more than {SURE:g} standard errors.": bool((lowest > -SURE).all()),
}
if independent:
    statements["On independent images the ceiling is within four standard errors of the risk on test images."] = bool(
        (gap.abs() < 4).all()
    )
check_claim(statements, preset, strict=strict)

# %% tags=["remove-cell"] jupyter={"source_hidden": true}
record(lost_most=lost.max(), above_least=lowest.min(), gap_most=gap.abs().max())

# %% [markdown]
# ## Try it
#
# - `lemmse run 13 -p counts "[50, 500]" -p queries 200`: more images, and smaller standard errors.
# - `lemmse run 13 -p data photos`: the map for photographs, with whole photographs left out.
# - `lemmse run 13 -p sigmas "[0.05, 0.8]"`: less noise, where the floor falls to nothing, and more.
