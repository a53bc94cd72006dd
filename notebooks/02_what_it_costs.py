# ---
# jupyter:
#   jupytext: {text_representation: {extension: .py, format_name: percent}}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # What it costs
#
# **Question.** The formula sums over every patch of every training image, for every pixel. Can it be computed,
# exactly, while one waits?
#
# **Answer.** Yes. On this machine ({glue:text}`cpu`, {glue:text}`threads` threads) one image of {glue:text}`size` x
# {glue:text}`size` pixels against {glue:text}`count` training images takes {glue:text}`wait:.2f` s:
# {glue:text}`rate:.2f` billion pairs of patches a second, {glue:text}`ratio_least:.0f` to {glue:text}`ratio_most:.0f`
# times as many as a straightforward program, whatever the size of the patch.
#
# **The formula.** With $n$ pixels an image there are $N n^2$ pairs for each query image, and the distance of one pair
# is a sum over $P^2$ pixels. But the distances at one shift $s$ share their terms:
#
# $$
# D_s[m] = \sum_{j \in P \times P} d_s[m + j], \qquad d_s[p] = \big(z[p] - (B A x_i)[p + s]\big)^2,
# $$ (eq-box-sum)
#
# a *box-sum* of one image $d_s$. A running sum along rows, then along columns, adds the pixel that enters the window
# and takes away the one that leaves, so **the cost of a pair does not depend on $P$**. The weights of {eq}`eq-lemmse`
# are summed as they come, about a running maximum, so nothing of size $N n^2$ is ever stored. What cannot be saved is
# one exponential for each pair that matters: the *roofline* below is the rate at which this machine computes
# exponentials and nothing else, {glue:text}`roofline:.1f` billion a second.

# %% tags=["parameters"]
preset: str = "quick"  # smoke, quick or paper: which bar the claim at the end is held to
data: str = "photos"  # what load_images takes: a name, or the path of a folder or zip
size: int = 28  # pixels a side
channels: int = 1  # 1 grey, 3 colour
counts: list[int] = [16, 64, 256, 1024]  # training images of the first figure
count: int = 256  # training images elsewhere
patch_size: int = 11  # P, odd
sigma: float = 0.1  # noise level
patch_sizes: list[int] = [5, 11, 21]  # of the second figure
sigmas: list[float] = [0.02, 0.05, 0.1, 0.2, 0.4, 0.8]  # of the second figure
repeats: int = 3  # turns of engine and baseline, after one that warms up
strict: bool = True  # whether this chapter fails if the claim at its end does

# %% tags=["hide-input"]
from dataclasses import replace

import pandas as pd
import torch
from tqdm import tqdm

from lemmse import figures
from lemmse.analysis.evaluate import formula_error
from lemmse.bench.cells import BASELINE, FAMILIES, baselines, load, make_case, make_estimator, measure
from lemmse.bench.machine import describe, exponentials_per_second
from lemmse.bench.table import summary
from lemmse.book.chapter import check_claim, keep
from lemmse.book.results import committed_bench

roofline = exponentials_per_second(torch.device("cpu"))
base = make_case("identity", data, size, channels, patch_size, sigma, count=count)


def table(cases, desc, fresh):
    bar = tqdm(cases, desc=desc)
    return pd.DataFrame([row for case in bar for row in measure(case, roofline, repeats=repeats, fresh=fresh)])


# %% [markdown]
# ## Against the number of training images
#
# The baseline is what one writes first: unfold the patches of {glue:text}`batch` training images at a time,
# `torch.cdist` in float32, a running log-sum-exp. Both compute all of equation {eq}`eq-lemmse`, take turns in this
# run, and use the same threads.
#
# ```{glue:figure} against_n
# :name: fig-cost-n
# :alt: Seconds per query image against the number of training images: straight lines, the baseline far above.
#
# Seconds for one query image against the number $N$ of training images, at $P =$ {glue:text}`patch_size` and $\sigma
# =$ {glue:text}`sigma`; medians of {glue:text}`repeats` turns. *{glue:text}`engine`* is the engine that sums by
# equation {eq}`eq-box-sum`. The baseline is measured at few images.
# ```

# %% tags=["hide-input"]
scaled = [replace(base, count=n, baseline_count=min(64, max(16, n // 16))) for n in counts]
against_n = table(scaled, "cost against N", fresh=False)
against_n["roofline"] = against_n["count"] * size**4 / roofline
panels = [(against_n, "count", "training images N")]
keep(against_n=figures.cost_lines(panels, "seconds", "seconds per query image"))

# %% [markdown]
# ## Against the patch and the noise
#
# ```{glue:figure} against_p
# :name: fig-cost-p
# :alt: Pairs per second against patch size and noise level; the engine is level in P, the baseline falls.
#
# Billions of pairs a second, all that the formula sums over, against the patch size $P$ (left, at $\sigma =$
# {glue:text}`sigma`) and the noise level (right, at $P =$ {glue:text}`patch_size`). {glue:text}`count` training
# images.
# ```
#
# At small $\sigma$ most pairs weigh nothing: their distance is still summed, but a pair whose weight would be lost in
# the rounding of the sums is skipped, exponential and all. It makes the rate at the smallest $\sigma$
# {glue:text}`skipping:.2f` times that at the largest.

# %% tags=["hide-input"]
against_p = table([replace(base, patch_size=p) for p in patch_sizes], "cost against P", fresh=False)
against_sigma = table([replace(base, sigma=s) for s in sigmas], "cost against sigma", fresh=False)
for frame in (against_p, against_sigma):
    frame["roofline"], frame["rate"] = roofline / 1e9, frame["pairs_per_second"] / 1e9
panels = [(against_p, "patch_size", "patch size P (pixels)"), (against_sigma, "sigma", "noise level sigma")]
keep(against_p=figures.cost_lines(panels, "rate", "billion pairs per second"))

# %% [markdown]
# ## Every estimator
#
# ```{glue:figure} costs
# :name: tab-costs
#
# Engines and their baselines, one query image. *ratio*: to the baseline in the same run. *of roofline*: pairs over
# exponentials a second. *first call*: in a fresh process, on one image; it compiles, or loads what an earlier one
# compiled. *memory*: the peak above the data, in a fresh process. *dB*: PSNR to the plain engine in float64, over the
# training images of the baseline.
# ```
#
# Inpainting is summed as the identity is. Blur whitens the patches, so that a distance is one of features and a
# matrix product gives them all, at a cost that grows with $P^2$. E-MMSE gets all translations of a training image
# from one Fourier transform, MMSE a distance to each. Variance, density and effective number of samples come from the
# same pass.

# %% tags=["hide-input"]
cases = [
    make_case(name, data, size, channels, patch_size if kind.power == 2 else 0, sigma, count=count)
    for name, kind in FAMILIES.items()
]
costs = table(cases, "estimators", fresh=True)
keep(costs=summary(costs).style.hide(axis="index"), gpu_costs=committed_bench())

# %% [markdown]
# ## On a GPU
#
# ```{glue:} gpu_costs
# ```
#
# ## The claim
#
# The claim, of the identity family, is wrong if the engine's time grows with $P$, if it is not well ahead of the
# baseline, or if speed was bought with accuracy. Times on a busy machine scatter, so the bars are set far from what
# was seen: {glue:text}`least_ratio` times the baseline, and a factor of {glue:text}`most_slowdown` between patch sizes.
# Accuracy does not scatter: it must be {glue:text}`least_db` dB, a root mean square error of {glue:text}`least_rms:.0e`
# of the image range, for inpainting too.

# %%
fast = pd.concat([against_n, against_p, against_sigma, costs[costs["family"] == "identity"]])
fast = fast[fast["engine"] != BASELINE]
by_patch = against_p[against_p["engine"] != BASELINE].set_index("patch_size")["pairs_per_second"]
by_sigma = against_sigma[against_sigma["engine"] != BASELINE].set_index("sigma")["pairs_per_second"]
slowdown = by_patch[min(patch_sizes)] / by_patch[max(patch_sizes)]
at_count = fast[fast["count"] == count]
typical = at_count["pairs_per_second"].median()
exact = pd.concat([fast, costs[(costs["family"] == "inpainting") & (costs["engine"] != BASELINE)]])["db"].min()
least_ratio, most_slowdown, least_db = 5, 2, 100
assert exact > least_db, f"{exact:.0f} dB to float64: speed was bought with accuracy"
images, y = load(base)
assert formula_error(make_estimator(base, images), y, sigma) < 1e-5, (
    "the engine must agree with the formula written out"
)
held = {
    f"{least_ratio} times as fast as the baseline": at_count["ratio"].min() > least_ratio,
    f"P = {max(patch_sizes)} takes less than {most_slowdown} times as long as {min(patch_sizes)}": slowdown
    < most_slowdown,
}
check_claim(held, preset, strict=strict)

# %% tags=["remove-cell"]
said = {name: globals()[name] for name in ("size", "count", "patch_size", "sigma", "repeats")}
said |= {"cpu": describe(torch.device("cpu"))["cpu"], "threads": torch.get_num_threads(), "batch": baselines.BATCH}
said |= {"engine": at_count["engine"].iloc[0], "wait": float(base.pairs(count) / typical), "rate": float(typical / 1e9)}
said |= {"ratio_least": float(at_count["ratio"].min()), "ratio_most": float(at_count["ratio"].max())}
said |= {"roofline": roofline / 1e9, "skipping": float(by_sigma[min(sigmas)] / by_sigma[max(sigmas)])}
said |= {"least_ratio": least_ratio, "most_slowdown": most_slowdown, "least_db": least_db}
keep(**said, least_rms=10 ** (-least_db / 20))

# %% [markdown]
# ## Try it
#
# - `channels 3`: each distance has three times the terms, and the baseline falls behind further.
# - `sigmas "[0.005, 0.5, 5]"`: from nearly every pair skipped to none; what remains is the distances.
# - `patch_sizes "[3, 27]"`: a patch as large as the image costs what a small one does.
#
# `lemmse bench` makes a larger table of your machine, `lemmse bench --full` all of it.
