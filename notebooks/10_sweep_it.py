# ---
# jupyter:
#   jupytext: {text_representation: {extension: .py, format_name: percent}}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Sweep it
#
# **Question.** [The chapter about one pixel](00_one_pixel.ipynb) counts how many training patches share the weight of
# one pixel. How does this number depend on the patch size and on the noise, and how does one find out without running
# the chapter by hand for each case?

# %% [markdown] tags=["answer"]
# **Answer.** This notebook computes the answer; you find it near the end, with the numbers of your run.

# %% [markdown]
# **The formula.** The weights $w_{i,k}$ of the training patches add up to one, and the effective number of patches is
#
# $$
# N_{\mathrm{eff}} = \frac{1}{\sum_{i,k} w_{i,k}^2} .
# $$
#
# It is one if a single patch has all the weight.

# %% tags=["parameters", "hide-input"]
preset: str = "quick"  # smoke, quick or paper: of the runs, too
patch_sizes: list[int] = [3, 5, 7, 11]  # P, odd, growing
sigmas: list[float] = [0.1, 0.3]  # noise levels, growing
jobs: int = 2  # runs at once
strict: bool = True  # whether this chapter fails if the claim at its end does

# %% tags=["hide-input"]
from lemmse import figures
from lemmse.book.chapter import check_claim, record, show_answer, show_figure, show_table
from lemmse.book.notebooks import Project
from lemmse.sweep import sweep

# %% [markdown]
# ## The grid
#
# A sweep runs one chapter many times. Which parameters each run has is written in a grid. With this text in the file
# `patches.yaml`, every patch size is combined with every noise level:
#
# ```yaml
# product:
#   patch_size: [3, 5, 7, 11]
#   sigma: [0.1, 0.3]
# fixed:
#   strict: false
#   draws: 2
# ```
#
# The names are those of the parameters cell of the chapter. What stands under `fixed` is the same in all runs. Here
# `strict: false` lets a run go on if the claim of the chapter does not hold for its parameters, and `draws: 2` saves
# time. Three commands list the runs, execute them and draw the result:
#
# ```bash
# lemmse sweep 00 patches.yaml --dry-run
# lemmse sweep 00 patches.yaml --jobs 2 -o patches
# lemmse plot patches --x patch_size --y effective --by sigma --log y
# ```
#
# From Python, a sweep is a function, and its points are a list:

# %%
fixed = {"strict": False, "draws": 2}
points = []
for patch_size in patch_sizes:
    for sigma in sigmas:
        points.append({"patch_size": patch_size, "sigma": sigma} | fixed)
project = Project.find()
chapter = project.source("00_one_pixel")
folder = project.root / "build" / "sweeps" / f"patches-{preset}"
options = {"preset": preset, "jobs": jobs, "progress": False}
table = sweep(project, chapter, points, folder, **options)

# %% [markdown]
# A run that is complete is not executed again. You may stop a sweep at any time or add values to its grid, and the
# same command continues where it was. [The page about sweeps](../sweep.md) is the reference.

# %% [markdown]
# ## The table and the figure
#
# The table has one row for each run. Its columns are the parameters, the values that the chapter records, and what is
# known about the run, such as its time and memory.

# %% tags=["hide-input"]
columns = {
    "patch_size": "P (pixels)",
    "sigma": "sigma",
    "effective": "effective patches",
    "error": "error of the pixel",
    "seconds": "time (s)",
    "peak_mb": "memory (MB)",
}
text = table[list(columns)].assign(
    effective=table["effective"].map(figures.rounded),
    error=table["error"].map("{:.3f}".format),
    seconds=table["seconds"].map("{:.0f}".format),
    peak_mb=table["peak_mb"].map("{:,.0f}".format),
)
show_table(
    text.rename(columns=columns),
    name="tab-sweep",
    caption=f"""The {len(table)} runs of the sweep: effective number of patches, error of the pixel on the scale from
    0, black, to 1, white, and the time and the peak memory of each run.""",
)

# %% tags=["hide-input"]
lines = figures.sweep_lines(
    table,
    "patch_size",
    "effective",
    "sigma",
    log="y",
    xlabel="patch size P (pixels)",
    ylabel="effective number of patches",
)
show_figure(
    lines,
    name="fig-sweep",
    caption="""Effective number of patches against the patch size, one line for each noise level, for one pixel of one
    image. Few training patches resemble a wide noisy patch, and more noise makes more of them resemble it.""",
    alt="Effective number of patches against patch size, one line for each noise level, on a logarithmic axis.",
)

# %% [markdown]
# ## The answer, and what would prove it wrong
#
# The sweep would be wrong if a second sweep over the same grid executed a run again or returned other numbers. The
# statement about patches would be wrong if the widest patch had as many effective patches as the narrowest, or if
# more noise meant fewer of them. The steps in between need not all point downward, since this is one pixel and one
# draw of the noise.

# %% tags=["hide-input"]
effective = table.pivot(index="patch_size", columns="sigma", values="effective").sort_index()
low, narrow, wide = min(sigmas), min(patch_sizes), max(patch_sizes)
show_answer(f"""For this pixel, the effective number of patches at $\\sigma = {low:g}$ falls from
{figures.rounded(effective[low][narrow])} at $P = {narrow}$ to {figures.rounded(effective[low][wide])} at $P =
{wide}$, and it grows with the noise. One command runs the chapter about one pixel {len(table)} times, once for each
patch size and noise level, and continues where it was if it is interrupted. The numbers are about one pixel of one
test image and one draw of the noise.""")

# %% tags=["hide-input"]
assert (table["status"] == "complete").all(), table["failure"].dropna().to_list()
again = sweep(project, chapter, points, folder, **options)
assert again.equals(table), "a second sweep must read what the first one left, even the seconds"
by_noise = effective.T.sort_index()
statements = {
    "At each noise level, the widest patch has less than a tenth of the effective patches of the narrowest.": bool(
        (10 * effective.loc[wide] < effective.loc[narrow]).all()
    ),
    "At each patch size, more noise means more effective patches.": bool((by_noise.diff().iloc[1:] > 0).all(axis=None)),
}
check_claim(statements, preset, strict=strict)

# %% tags=["remove-cell"] jupyter={"source_hidden": true}
record(runs=len(table), first=effective[low][narrow], last=effective[low][wide])

# %% [markdown]
# ## Try it
#
# - `lemmse run 10 -p sigmas "[0.05, 0.1, 0.3, 1.0]"`: only the new runs are executed.
# - Add `image: [0, 1, 2, 3]` to the grid: the spread over images appears as error bars in the figure.
# - Write `product: {count: [50, 100, 200, 400]}` into `grid.yaml` and try `lemmse sweep 07 grid.yaml --dry-run`:
#   other chapters are swept in the same way. This chapter holds a sweep of its own, so sweep it with `--jobs 1`.
