"""`lemmse bench`: how fast the engines are, against a straightforward baseline, the roofline and float64.

A cell (`Case`) is one family, data set, patch size, noise level and number of queries. Engine and baseline
(`lemmse.bench.baselines`) take turns, and the least time of each is kept, because other work on the machine only adds
to it. The baseline, whose speed does not depend on their number, gets fewer training images, so rates are compared, not
times: pairs of query and training patches a second, all that the formula sums over, whether they compete, matter, or
are skipped. Memory and the first call, which compiles, are taken in fresh processes.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor

from lemmse.analysis.metrics import psnr
from lemmse.bench import baselines
from lemmse.bench.machine import peak_megabytes, seconds
from lemmse.checks import check_choice, check_count
from lemmse.data.photographs import photograph
from lemmse.data.sets import is_here, load_images
from lemmse.estimators import MMSE, EquivariantMMSE, LocalEquivariantMMSE
from lemmse.physics.gallery import make_operator

BASELINE = "baseline"
REPEATS = 5
PATCH_SIZES = (5, 11, 21)
SIGMAS = (0.1, 0.8)
PHOTOGRAPH = "grace_hopper"  # of the test set: the one that is large enough to be asked as a whole
_SIDE = 512  # pixels of the square cut from it
_PIECE = 64  # pixels of the part of it that the baseline and the check in float64 get
_CROPS = 1000, 16  # training images for the photograph, with every cell and in the short table
_ON_CUDA = 16  # times as much work


@dataclass(frozen=True)
class Family:
    """An operator, a pre-inverse, an estimator, and the work, images times queries, that fills a fraction of a second.

    power: of n = H W in the number of pairs of one query and one training image: 2 patches, 1 translations, 0 whole.
    """

    operator: str
    pre_inverse: str
    estimator: type[LocalEquivariantMMSE] | type[EquivariantMMSE] | type[MMSE]
    power: int
    work: int
    baseline_work: int


FAMILIES = {
    "identity": Family("denoising", "identity", LocalEquivariantMMSE, 2, 1024, 16),
    "inpainting": Family("centre inpainting", "pinv", LocalEquivariantMMSE, 2, 1024, 16),
    "blur": Family("Gaussian blur", "pinv", LocalEquivariantMMSE, 2, 256, 16),
    "E-MMSE": Family("denoising", "identity", EquivariantMMSE, 1, 1024, 256),
    "MMSE": Family("denoising", "identity", MMSE, 0, 4000, 4000),
}


@dataclass(frozen=True)
class Case:
    """One cell of the table: `queries` test images, measured at noise level sigma, against `count` training images.

    patch_size: P, 0 where whole images are compared. baseline_count: training images of the baseline. device: "cpu" or
    "cuda". side: of the square photograph that is the query, 0 for queries of the size of the training images.
    """

    family: str
    data: str
    size: int
    channels: int
    patch_size: int
    sigma: float
    queries: int
    count: int
    baseline_count: int
    device: str
    side: int = 0

    def pairs(self, count: int, side: int = 0) -> int:
        """What the formula sums over, for N = `count` images: Q N n^2 pairs of patches; E-MMSE Q N n, MMSE Q N.

        side: of the query, by default that of the cell; its pixels take the place of one n.
        """
        asked, power = side or self.side or self.size, FAMILIES[self.family].power
        if power < 2:
            return self.queries * count * self.size ** (2 * power)
        return self.queries * count * self.size**2 * asked**2

    def piece(self, y: Tensor) -> Tensor:
        """What the baseline and the check in float64 get of the queries: a part of a photograph, else all."""
        return y[..., :_PIECE, :_PIECE] if self.side else y


def make_case(
    family: str,
    data: str,
    size: int,
    channels: int,
    patch_size: int,
    sigma: float,
    *,
    queries: int = 1,
    count: int | None = None,
    device: str = "cpu",
) -> Case:
    """A cell with the work of its family, or with `count` training images (the baseline takes no more than its own)."""
    check_choice(family, FAMILIES, "family")
    work, times = FAMILIES[family], _ON_CUDA if device == "cuda" else 1
    images = max(64, times * work.work // queries) if count is None else check_count(count, "count")
    baseline_images = min(images, max(16, times * work.baseline_work // queries))
    return Case(family, data, size, channels, patch_size, sigma, queries, images, baseline_images, device)


def cells(families: Iterable[str], *, full: bool, count: int | None = None, device: str = "cpu") -> list[Case]:
    """The cells of the table: gray 28 x 28 and color 32 x 32 images, P = 5, 11, 21, two sigmas, 1 and 16 queries.

    With the identity, a photograph of 512 x 512 pixels is asked as well, against crops of 32 x 32, gray and in color.

    families: names of `FAMILIES`. full: every cell; else 1 query, and all image and patch sizes for the identity alone.
    count: training images of every cell, default by family; of the photograph, 1,000 with every cell and few else.
    Raises ValueError for a family that is unknown.
    """
    gray = ("fashion_mnist" if is_here("fashion_mnist") else "photos", 28, 1)
    found = []
    for family in families:
        check_choice(family, FAMILIES, "family")
        broad = full or family == "identity"
        patch_sizes = (0,) if FAMILIES[family].power < 2 else PATCH_SIZES if broad else (11,)
        found += [
            make_case(family, *images, patch_size, sigma, queries=queries, count=count, device=device)
            for images in (gray, ("photos", 32, 3))[: 2 if broad else 1]
            for patch_size in patch_sizes
            for sigma in SIGMAS
            for queries in ((1, 16) if full else (1,))
        ]
        if family == "identity":
            crops = _CROPS[0 if full else 1] if count is None else count
            found += [
                replace(
                    make_case(family, "photos", 32, channels, 11, SIGMAS[0], count=crops, device=device), side=_SIDE
                )
                for channels in (1, 3)
            ]
    return found


def measure(case: Case, roofline: float, *, repeats: int = REPEATS, fresh: bool = True) -> list[dict[str, Any]]:
    """One row for the engine that `engine="auto"` takes and one for the baseline.

    roofline: exponentials a second. repeats: turns. fresh: whether memory and first call are measured, in a process
    each. Columns: those of `Case` and engine; seconds a call; pairs_per_second; ratio to the baseline; db, the PSNR of
    the mean of the first query to that of the plain engine in float64, both over `compared` training images; share of
    the roofline; first_s, the first call in a fresh process, on one training image; memory_mb, peak above the data.
    """
    images, y = load(case)
    few = images[: case.baseline_count]
    exact = make_estimator(case, few.double())(case.piece(y[:1]).double(), case.sigma)
    counts = {make_estimator(case, images).engine: case.count, BASELINE: case.baseline_count}
    calls = {name: solver(case, name, images[:count]) for name, count in counts.items()}
    given = {name: case.piece(y) if name == BASELINE else y for name in counts}
    repeats = 1 if case.side else repeats  # minutes
    spent = least_seconds({name: partial(call, given[name]) for name, call in calls.items()}, y.device, repeats)
    rates = {name: case.pairs(counts[name], given[name].shape[-1]) / spent[name] for name in counts}
    rows = []
    for name, count in counts.items():
        first, memory = in_fresh_process(_first_call, case, name, count) if fresh else (None, None)
        found = solver(case, name, few)(case.piece(y[:1])).double()
        rows.append(
            {
                **asdict(case),
                "engine": name,
                "count": count,
                "seconds": spent[name],
                "pairs_per_second": rates[name],
                "ratio": rates[name] / rates[BASELINE],
                "db": float(psnr(found, exact)),
                "compared": len(few),
                "share": rates[name] / roofline if FAMILIES[case.family].power == 2 else None,
                "first_s": first,
                "memory_mb": memory,
            }
        )
    for row in rows:
        del row["baseline_count"]
    return rows


def least_seconds(
    calls: dict[str, Callable[[], object]], device: torch.device, repeats: int = REPEATS
) -> dict[str, float]:
    """The least time of each call, in seconds: after one turn that warms up, each is called in each of the turns."""
    turns = [{name: seconds(call, device) for name, call in calls.items()} for _ in range(repeats + 1)]
    return {name: min(turn[name] for turn in turns[1:]) for name in calls}


@cache
def _loaded(data: str, split: str, count: int, size: int, channels: int) -> Tensor:
    return load_images(data, split=split, count=count, size=size, channels=channels)


def load(case: Case) -> tuple[Tensor, Tensor]:
    """The training images (N, C, H, W) and the measurements (Q, C, H, W) of a cell, on its device."""
    kind = (case.size, case.channels)
    truth = _square(case) if case.side else _loaded(case.data, "test", case.queries, *kind)
    y = _physics(case).measure(truth, case.sigma, generator=torch.Generator().manual_seed(0))
    return _loaded(case.data, "train", case.count, *kind).to(case.device), y.to(case.device)


def _square(case: Case) -> Tensor:
    """The central square of the photograph, (1, C, side, side)."""
    whole = photograph(PHOTOGRAPH, channels=case.channels)
    top, left = ((length - case.side) // 2 for length in whole.shape[2:])
    return whole[..., top : top + case.side, left : left + case.side]


def _physics(case: Case) -> Any:
    return make_operator(FAMILIES[case.family].operator, case.size, case.size, torch.Generator().manual_seed(0))


def make_estimator(case: Case, images: Any, engine: str = "auto") -> Any:
    """The estimator of a cell, over images of its own."""
    family = FAMILIES[case.family]
    given: dict[str, Any] = {"pre_inverse": family.pre_inverse, "engine": engine}
    given |= {"patch_size": case.patch_size} if family.power == 2 else {}
    return family.estimator(images, _physics(case).to(case.device), **given)


def solver(case: Case, engine: str, images: Tensor) -> Callable[[Tensor], Tensor]:
    """From measurements to the estimate over the images, by an engine or by the baseline."""
    estimator = make_estimator(case, images, "auto" if engine == BASELINE else engine)
    if engine != BASELINE:
        return lambda y: estimator(y, case.sigma)
    if case.family == "E-MMSE":
        return lambda y: baselines.e_mmse(images, y, case.sigma)
    if case.family == "MMSE":
        return lambda y: baselines.mmse(images, y, case.sigma)
    B, features = estimator.pre_inverse, estimator.features
    wide = torch.float64 if case.family == "blur" else images.dtype  # its pseudo-inverse amplifies
    options = {"whitening": features.whitening} if case.family == "blur" else {}
    options |= {"strata": features.strata} if case.family == "inpainting" else {}

    def solve(y: Tensor) -> Tensor:
        keys, z = B.signal(images.to(wide)), B(y.to(wide))
        return baselines.le_mmse(keys, images, z, case.sigma, case.patch_size, **options)

    return solve


def in_fresh_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """`function(*arguments)` in a new process with as many threads; libraries are loaded in it, nothing has run."""
    method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    context = multiprocessing.get_context(method)
    context.set_forkserver_preload(["lemmse.bench.cells", "lemmse.engines.cpu.box"])
    threads = torch.get_num_threads()
    with ProcessPoolExecutor(1, context, _start, (threads, os.getcwd())) as pool:
        return pool.submit(function, *arguments).result()


def _start(threads: int, folder: str) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends this process
    torch.set_num_threads(threads)
    os.chdir(folder)


def _first_call(case: Case, engine: str, count: int) -> tuple[float, float]:
    """Seconds of the first call, on one image, and the peak of memory, in MB, of a call on `count`."""
    images, y = load(case)
    first = solver(case, engine, images[:1])
    spent = seconds(lambda: first(case.piece(y[:1])), y.device)
    call, y = solver(case, engine, images[:count]), case.piece(y) if engine == BASELINE else y
    before, peak = peak_megabytes(lambda: call(y), y.device)
    return spent, peak - before
