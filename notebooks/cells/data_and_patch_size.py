# ---
# jupyter:
#   jupytext: {text_representation: {extension: .py, format_name: percent}}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # One data set size, one patch size
#
# LE-MMSE for `count` training images and windows of `patch_size` pixels: its risk on images that it was built from, and
# on new ones. Light, and no chapter of its own: the chapter on data set size and patch size sweeps over it.

# %% tags=["parameters"]
data: str = "photos"  # what load_images takes: a name, or the path of a folder or zip
count: int = 100  # N, training images: the first of the set, so that smaller sets are part of larger ones
patch_size: int = 5  # P, odd: the receptive field
size: int = 16  # pixels a side
sigmas: list[float] = [0.1, 0.2, 0.4, 0.8]  # noise levels
recalled: int = 10  # training images of the evaluation: the first, at most count
tested: int = 20  # test images of the evaluation
architecture: str = ""  # a network to train on the same images: UNet, ResNet or PatchMLP; empty: none
network_size: str = "small"  # small, or paper (4 million weights)
steps: int = 1000  # of training
batch_size: int = 8  # images a step
learning_rate: float = 2.0e-3  # at its highest
sigma_min: float = 0.01  # noise levels of the training are uniform in (sigma_min, 1)
seed: int = 0  # of weights, training and noise

# %%
import logging

import torch
from myst_nb import glue

from lemmse import Denoising, load_images
from lemmse.analysis.experiment import experiment
from lemmse.analysis.memorisation import image_risks, to_text

logging.basicConfig(level=logging.INFO, format="%(message)s")
device = "cuda" if torch.cuda.is_available() else "cpu"

# %%
images = load_images(data, count=count, size=size, channels=1).to(device)
if recalled > count:
    raise ValueError(f"recalled must be at most count, {count}, got {recalled}")
test = load_images(data, split="test", count=tested, size=size, channels=1).to(device)
options = {"size": network_size, "batch_size": batch_size, "lr": learning_rate, "sigma_min": sigma_min, "seed": seed}
names = [architecture] if architecture else []
formula, nets = experiment(images, Denoising(), names, patch_size=patch_size, steps=steps, **options)
found = image_risks(
    formula,
    {"training": images[:recalled], "test": test},
    sigmas,
    net=nets.get(architecture),
    seed=seed,
)
found.groupby(["sigma", "split"]).mean(numeric_only=True).drop(columns="image")

# %% tags=["remove-cell"]
glue("images", to_text(found), display=False)
for (sigma, split), mean in found.groupby(["sigma", "split"]).mean(numeric_only=True).iterrows():
    for name in mean.index.drop("image"):
        glue(f"{split}_{name}_{sigma:g}", float(mean[name]), display=False)
