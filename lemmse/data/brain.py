"""Slices of brains by magnetic resonance: an average brain that comes with nilearn, and one subject from LEMMSE_DATA.

`brain` is the MNI152 T1 template without the skull, **the average of 152 people** and smoother than any of them, from
the file that the nilearn wheel carries (the wheel is under the BSD 3-Clause license). `mri_t1` and `mri_pd` are slices
of one person (T1 and proton density), where `$LEMMSE_DATA/mri` holds them.

All are magnitudes, gray, axial, with the front up. Neighboring slices are alike, so the sets are split in runs: of
every 20 slices, 12 are for training and 4 for tests, and 2 between them on either side are left out. Test slices are
still of the same brain. `with_smooth_phase` makes complex images of them; the phase is synthetic.
"""

from __future__ import annotations

import math
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from lemmse.checks import check_images, check_positive
from lemmse.data.arguments import checked_count
from lemmse.data.downloads import local_folder

DEFAULT_SIZE = 64
_TEMPLATE = "datasets/data/mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"
_TEMPLATE_SLICES = range(24, 137)  # where the brain fills a tenth of the slice or more
_TEMPLATE_SIDE = 192  # pixels of 1 mm
_MRI_FILES = {"mri_t1": "brain_t1_axial.npz", "mri_pd": "brain_pd_axial.npz"}
_RUN, _TRAIN, _TEST = 20, range(0, 12), range(14, 18)  # slices of a run, and those of the splits among them
_GOLDEN = (5**0.5 - 1) / 2


def load_brain(split: str, count: int | None, size: int | None, channels: int | None) -> Tensor:
    """Slices of the average brain, as `load_images("brain", ...)` returns them.

    Args:
        split: "train" (72 slices) or "test" (20).
        count: number of slices, or None for all. The first ones are spread over the whole brain.
        size: side in pixels, from 8 to 192, or None for 64; the slices are averaged over areas.
        channels: not used here; gray is repeated later.

    Returns:
        (count, 1, size, size) float32 in [0, 1].

    Raises:
        ValueError: if nilearn is not installed, there are fewer slices, or for a size out of range.
    """
    return _slices("brain", split, count, size)


def load_mri_t1(split: str, count: int | None, size: int | None, channels: int | None) -> Tensor:
    """T1 slices of one person, as `load_images("mri_t1", ...)` returns them; as `load_brain`, up to 128 pixels."""
    return _slices("mri_t1", split, count, size)


def load_mri_pd(split: str, count: int | None, size: int | None, channels: int | None) -> Tensor:
    """Proton density slices of one person, as `load_images("mri_pd", ...)` returns them; as `load_mri_t1`."""
    return _slices("mri_pd", split, count, size)


def slice_runs(
    name: str, split: str, count: int | None, size: int | None = None, channels: int | None = None
) -> tuple[int, ...]:
    """The run of neighboring slices that each slice comes from, in the order of `load_images`.

    Args:
        name: "brain", "mri_t1" or "mri_pd".
        split: "train" or "test".
        count: number of slices, or None for all.
        size: not used; the order is the same for all sizes.
        channels: not used.

    Example:
        >>> slice_runs("brain", "test", 5)
        (0, 3, 1, 4, 2)
    """
    return tuple(i // _RUN for i in _chosen(name, split, count))


def is_brain_here() -> bool:
    """Whether the file of nilearn with the average brain is installed."""
    return _template_path() is not None


def is_mri_here(name: str) -> bool:
    """Whether `$LEMMSE_DATA/mri` holds the set.

    Args:
        name: "mri_t1" or "mri_pd".
    """
    folder = local_folder("mri")
    return folder is not None and (folder / _MRI_FILES[name]).is_file()


def with_smooth_phase(images: Tensor, generator: torch.Generator, largest: float = math.pi / 2) -> Tensor:
    """Complex images `x = m exp(i phi)` with the magnitudes `m` and a smooth random phase `phi`, as two channels.

    Each image has a phase of its own, a sum of the eight slowest waves of the torus with normal coefficients, scaled so
    that it reaches `largest`. It stands for the slow phase that coils and field give; it was not measured.

    Args:
        images: (N, 1, H, W) magnitudes, float32 or float64.
        generator: source of the phases, on the CPU.
        largest: phase in radians, positive.

    Returns:
        (N, 2, H, W), real and imaginary part, of the dtype and on the device of `images`.

    Raises:
        ValueError: for images that are not gray, or a phase that is not positive.

    Example:
        >>> x = torch.ones(1, 1, 8, 8, dtype=torch.float64, device="cpu")
        >>> z = with_smooth_phase(x, torch.Generator().manual_seed(0))
        >>> bool((z.norm(dim=1) - 1).abs().max() < 1e-12)
        True
    """
    check_images(images)
    check_positive(largest, "largest")
    if images.shape[1] != 1:
        raise ValueError(f"images must have one channel, magnitudes, got shape {tuple(images.shape)}")
    height, width = images.shape[2:]
    spectrum = torch.zeros(len(images), height, width, dtype=torch.complex128, device="cpu")
    slowest = torch.tensor([-1, 0, 1], dtype=torch.int64, device="cpu")
    drawn = torch.randn(len(images), 3, 3, 2, generator=generator, dtype=torch.float64, device="cpu")
    spectrum[:, slowest[:, None] % height, slowest % width] = torch.view_as_complex(drawn)
    spectrum[:, 0, 0] = 0
    waves = torch.fft.ifft2(spectrum).real
    phase = largest * waves / waves.abs().amax((1, 2), keepdim=True)
    phase = phase.to(device=images.device, dtype=images.dtype)[:, None]
    return torch.cat([images * phase.cos(), images * phase.sin()], dim=1)


def _slices(name: str, split: str, count: int | None, size: int | None) -> Tensor:
    size = DEFAULT_SIZE if size is None else size
    volume = _volume(name)
    if not 8 <= size <= volume.shape[-1]:
        raise ValueError(f"{name} has slices of 8 to {volume.shape[-1]} pixels, got size {size}")
    return interpolate(volume[list(_chosen(name, split, count))], (size, size), mode="area")


def _chosen(name: str, split: str, count: int | None) -> list[int]:
    """Numbers of the first `count` slices of a split, those of any prefix spread over the brain."""
    places = _TRAIN if split == "train" else _TEST
    of_split = [i for i in range(len(_volume(name))) if i % _RUN in places]
    spread = sorted(range(len(of_split)), key=lambda i: (i * _GOLDEN) % 1)
    return [of_split[i] for i in spread[: checked_count(count, len(of_split), f"{name} ({split})")]]


@cache
def _volume(name: str) -> Tensor:
    """All slices (n, 1, H, H) float32 in [0, 1]; read once a process."""
    if name == "brain":
        return _template()
    folder = local_folder("mri")
    if folder is None or not is_mri_here(name):
        file = _MRI_FILES[name]
        raise ValueError(f"{name!r} cannot be downloaded: set LEMMSE_DATA to a folder that holds mri/{file}")
    path = folder / _MRI_FILES[name]
    try:
        with np.load(path) as arrays:
            slices = torch.from_numpy(arrays["x128"].astype(np.float32))
    except Exception as error:  # a damaged archive can fail in any way
        raise ValueError(f"cannot read {str(path)!r}: {error}") from None
    return slices[:, None].clamp(0, 1)


def _template_path() -> Path | None:
    spec = find_spec("nilearn")
    path = Path(spec.submodule_search_locations[0], _TEMPLATE) if spec and spec.submodule_search_locations else None
    return path if path and path.is_file() else None


def _template() -> Tensor:
    """The axial slices of the template, a square of 192 mm around the brain."""
    path = _template_path()
    if path is None:
        raise ValueError("the set 'brain' is a file of the package nilearn: pip install 'lemmse[mri]'")
    import nibabel

    volume = np.asarray(
        nibabel.nifti1.Nifti1Image.from_filename(path).dataobj
    )  # (left to right, back to front, bottom to top), 8 bits
    filled = np.any(volume[:, :, _TEMPLATE_SLICES], axis=2)
    corner = [_first_of_square(np.any(filled, axis=1 - axis)) for axis in (0, 1)]
    x, y = (slice(first, first + _TEMPLATE_SIDE) for first in corner)
    front_up = np.flip(volume[x, y, _TEMPLATE_SLICES].transpose(2, 1, 0), 1)
    return torch.from_numpy(np.ascontiguousarray(front_up)).to(torch.float32)[:, None] / 255


def _first_of_square(filled: np.ndarray) -> int:
    """Where a square around the filled part begins along an axis, inside the volume."""
    places = np.flatnonzero(filled)
    middle = (places[0] + places[-1] + 1) // 2
    return int(np.clip(middle - _TEMPLATE_SIDE // 2, 0, len(filled) - _TEMPLATE_SIDE))
