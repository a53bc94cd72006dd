# ---
# jupyter:
#   jupytext: {text_representation: {extension: .py, format_name: percent}}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # One data set size, one patch size
#
# This light notebook computes the risk of LE-MMSE for `count` training images and a window of `patch_size` pixels, on
# images that the formula was built from and on new ones. It is no chapter of its own: the chapter on data set size and
# patch size computes a grid of such pairs, and `lemmse sweep` runs this notebook over a grid of your own.

# %% tags=["parameters"]
data: str = "photos"  # what load_images takes: a name, or the path of a folder or zip
count: int = 100  # N, training images: the first of the set, so that smaller sets are part of larger ones
patch_size: int = 5  # P, odd: the receptive field
size: int = 16  # pixels a side
sigmas: list[float] = [0.1, 0.2, 0.4, 0.8]  # noise levels
recalled: int = 10  # training images of the evaluation: the first, at most count
tested: int = 12  # test images of the evaluation
seed: int = 0  # of the noise

# %%
from lemmse import AffineMMSE, Denoising, LocalEquivariantMMSE, load_images
from lemmse.analysis.memorization import image_risks
from lemmse.book.chapter import record
from lemmse.data.groups import image_groups

images = load_images(data, count=count, size=size, channels=1)
physics = Denoising()
formula = LocalEquivariantMMSE(images, physics, patch_size=patch_size)
affine = AffineMMSE(images, physics, patch_size=patch_size)
if recalled > count:
    raise ValueError(f"recalled must be at most count, {count}, got {recalled}")

# %%
clean = {
    "training": images[:recalled],
    "test": load_images(data, split="test", count=tested, size=size, channels=1),
}
groups = {
    "training": image_groups(data, count=recalled, size=size, channels=1),
    "test": image_groups(data, split="test", count=tested, size=size, channels=1),
}
risks = image_risks(formula, affine, clean, sigmas, groups=groups, seed=seed)
means = risks.groupby(["sigma", "split"])[["risk", "affine_risk", "effective"]].mean()
means.round(4)

# %% tags=["remove-cell"]
for (sigma, split), mean in means.iterrows():
    record(**{f"{split}_{name}_{sigma:g}": float(value) for name, value in mean.items()})
