"""Trained networks on disk: safetensors files, and where a network that was trained before is found.

A network is known by a key: the version of the training recipe, the options that differ from their defaults, and the
data rounded to 8 bits. The key does not depend on the version of torch, on the code or on the machine, so that a
network that was trained once serves everywhere.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import logging
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from lemmse.checks import check_choice, check_count, check_images
from lemmse.estimators.targets import Targets, targets_of
from lemmse.files import cache_folder, one_at_a_time, writable_folder, write_atomically
from lemmse.networks.architectures import ARCHITECTURES, Solver
from lemmse.networks.training import RECIPE, OtherRunError, train
from lemmse.physics.base import Physics
from lemmse.physics.general import Linear
from lemmse.physics.operators import Blur, Denoising, FourierSampling, Inpainting

COMMITTED = Path(__file__).parents[2] / "results" / "weights"  # of a checkout; an installed wheel has none
FOLDER = "LEMMSE_WEIGHTS"  # names the one folder that is then used instead of the committed weights and the cache
_DESCRIBED = (Denoising, Inpainting, Blur, FourierSampling, Linear)  # their tensors determine A
_SHOWN = 8  # images whose measurements tell other operators apart
_DEFAULTS = {
    name: parameter.default
    for function in (ARCHITECTURES["UNet"].__init__, train)
    for name, parameter in inspect.signature(function).parameters.items()
    if parameter.kind is inspect.Parameter.KEYWORD_ONLY or name == "size"
}
NETWORK_OPTIONS = ("size", "padding", "blind", "target_channels")
TRAINING_OPTIONS = tuple(set(_DEFAULTS) - {*NETWORK_OPTIONS, "generator", "checkpoint", "progress"})
log = logging.getLogger(__name__)


def save_weights(net: Solver, path: str | Path, *, half: bool = False) -> None:
    """Write the weights and what is needed to build the network again; the file is replaced in one step.

    Args:
        net: the network.
        path: the file, by convention `.safetensors`.
        half: whether the weights are rounded to half precision, which halves the file. The few fixed numbers around the
            network keep their precision.
    """
    state = {name: value.detach().cpu().contiguous() for name, value in net.state_dict().items()}
    if half:
        weights = dict(net.named_parameters())
        state = {name: value.half() if name in weights else value for name, value in state.items()}
    about = {"architecture": type(net).__name__, **net.config()}
    metadata = {"lemmse": json.dumps(about), "precision": "half" if half else "full"}
    write_atomically(Path(path), lambda temporary: save_file(state, temporary, metadata))


def load_weights(path: str | Path) -> Solver:
    """The network in a file of `save_weights`, in eval mode, on the CPU, its weights never in half precision.

    Raises:
        ValueError: if the file is missing, broken or of something else.
    """
    try:
        with safe_open(path, "pt") as file:
            config = json.loads(file.metadata()["lemmse"])
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        net = ARCHITECTURES[config.pop("architecture")](**config)
        net.to("cpu", state["input_mean"].dtype).load_state_dict(state)
    except (OSError, SafetensorError, AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{str(path)!r} holds no weights of lemmse: {type(error).__name__}") from None
    return net.requires_grad_(False).eval()


def trained(
    architecture: str,
    images: Tensor,
    physics: Physics,
    *,
    patch_size: int,
    steps: int,
    seed: int,
    progress: bool = True,
    **options: Any,
) -> Solver:
    """A network trained as by `train`, or the one that was trained like this before.

    The network is looked for among the weights that come with the project (`results/weights` of the checkout), then in
    the user's cache; only then is it trained, and kept in the cache. Where the environment variable LEMMSE_WEIGHTS
    names a folder, that folder alone is used. An interrupted training continues where it was. Of several processes that
    ask for one network, one trains and the others wait.

    Args:
        architecture: "UNet", "ResNet" or "PatchMLP".
        images: clean images, (N, C, H, W) in [0, 1].
        physics: the operator A.
        patch_size: P, odd.
        steps: gradient steps.
        seed: of the first weights and of the training.
        progress: whether a bar is shown.
        **options: what the network takes (size, padding, blind, target_channels) and what `train` takes.

    Raises:
        ValueError: for bad input, as `train` does.
    """
    check_choice(architecture, ARCHITECTURES, "architecture")
    check_images(images)
    check_count(seed, "seed", minimum=0)
    for name in options:
        check_choice(name, sorted((*NETWORK_OPTIONS, *TRAINING_OPTIONS)), "option of a training")
    options = {"steps": steps, **options}
    key = weights_key(architecture, images, physics, patch_size=patch_size, seed=seed, **options)
    file = f"{architecture}-{key}.safetensors"
    alone = os.environ.get(FOLDER)
    net = None if alone else _load(COMMITTED / file)
    if net is None:
        folder = writable_folder(Path(alone), f"folder of weights ({FOLDER})") if alone else cache_folder("weights")
        with one_at_a_time(folder / file):
            net = _load(folder / file)
            if net is None:
                net = _train(architecture, images, physics, patch_size, seed, progress, folder / file, options)
                save_weights(net, folder / file)
    return net.to(images.device, images.dtype)


def weights_key(
    architecture: str, images: Tensor, physics: Physics, *, patch_size: int, seed: int, **options: Any
) -> str:
    """The key of a trained network: 16 hexadecimal digits of a hash of recipe, options and data.

    Options that have their default do not enter, so that an option that `train` gains later changes no key. The dtype
    of the images enters where it is not float32. An operator enters by its name and its tensors, to six decimals; one
    that they do not describe, such as a function, enters also by what it makes of the first eight images. Targets enter
    by their values. Images, measurements and targets are rounded to 8 bits.

    Raises:
        ValueError: if `physics` is no operator.
    """
    if not isinstance(physics, Physics):
        raise ValueError(f"physics must be a lemmse.Physics (Denoising, Blur, ...), got {type(physics).__name__}")
    differing = {
        name: value
        for name, value in options.items()
        if name != "targets" and (name not in _DEFAULTS or value != _DEFAULTS[name])
    }
    if images.dtype != torch.float32:
        differing["dtype"] = str(images.dtype)
    if getattr(physics, "complex_images", False):
        differing["complex_images"] = True
    about = [RECIPE, architecture, patch_size, seed, sorted(differing.items()), type(physics).__name__]
    digest = hashlib.sha256(json.dumps(about, default=repr).encode())
    for name, value in sorted(physics.state_dict().items()):
        _add_rounded(digest, name, value, 1e6)
    _add_rounded(digest, "images", images, 255)
    if type(physics) not in _DESCRIBED:
        _add_rounded(digest, "measured", physics.A(images[:_SHOWN]), 255)
    targets: Targets | None = options.get("targets")
    if targets is not None:
        _add_rounded(digest, "targets", targets_of(images, targets), 255)
    return digest.hexdigest()[:16]


def _add_rounded(digest: Any, name: str, values: Tensor, levels: float) -> None:
    """Hash a tensor, its name and its shape, the values rounded to multiples of 1 / levels."""
    digest.update(json.dumps([name, list(values.shape)]).encode())
    real = torch.view_as_real(values) if values.is_complex() else values
    rounded = (real.detach().cpu().double() * levels).round().to(torch.int64)
    digest.update(rounded.contiguous().numpy().astype("<i8").tobytes())


def _load(path: Path) -> Solver | None:
    """The network in a file, None if there is none or it is broken."""
    if not path.exists():
        return None
    try:
        net = load_weights(path)
    except ValueError as error:
        log.warning("%s is left aside: %s", path.name, error)
        return None
    log.info("%s: re-used %s", type(net).__name__, path.name)
    return net


def _train(
    architecture: str,
    images: Tensor,
    physics: Physics,
    patch_size: int,
    seed: int,
    progress: bool,
    path: Path,
    options: dict[str, Any],
) -> Solver:
    """Train, continuing from the checkpoint beside `path` if it is of this very run."""
    of_network = {name: value for name, value in options.items() if name in NETWORK_OPTIONS}
    of_training = {name: value for name, value in options.items() if name in TRAINING_OPTIONS}
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.manual_seed(seed)
        channels = physics.to_image(physics.A(images[:1])).shape[1]
        net = ARCHITECTURES[architecture](channels, patch_size, **of_network)
    checkpoint = path.with_suffix(".checkpoint")
    log.info("%s: training %s steps", architecture, options["steps"])

    def run() -> Solver:
        generator = torch.Generator(images.device).manual_seed(seed)
        return train(net, images, physics, generator=generator, checkpoint=checkpoint, progress=progress, **of_training)

    try:
        net = run()
    except OtherRunError:  # begun on another machine, or by another version
        log.info("%s: begun anew, its checkpoint is of another run", architecture)
        checkpoint.unlink(missing_ok=True)
        net = run()
    checkpoint.unlink(missing_ok=True)
    return net
