"""A campaign: cells of evidence that take an hour each, computed one after the other, resumable, with provenance.

A cell trains one network on one problem (images, operator, patch size) until its agreement with the formula is flat,
and compares it with the formula and all controls. Its results are a table and a record:

    results/campaign/CELL.csv           PSNR of each image between the network, the formula, the controls and the truth
    results/campaign/CELL.json          what made it: settings, commit, machine, hours, agreement after each round
    results/weights/CELL.safetensors    the network

Training proceeds in rounds. The learning rate decays to zero in each, so that every round ends with a finished
network. It starts at half of what it started at in the round before: a restart at full height would first undo what was
learned. Each round makes the training longer by half, so that what a round gains is what the last third of all steps
gained.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from lemmse.analysis.evaluate import FORMULA, NETWORK, TRUTH, Restorer, compare
from lemmse.analysis.margins import margins
from lemmse.analysis.metrics import psnr
from lemmse.analysis.small_noise import nearest_patch_sizes
from lemmse.estimators.lemmse import LocalEquivariantMMSE
from lemmse.files import cache_folder, write_atomically
from lemmse.networks.architectures import ARCHITECTURES, Solver
from lemmse.networks.training import train
from lemmse.networks.weights import load_weights, save_weights, weights_key
from lemmse.physics.base import Physics
from lemmse.physics.gallery import make_operator

if TYPE_CHECKING:
    import pandas as pd

_PROBLEM = ["data", "count", "channels", "operator", "patch_size"]  # of a cell, without its network
FLAT = 0.3  # dB that the last third of the training may gain at most


@dataclass(frozen=True)
class Cell:
    """One network on one problem.

    Attributes:
        kind: "agreement" (with all controls) or "small noise" (with the formulas of other patch sizes).
        data: the name of the set of images.
        count: N, how many training images.
        channels: 1 or 3.
        operator: a name for `physics.gallery.make_operator`.
        patch_size: P, odd, the receptive field.
        architecture: "UNet", "ResNet" or "PatchMLP".
        size: of the network, a name for its number of weights.
        weighting: of the loss over sigma.
    """

    kind: str
    data: str
    count: int
    channels: int
    operator: str
    patch_size: int
    architecture: str
    size: str = "small"
    weighting: str = "uniform"

    @property
    def name(self) -> str:
        """A file name that tells the cells of a campaign apart."""
        parts = [self.kind, self.data, str(self.count), self.operator, f"P{self.patch_size}", self.architecture]
        parts += [self.size, self.weighting]
        return "-".join(part.replace(" ", "_") for part in parts)


@dataclass(frozen=True)
class Schedule:
    """How long to train: rounds that end after `first_steps * 1.5^k` steps, at most `most_rounds`.

    Attributes:
        first_steps: the length of the first round.
        most_rounds: training ends after so many, flat or not.
        batch_size: images a step.
        lr: the highest learning rate of the first round; it halves from round to round.
        sigma_min: noise levels of the training are uniform in (sigma_min, 1).
        mixed: whether the convolutions run in bfloat16, as `train` takes it.
    """

    first_steps: int
    most_rounds: int
    batch_size: int = 16
    lr: float = 1e-3
    sigma_min: float = 0.01
    mixed: bool | None = None

    @property
    def ends(self) -> list[int]:
        """After how many steps each round ends."""
        return [round(self.first_steps * 1.5**k) for k in range(self.most_rounds)]


class Remembered:
    """A restorer that keeps what it returned on disk, so that an interrupted evaluation goes on where it was.

    Args:
        restorer: what to remember.
        key: names the restorer and all that it depends on.
        folder: where the images are kept.
    """

    def __init__(self, restorer: Restorer, key: str, folder: Path) -> None:
        self._restorer, self._key, self._folder = restorer, key, folder

    def __call__(self, y: Tensor, sigma: float) -> Tensor:
        """`restorer(y, sigma)`, from the disk where it was computed before."""
        digest = hashlib.sha256(f"{self._key} {sigma:.12g} {tuple(y.shape)} {y.dtype}".encode())
        digest.update(torch.view_as_real(y).cpu().numpy().tobytes() if y.is_complex() else y.cpu().numpy().tobytes())
        path = self._folder / f"{digest.hexdigest()[:24]}.safetensors"
        if not path.exists():
            estimate = self._restorer(y, sigma).cpu().contiguous()
            write_atomically(path, lambda temporary: save_file({"estimate": estimate}, temporary))
        return load_file(path)["estimate"].to(y.device)


def remembered(solvers: Mapping[str, Restorer], problem: str) -> dict[str, Restorer]:
    """Each restorer, remembered in the cache folder.

    Args:
        solvers: restorers by name.
        problem: names the images, the operator and the settings that all of them depend on.

    Returns:
        The same names.
    """
    folder = cache_folder("campaign")
    return {name: Remembered(solver, f"{problem} {name}", folder) for name, solver in solvers.items()}


def train_in_rounds(
    cell: Cell, images: Tensor, physics: Physics, schedule: Schedule, seed: int
) -> Iterator[tuple[int, Solver]]:
    """The network of a cell after each round of its training; rounds that were done before come from the cache.

    Args:
        cell: which network, and how its loss is weighted.
        images: (N, C, H, W), the training images.
        physics: the operator A; B = I.
        schedule: how long, and how.
        seed: of the first weights, the order of the images and the noise.

    Yields:
        Steps so far and the network, in eval mode.
    """
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.manual_seed(seed)
        net = ARCHITECTURES[cell.architecture](cell.channels, cell.patch_size, cell.size).to(images.device)
    options: dict[str, Any] = {name: getattr(schedule, name) for name in ("batch_size", "sigma_min", "mixed")}
    options["weighting"] = cell.weighting
    about = {"size": cell.size, "first_steps": schedule.first_steps, "halved_lr": schedule.lr, **options}
    key = weights_key(cell.architecture, images, physics, patch_size=cell.patch_size, seed=seed, **about)
    done = 0
    for turn, end in enumerate(schedule.ends):
        path = cache_folder("campaign") / f"{cell.architecture}-{key}-{end}.safetensors"
        if path.exists():
            net = load_weights(path).to(images.device)
        else:
            checkpoint = path.with_suffix(".checkpoint")
            generator = torch.Generator(images.device).manual_seed(seed + end)
            steps, lr = end - done, schedule.lr / 2**turn
            net = train(net, images, physics, steps=steps, lr=lr, generator=generator, checkpoint=checkpoint, **options)
            save_weights(net, path)
            checkpoint.unlink(missing_ok=True)
        done = end
        yield end, net


def agreement(
    net: Solver, formula: Restorer, physics: Physics, sets: Mapping[str, Tensor], sigmas: list[float], seed: int
) -> dict[float, float]:
    """Mean PSNR in dB between network and formula over all images of the sets, at each sigma."""
    frame = compare({NETWORK: net, FORMULA: formula}, physics, sets, sigmas, seed=seed, progress=False)
    pairs = frame[(frame["one"] == NETWORK) & (frame["other"] == FORMULA)]
    mean = pairs.groupby("sigma")["psnr"].mean()
    return dict(zip(mean.index.astype(float).tolist(), mean.tolist(), strict=True))


def last_gains(path: list[dict[str, Any]]) -> dict[str, float]:
    """What the last third of the steps gained in agreement at each sigma, in dB; nothing after one round.

    Args:
        path: for each round {"steps": ..., "agreement": {sigma: dB}}.
    """
    if len(path) < 2:
        return {}
    before, after = (entry["agreement"] for entry in path[-2:])
    return {sigma: after[sigma] - before[sigma] for sigma in after}


def last_gain(path: list[dict[str, Any]]) -> float | None:
    """The mean of `last_gains` over sigma; None after one round."""
    gained = last_gains(path)
    return sum(gained.values()) / len(gained) if gained else None


def cell_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of a comparison that a cell keeps: from the network to all others, and from the truth to the rest."""
    kept = (frame["one"] == NETWORK) | ((frame["one"] == TRUTH) & (frame["other"] != NETWORK))
    return frame[kept][["split", "sigma", "image", "group", "one", "other", "psnr"]].round({"psnr": 4})


def write_record(results: Path, cell: Cell, record: Mapping[str, Any]) -> None:
    """Write the record of a cell, finished or not, in one step."""
    text = json.dumps({"cell": asdict(cell), **record}, indent=1) + "\n"
    path = results / "campaign" / f"{cell.name}.json"
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_table(results: Path, cell: Cell, frame: pd.DataFrame) -> None:
    """Write the table of a finished cell in one step."""
    path = results / "campaign" / f"{cell.name}.csv"
    write_atomically(path, lambda temporary: temporary.write_text(frame.to_csv(index=False), encoding="utf-8"))


def is_finished(results: Path, cell: Cell) -> bool:
    """Whether the table of a cell is there."""
    return (results / "campaign" / f"{cell.name}.csv").exists()


def read_cells(results: Path) -> Iterator[tuple[Cell, pd.DataFrame, dict[str, Any]]]:
    """The finished cells in a results folder, in the order of their names: cell, table and record.

    Args:
        results: the folder, for instance `results/` of a checkout.

    Yields:
        The cell, the table of `write_table`, and the record.

    Raises:
        ValueError: if a table lies there without its record.
    """
    import pandas as pd

    for path in sorted((results / "campaign").glob("*.csv")):
        try:
            record = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
            cell = Cell(**record.pop("cell"))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path.name} has no readable record {path.stem}.json: {error}") from None
        yield cell, pd.read_csv(path), record


@torch.no_grad()
def measured_again(
    results: Path, cell: Cell, record: Mapping[str, Any], images: Tensor, test: Tensor, sigma: float
) -> dict[str, float]:
    """The distances of a cell's network on its first test image, from the committed weights and the images alone.

    Args:
        results: the folder.
        cell: a finished cell, as `read_cells` yields it.
        record: its record.
        images: (N, C, H, W), the training images of the cell.
        test: (Q, C, H, W), all test images of the cell; the noise depends on their number.
        sigma: one of the noise levels in the table of the cell.

    Returns:
        PSNR in dB from the network to `FORMULA` and to `TRUTH`, which the table holds too.
    """
    import pandas as pd

    seed = record["seed"]
    height, width = images.shape[2:]
    physics = make_operator(cell.operator, height, width, torch.Generator().manual_seed(seed)).to(images.device)
    generator = torch.Generator(images.device).manual_seed(seed)
    levels = pd.read_csv(results / "campaign" / f"{cell.name}.csv")["sigma"].unique().tolist()
    for level in levels[: levels.index(sigma) + 1]:  # the noise of a level follows that of the levels before it
        y = physics.measure(test, level, generator=generator)
    network = load_weights(results / "weights" / f"{cell.name}.safetensors").to(images.device)
    formula = LocalEquivariantMMSE(images, physics, patch_size=cell.patch_size)
    restored = network(y[:1], sigma)
    return {FORMULA: float(psnr(restored, formula(y[:1], sigma))), TRUTH: float(psnr(restored, test[:1]))}


def margin_table(results: Path, *, seed: int = 0) -> pd.DataFrame:
    """The margins of all finished cells of agreement.

    Args:
        results: the folder.
        seed: of the resampling.

    Returns:
        The columns of `margins.margins`, with data, count, operator, patch_size and the architecture as network. The
        formula of other images is no rival: its distance is the column to_other_images, where it was computed.
    """
    import pandas as pd

    from lemmse.analysis.controls import OTHER_IMAGES

    tables = []
    for cell, frame, _ in read_cells(results):
        if cell.kind != "agreement":
            continue
        others = set(frame.loc[frame["one"] == NETWORK, "other"]) - {FORMULA, TRUTH, OTHER_IMAGES}
        table = margins(frame, [NETWORK], sorted(others), generator=torch.Generator().manual_seed(seed))
        to_others = frame[(frame["one"] == NETWORK) & (frame["other"] == OTHER_IMAGES)]
        mean = to_others.groupby(["split", "sigma"])["psnr"].mean().rename("to_other_images")
        table = table.merge(mean, how="left", on=["split", "sigma"])
        about: dict[str, Any] = {name: getattr(cell, name) for name in ("data", "count", "operator", "patch_size")}
        tables.append(table.assign(**about, network=cell.architecture))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def control_table(results: Path) -> pd.DataFrame:
    """How near the networks of all finished cells of agreement are to the formula and to each control.

    Args:
        results: the folder.

    Returns:
        One row for each split, problem (data, count, channels, operator, patch_size), other and sigma, with the mean
        PSNR over images and architectures, in dB.
    """
    import pandas as pd

    tables = []
    for cell, frame, _ in read_cells(results):
        if cell.kind == "agreement":
            part = frame[(frame["one"] == NETWORK) & (frame["other"] != TRUTH)]
            tables.append(part.assign(**{name: getattr(cell, name) for name in _PROBLEM}))
    if not tables:
        return pd.DataFrame()
    by = ["split", *_PROBLEM, "other", "sigma"]
    return pd.concat(tables, ignore_index=True).groupby(by, sort=False)["psnr"].mean().reset_index()


def window_table(results: Path) -> pd.DataFrame:
    """The effective window of the networks of all finished cells that were compared with other patch sizes.

    Args:
        results: the folder.

    Returns:
        The columns of `small_noise.nearest_patch_sizes`, with those of `Cell` but network instead of architecture, the
        name of the cell, and the steps of its training.
    """
    import pandas as pd

    tables = []
    for cell, frame, record in read_cells(results):
        prefix = "formula, P = "
        sizes = [int(name.removeprefix(prefix)) for name in frame["other"].unique() if name.startswith(prefix)]
        if sizes:
            about = {name: value for name, value in asdict(cell).items() if name != "architecture"}
            table = nearest_patch_sizes(frame, [NETWORK], cell.patch_size, sizes)
            tables.append(table.assign(**about, cell=cell.name, network=cell.architecture, steps=record["steps"]))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()
