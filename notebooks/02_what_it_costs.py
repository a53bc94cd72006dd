# ---
# jupyter:
#   jupytext: {text_representation: {extension: .py, format_name: percent}}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # What it costs
#
# **Question.** For every pixel, the formula sums over every patch of every training image. Can it be computed exactly
# while one waits?

# %% [markdown] tags=["answer"]
# **Answer.** This notebook computes the answer; you find it near the end, with the numbers of your run.

# %% [markdown]
# **The formula.** A network sees $z$, and the formula compares the $P \times P$ patch around each pixel $m$ of $z$ with
# the patch around each pixel $k$ of each training image $x_i$, measured and sent through the same pre-inverse, $B A
# x_i$. If an image has $n$ pixels and there are $N$ training images, this makes $N n^2$ pairs of patches, and the
# distance of one pair is a sum over $P^2$ pixels. But neighboring pairs share most of their terms. Fix a training image
# and a shift $s = k - m$. Then all $n$ distances at this shift are sums over windows of one image $d_s$:
#
# $$
# \begin{gathered}
# D_s[m] = \sum_{j \in P \times P} d_s[m + j], \\[1ex]
# d_s[p] = \big(z[p] - (B A x_i)[p + s]\big)^2 .
# \end{gathered}
# $$
#
# Such a *box-sum* needs no $P^2$ additions for each pixel. A running sum along the rows, and then one along the
# columns, adds the pixel that enters the window and subtracts the one that leaves it. **The cost of a pair does not
# depend on $P$.** The page about [the theory](../theory.md) explains what the distances are good for.

# %% tags=["parameters", "hide-input"]
preset: str = "quick"  # smoke, quick or paper: which bar the claim at the end is held to
data: str = "photos"  # what load_images takes: a name, or the path of a folder or zip
size: int = 28  # pixels a side
channels: int = 1  # 1 gray, 3 color
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
from IPython.display import Markdown
from tqdm import tqdm

from lemmse import figures
from lemmse.analysis.evaluate import formula_error
from lemmse.bench.cells import BASELINE, FAMILIES, baselines, load, make_case, make_estimator, measure
from lemmse.bench.machine import describe, exponentials_per_second
from lemmse.bench.table import speed_table, start_table
from lemmse.book.chapter import check_claim, record, show_answer, show_figure, show_table
from lemmse.book.results import show_bench
from lemmse.patches import extract_patches

base = make_case("identity", data, size, channels, patch_size, sigma, count=count)
images, noisy = load(base)

# %% [markdown]
# ## The box-sum in code
#
# We take one training image and one shift. The image $d_s$ of squared differences takes one line:

# %%
shift = (3, 5)
z, training_image = noisy[0].double(), images[0].double()
moved = training_image.roll((-shift[0], -shift[1]), dims=(-2, -1))
squared_differences = (z - moved).square().sum(dim=0)

# %% [markdown]
# A running sum is a cumulative sum minus the cumulative sum $P$ pixels earlier. The window wraps around the border, so
# we first repeat what lies within half a patch of it.


# %%
def running_sum(rows, window):
    """Sums over windows along the last axis, centered, circular."""
    reach = window // 2
    ends = (rows[..., -reach:], rows, rows[..., :reach])
    sums = torch.cat(ends, dim=-1).cumsum(dim=-1)
    sums = torch.nn.functional.pad(sums, (1, 0))
    return sums[..., window:] - sums[..., :-window]


along_rows = running_sum(squared_differences, patch_size)
distances = running_sum(along_rows.T, patch_size).T

# %% [markdown]
# Cutting out all patches and comparing them pair by pair gives the same numbers.

# %%
patches_of_z = extract_patches(z[None], patch_size)
patches_of_image = extract_patches(moved[None], patch_size)
pairwise = (patches_of_z - patches_of_image).square().sum(dim=(1, 3))
box_sum_error = float((distances.flatten() - pairwise[0]).abs().max())

# %% tags=["remove-input"] jupyter={"source_hidden": true}
Markdown(f"The largest difference between the two ways is {box_sum_error:.0e}, which is rounding.")

# %% [markdown]
# The engine of the library does this for all training images and all shifts. It adds the weights up as they come, about
# a running maximum, so nothing of size $N n^2$ is ever stored. One thing cannot be saved: each pair that matters needs
# one exponential. The *roofline* is the rate at which this machine computes exponentials and nothing else.

# %%
roofline = exponentials_per_second(torch.device("cpu"))

# %% tags=["remove-input"] jupyter={"source_hidden": true}
Markdown(f"On this machine the roofline is {roofline / 1e9:.1f} billion exponentials a second.")


# %% tags=["hide-input"]
def measured(cases, desc, fresh=False):
    """The rows of all cases, with the roofline and the rate in billion pairs a second."""
    bar = tqdm(cases, desc=desc)
    table = pd.DataFrame([row for case in bar for row in measure(case, roofline, repeats=repeats, fresh=fresh)])
    return table.assign(rate=table["pairs_per_second"] / 1e9, roofline=roofline / 1e9)


# %% [markdown]
# ## The time grows with the number of training images
#
# We measure the engine against a straightforward program. This *baseline* unfolds the patches of a few training images
# at a time and calls `torch.cdist`, in single precision. Engine and baseline compute all of the formula, take turns,
# and use the same number of threads.

# %%
few = {n: min(64, max(16, n // 16)) for n in counts}
by_count = [replace(base, count=n, baseline_count=few[n]) for n in counts]
against_n = measured(by_count, "cost against N")

# %% tags=["hide-input"]
against_n["roofline"] = against_n["count"] * size**4 / roofline
show_figure(
    figures.cost_lines([(against_n, "count", "training images N")], "seconds", "seconds for one image"),
    name="fig-cost-n",
    caption=f"""Seconds for one image of {size} x {size} pixels against the number $N$ of training images, at $P =
    {patch_size}$ and $\\sigma = {sigma:g}$: the least of {repeats} turns. The baseline is slow, so it is measured with
    few training images. A program that computes every exponential cannot be faster than the dotted line, the roofline.
    The engine skips exponentials that are too small to matter.""",
    alt="Seconds against the number of training images: straight lines, the baseline far above the engine.",
)

# %% [markdown]
# ## The time does not grow with the patch
#
# The next figure counts how many pairs a second are dealt with, so that a level line means a constant cost.

# %%
by_patch_size = [replace(base, patch_size=p) for p in patch_sizes]
by_sigma = [replace(base, sigma=s) for s in sigmas]
against_p = measured(by_patch_size, "cost against P")
against_sigma = measured(by_sigma, "cost against sigma")

# %% tags=["hide-input"]
panels = [(against_p, "patch_size", "patch size P (pixels)"), (against_sigma, "sigma", "noise level sigma")]
show_figure(
    figures.cost_lines(panels, "rate", "billion pairs a second"),
    name="fig-cost-p",
    caption=f"""Billion pairs of patches a second, against the patch size (left, at $\\sigma = {sigma:g}$) and against
    the noise level (right, at $P = {patch_size}$), with {count} training images.""",
    alt="Pairs a second against patch size and noise level: the engine is nearly level in both, the baseline falls.",
)

# %%
of_engine = against_sigma[against_sigma["engine"] != BASELINE]
rate_at = of_engine.set_index("sigma")["rate"]
gained_by_skipping = rate_at[min(sigmas)] / rate_at[max(sigmas)]
exponentials_share = 1e9 * rate_at[max(sigmas)] / roofline

# %% tags=["remove-input"] jupyter={"source_hidden": true}
saves = "This saves time" if gained_by_skipping > 1.2 else "This saves little or no time in this run"
Markdown(f"""At small noise most pairs have a weight that would be lost in the rounding of the sums. The engine still
sums their distances, but it skips their exponentials. {saves}: the rate at $\\sigma = {min(sigmas):g}$ is
{gained_by_skipping:.1f} times the rate at $\\sigma = {max(sigmas):g}$. All exponentials together would take
{exponentials_share:.0%} of the time at $\\sigma = {max(sigmas):g}$ if they ran at the rate of the roofline.""")

# %% [markdown]
# ## Every estimator
#
# The same box-sum serves inpainting, where hidden pixels leave the sum. Behind the pseudo-inverse of a blur the noise
# is correlated, so patches are *whitened* first, and all their distances come from one matrix product, with $P^2$
# multiplications for each pair. E-MMSE compares whole images under all translations, with one Fourier transform for
# each training image; MMSE compares whole images without them. The variance, the density and the effective number of
# patches come from the same pass as the output.

# %%
cases = [
    make_case(
        name,
        data,
        size,
        channels,
        patch_size if family.power == 2 else 0,
        sigma,
        count=count,
    )
    for name, family in FAMILIES.items()
]
fresh = preset != "smoke"  # a new process takes seconds to start
costs = measured(cases, "estimators", fresh)

# %% tags=["hide-input"]
show_table(
    speed_table(costs),
    name="tab-costs",
    caption=f"""How fast and how exact the estimators are, for one image and {count} training images. *Times the
    baseline*: how many times as many pairs a second as the baseline of that estimator, in the same run. *Of roofline*:
    pairs a second over exponentials a second. *Accuracy*: PSNR between the engine, which computes in single precision,
    and the same formula in double precision.""",
)
show_table(
    start_table(costs),
    name="tab-start",
    caption="""What is paid once. *First call*: its time in a fresh process, with one training image; an engine that is
    compiled when it is first called loads what an earlier process compiled. *Memory*: the peak above the data in a
    fresh process, with the training images of the table.""",
)

# %% tags=["hide-input"]
show_bench()

# %% [markdown]
# ## The answer, and what would prove it wrong
#
# The answer, which is about denoising, would be wrong if the time of the engine grew with $P$, if the engine were not
# well ahead of the baseline, or if its speed were bought with accuracy. Times vary on a busy machine, so the cell below
# demands much less than an idle machine shows. The accuracy does not vary, so it is tested without such slack.

# %% tags=["hide-input"]
identity = costs[costs["family"] == "identity"]
engine_rows = pd.concat([against_n, against_p, against_sigma, identity])
engine_rows = engine_rows[engine_rows["engine"] != BASELINE]
at_count = engine_rows[engine_rows["count"] == count]
rate = at_count["pairs_per_second"].median()
seconds = base.pairs(count) / rate
slowest, fastest = at_count["ratio"].min(), at_count["ratio"].max()
by_patch = against_p[against_p["engine"] != BASELINE].set_index("patch_size")["pairs_per_second"]
slowdown = by_patch[min(patch_sizes)] / by_patch[max(patch_sizes)]
machine = describe(torch.device("cpu"))["cpu"]
fewest, most = min(counts), max(counts)
seconds_for = against_n[against_n["engine"] != BASELINE].set_index("count")["seconds"]
rate_of = costs[costs["engine"] != BASELINE].set_index("family")["pairs_per_second"]
show_answer(f"""Yes. On the machine that made this page ({machine}; threads: {torch.get_num_threads()}), denoising one
image of {size} x {size} pixels with {count} training images takes {figures.rounded(seconds, 2)} s. This is
{rate / 1e9:.2f} billion pairs of patches a second, {slowest:.0f} to {fastest:.0f} times as many as a straightforward
program computes. With $P = {max(patch_sizes)}$ it takes {slowdown:.1f} times as long as with $P = {min(patch_sizes)}$.
With {most:,} training images, {most / fewest:.0f} times as many as {fewest:,}, it takes
{seconds_for[most] / seconds_for[fewest]:.0f} times as long. Physics-aware deblurring cannot use the box-sum: at $P =
{patch_size}$ it is {rate_of["identity"] / rate_of["blur"]:.0f} times as slow as denoising. These are the least times of
{repeats} turns each, in one run.""")

# %% tags=["hide-input"]
least_ratio, most_slowdown, least_db = 5, 2, 100
boxed = costs[(costs["family"] == "inpainting") & (costs["engine"] != BASELINE)]
accuracy = pd.concat([engine_rows, boxed])["db"].min()
assert box_sum_error < 1e-9, "the box-sum must agree with the distances of pairs of patches"
assert accuracy > least_db, f"the engine is {accuracy:.0f} dB from double precision: speed was bought with accuracy"
assert formula_error(make_estimator(base, images), noisy, sigma) < 1e-5, (
    "the engine must agree with the formula written out"
)
statements = {
    f"The engine computes {least_ratio} times as many pairs a second as the baseline.": slowest > least_ratio,
    f"P = {max(patch_sizes)} takes less than {most_slowdown} times as long as P = {min(patch_sizes)}.": slowdown
    < most_slowdown,
}
check_claim(statements, preset, strict=strict)

# %% tags=["remove-cell"] jupyter={"source_hidden": true}
record(seconds=seconds, rate=rate / 1e9, ratio_least=slowest, ratio_most=fastest, roofline=roofline / 1e9)
record(slowdown=slowdown, skipping=gained_by_skipping, accuracy=accuracy, batch=baselines.BATCH)

# %% [markdown]
# ## Try it
#
# - `lemmse run 02 -p channels 3`: each distance has three times as many terms, and the baseline falls behind further.
# - `lemmse run 02 -p sigmas "[0.005, 0.5, 5.0]"`: from a noise level at which nearly every exponential is skipped to
#   one at which none is.
# - `lemmse run 02 -p patch_sizes "[3, 9]"`: a large patch costs what a small one does.
#
# `lemmse bench` makes a larger table of your machine, and `lemmse bench --full` measures every case.
