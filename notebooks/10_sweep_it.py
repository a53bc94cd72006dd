# ---
# jupyter:
#   jupytext: {text_representation: {extension: .py, format_name: percent}}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Sweep it
#
# **Question.** {doc}`00_one_pixel` finds the training patches that vote for one pixel. How does their number depend on
# the patch size and on the noise?
#
# **Answer.** At $\sigma =$ {glue:text}`low` the effective number of voters falls from {glue:text}`first:.1f` at
# $P =$ {glue:text}`narrow` to {glue:text}`last:.1f` at $P =$ {glue:text}`wide`. Nobody has to run that chapter
# {glue:text}`runs` times by hand for it: that is what this page is about.
#
# **The formula.** With the weights $w_m$ of {eq}`eq-lemmse`, the effective number of voters is $1 / \sum_m w_m^2$.

# %% tags=["parameters"]
preset: str = "quick"  # smoke, quick or paper: of the runs, too
patch_sizes: list[int] = [3, 5, 7, 11]  # P, odd
sigmas: list[float] = [0.1, 0.3]  # noise levels
jobs: int = 2  # runs at once

# %% [markdown]
# ## The grid, and the command
#
# A grid is a YAML file: under `product`, lists of values whose every combination is a run; under `points`, runs one by
# one; under `fixed`, what all have in common. The names are those of the parameters cell of the chapter.
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
# Not strict: what that chapter claims for its own patch size need not hold for all; and its table, which is not asked
# for here, is to cost little. With that in `voters.yaml`, these commands list the runs, run them, and draw the result:
#
# ```bash
# lemmse sweep 00 voters.yaml --dry-run
# lemmse sweep 00 voters.yaml --jobs 2 -o voters
# lemmse plot voters --x patch_size --y effective --by sigma --log y
# ```
#
# From Python, as below, it is a function. Either way a run that is complete is not run again: stop it, kill it, add to
# the grid, and the same command goes on from there. {doc}`/sweep` says more.

# %%
from lemmse.book.notebooks import Project
from lemmse.sweep import sweep

project = Project.find()
source = project.source("00_one_pixel")
fixed = {"strict": False, "draws": 2}
points = [{"patch_size": patch_size, "sigma": sigma, **fixed} for patch_size in patch_sizes for sigma in sigmas]
folder = project.root / "build" / "sweeps" / f"voters-{preset}"
table = sweep(project, source, points, folder, preset=preset, jobs=jobs, progress=False)

# %% [markdown]
# ## The table, and the picture
#
# What the chapter glues is a column; so are its parameters, and what is known of the run.
#
# ```{glue:figure} voters
# :name: tab-voters
#
# The columns of this sweep that vary: effective number of voters, error of the pixel (image range 0 to 1), seconds and
# peak memory (MB) of a run. The others are in `results.csv` and `results.parquet`.
# ```
#
# ```{glue:figure} voters_lines
# :name: fig-voters
# :alt: Effective number of voters against patch size, a line for each noise level, on a logarithmic axis.
#
# One pixel of one image: a wide patch finds few that resemble it, and more noise makes more of them resemble it.
# ```

# %% tags=["hide-input"]
from myst_nb import glue

from lemmse import figures

shown = table[["patch_size", "sigma", "effective", "error", "status", "seconds", "peak_mb"]]
shown = shown.rename(columns={"error": "error of the pixel", "peak_mb": "peak (MB)"}).round(3)
glue("voters", shown.set_index("patch_size"), display=False)
lines = figures.sweep_lines(
    table, "patch_size", "effective", "sigma", log="y", xlabel="patch size P (pixels)", ylabel="effective voters"
)
glue("voters_lines", lines, display=False)

# %% [markdown]
# ## The claim
#
# That a sweep which is complete runs nothing again, and tells the same to the bit; and, of this pixel, that the widest
# patch has less than a tenth of the voters of the narrowest, and that more noise means more voters. Nothing is claimed
# of the steps between: it is one pixel and one draw of the noise, and the picture shows whether they are all downward.

# %%
assert (table.status == "complete").all(), table.failure.dropna().to_list()
again = sweep(project, source, points, folder, preset=preset, jobs=jobs, progress=False)
assert again.equals(table), "the second sweep reads what the first one left, the seconds too"
voters = table.pivot(index="patch_size", columns="sigma", values="effective").sort_index()
if preset == "smoke":
    print("smoke: the sweep resumes; the claim itself is not tested at this size")
else:
    assert (10 * voters.iloc[-1] < voters.iloc[0]).all(), "the widest patch has less than a tenth of the voters"
    assert (voters.T.sort_index().diff().iloc[1:] > 0).all(axis=None), "more noise, more voters"
    print("the widest patch has few voters, the narrowest many; more noise, more voters")

# %% tags=["remove-cell"]
low = min(sigmas)
glue("runs", len(table), display=False)
glue("low", low, display=False)
glue("narrow", min(patch_sizes), display=False)
glue("wide", max(patch_sizes), display=False)
glue("first", float(voters[low].iloc[0]), display=False)
glue("last", float(voters[low].iloc[-1]), display=False)

# %% [markdown]
# ## Try it
#
# - `sigmas [0.05, 0.1, 0.3, 1.0]`: only the new runs are run.
# - In the grid, `image: [0, 1, 2, 3]` too: the spread over images appears as error bars.
# - `lemmse sweep 07 grid.yaml` with `count: [50, 100, 200, 400]`: so are other chapters swept.
#   {doc}`05_data_and_patch_size` and this one hold a sweep of their own: sweep those with `--jobs 1`.
