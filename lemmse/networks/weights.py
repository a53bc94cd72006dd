"""Trained networks on disk: safetensors files, and a cache so that a configuration is trained once."""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from lemmse.checks import check_choice, check_count, check_images
from lemmse.files import cache_folder, one_at_a_time, write_atomically
from lemmse.networks.architectures import ARCHITECTURES, Solver
from lemmse.networks.training import fingerprint, train
from lemmse.physics.operators import Physics

# whose code decides what training yields
_SOURCES = ("networks/architectures", "networks/training", "physics/operators", "physics/preinverse")
log = logging.getLogger(__name__)


def save_weights(net: Solver, path: str | Path) -> None:
    """Write the weights and what is needed to build the network again; the file is replaced in one step."""
    config = {
        "architecture": type(net).__name__,
        "channels": net.channels,
        "patch_size": net.patch_size,
        "size": net.size,
    }
    state = {name: value.detach().cpu().contiguous() for name, value in net.state_dict().items()}
    write_atomically(Path(path), lambda temporary: save_file(state, temporary, {"lemmse": json.dumps(config)}))


def load_weights(path: str | Path) -> Solver:
    """The network in a file of `save_weights`, in eval mode, on the CPU. Raises ValueError if the file is broken."""
    try:
        with safe_open(path, "pt") as file:
            config = json.loads(file.metadata()["lemmse"])
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        net = ARCHITECTURES[config.pop("architecture")](**config)
        net.to(state["input_mean"].dtype).load_state_dict(state)
    except (OSError, SafetensorError, AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{str(path)!r} holds no weights of lemmse: {type(error).__name__}") from None
    return net.requires_grad_(False).eval()


def trained(
    architecture: str,
    images: Tensor,
    physics: Physics,
    *,
    patch_size: int,
    size: str = "small",
    pre_inverse: str = "identity",
    tikhonov_lambda: float = 1e-2,
    steps: int,
    batch_size: int,
    lr: float = 1e-3,
    sigma_min: float = 0.01,
    seed: int,
    progress: bool = True,
) -> Solver:
    """A network trained as by `train`, from the cache if this configuration was trained before with this code.

    architecture: "UNet", "ResNet" or "PatchMLP". seed: of the first weights and of the training. The key covers images,
    physics, settings, device type, torch version and the library code that training runs. An interrupted training goes
    on where it was. Of several processes that ask for one network, one trains, the others wait. Raises ValueError.
    """
    check_choice(architecture, ARCHITECTURES, "architecture")
    check_images(images)
    check_count(seed, "seed", minimum=0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = ARCHITECTURES[architecture](images.shape[1], patch_size, size)
    B = {"pre_inverse": pre_inverse, "tikhonov_lambda": tikhonov_lambda}
    settings = {"steps": steps, "batch_size": batch_size, "lr": lr, "sigma_min": sigma_min}
    code = "".join((Path(__file__).parents[1] / f"{name}.py").read_text() for name in _SOURCES)
    parts = (
        fingerprint(net, images, physics, pre_inverse, tikhonov_lambda, settings),
        seed,
        images.device.type,
        torch.__version__,
        code,
    )
    key = hashlib.sha256(repr(parts).encode()).hexdigest()[:16]
    path = cache_folder("weights") / f"{architecture}-{key}.safetensors"
    with one_at_a_time(path):
        if path.exists():
            try:
                net = load_weights(path)
            except ValueError as error:
                log.warning("%s: trained anew, %s", architecture, error)
            else:
                log.info("%s: re-used %s", architecture, path.name)
                return net.to(images.device)
        log.info("%s: training %d steps", architecture, steps)
        checkpoint = path.with_suffix(".checkpoint")
        generator = torch.Generator(images.device).manual_seed(seed)
        net = train(
            net, images, physics, **B, **settings, generator=generator, checkpoint=checkpoint, progress=progress
        )
        save_weights(net, path)
        checkpoint.unlink(missing_ok=True)
    return net
