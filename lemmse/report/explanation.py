"""The record that `explain` returns: one sentence, tables, maps and sources, which it draws and writes as a page."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor
from torch.nn.functional import pad

from lemmse.analysis.evaluate import FORMULA
from lemmse.analysis.sources import Source
from lemmse.figures.explanation import difference_maps, nearest_lines, patch_size_lines
from lemmse.figures.pictures import origins
from lemmse.files import writable_folder, write_atomically
from lemmse.networks.probe import Probe
from lemmse.report.page import Picture, Section, html

if TYPE_CHECKING:
    import pandas as pd

PAGE = "report.html"
TABLES = ("margins", "distances", "patch_sizes", "best_patch_sizes", "density", "risk")


@dataclass(frozen=True)
class Explanation:
    """An explanation is what `explain` found of a network; printing it gives the answer in one sentence.

    Distances are PSNR in dB between two images, over all pixels; near is large. `save` writes a page with the tables
    and pictures.

    Attributes:
        answer: One sentence that says at which noise levels the formula explains the network.
        sigma: The noise level of the measurement that is shown.
        patch_size: P of the formula.
        padding: The border rule of the formula.
        formula: What the formula is made of, in words.
        controls: The names of the controls, over all of which but "formula of other images" the margin goes.
        probe: What the network looks at, or None where it takes no images but those of its own size.
        distances: From the network to the formula, to every control and to the truth: sigma, other, psnr.
        margins: For each sigma to_formula, the nearest control, to_control, margin and its standard error, in dB.
        patch_sizes: From the network to the formula of each patch size: sigma, patch_size, psnr.
        best_patch_sizes: The row of the nearest one for each sigma.
        density: For each tenth of the pixels, from dense to rare training patches: decile, surprisal (nats), psnr.
        risk: For each sigma the error of the network (risk), its distance to the formula, the error of the formula
            (floor), the rest with its standard error, and the share explained, `1 - distance / risk`; None without
            truth.
        images: The first image (C, H, W) as "measurement", "network", "formula", "affine filter" and perhaps "truth".
        difference: Between network and formula, (H, W), root mean square over channels.
        surprisal: Of each patch, (H, W) in nats, NaN near a border that the formula sees.
        sources: For each chosen pixel, the training patches that made it, heaviest first.

    Source: arXiv 2601.10334; the controls are those of `lemmse.analysis.controls`.

    Example:
        >>> import torch, lemmse
        >>> images = torch.rand(20, 1, 8, 8, generator=torch.Generator().manual_seed(0))
        >>> est = lemmse.LocalEquivariantMMSE(images, lemmse.Denoising(), patch_size=3)
        >>> net = lemmse.ResNet(channels=1, patch_size=3, size="tiny").eval()
        >>> found = lemmse.explain(net, est, images[:1], 0.3, progress=False)
        >>> found.patch_size, list(found.tables())
        (3, ['margins', 'distances', 'patch_sizes', 'best_patch_sizes', 'density'])
    """

    answer: str
    sigma: float
    patch_size: int
    padding: str
    formula: str
    controls: tuple[str, ...]
    probe: Probe | None
    distances: pd.DataFrame
    margins: pd.DataFrame
    patch_sizes: pd.DataFrame
    best_patch_sizes: pd.DataFrame
    density: pd.DataFrame
    risk: pd.DataFrame | None
    images: dict[str, Tensor]
    difference: Tensor
    surprisal: Tensor
    sources: dict[tuple[int, int], list[Source]]

    def __str__(self) -> str:
        return self.answer

    def tables(self) -> dict[str, pd.DataFrame]:
        """The tables by name, those that there are."""
        return {name: table for name in TABLES if (table := getattr(self, name)) is not None}

    def pictures(self) -> dict[str, Picture]:
        """The figures of the page by name, in order."""
        made = {
            "nearest": Picture(
                nearest_lines(self.distances[self.distances["other"].isin([FORMULA, *self.controls])], self.margins),
                "Left: how near the network is to the formula and to every control. Right: the margin of the formula "
                "over the nearest control, with its standard error; above zero the formula is the best explanation.",
                "PSNR from the network to the formula and to each control against sigma, and the margin.",
            ),
            "maps": Picture(
                difference_maps(self.images, self.difference, self.surprisal),
                f"The picture at sigma = {self.sigma:g}. Below: the difference of network and formula, and how rare "
                "the patch around each pixel is among the noisy training patches (surprisal, in nats).",
                "Measurement, network and formula; maps of their difference and of the surprisal of the patches.",
            ),
            "patch_sizes": Picture(
                patch_size_lines(self.patch_sizes, self.patch_size),
                "How near the network is to the formula of each patch size P. The highest point of a line is the "
                "effective receptive field of the network as a restorer.",
                "PSNR from the network to the formula against the patch size, a line for each sigma.",
            ),
        }
        found = {pixel: sources for pixel, sources in self.sources.items() if sources}
        if found:
            places = ", ".join(f"({row}, {column})" for row, column in found)
            made["sources"] = Picture(
                origins([self._patch(*pixel) for pixel in found], list(found.values()), self.patch_size),
                f"The pixels {places} (row, column): the noisy patch around each, and the training images whose "
                "framed patches have the largest weights in the formula.",
                "A row for each pixel: its noisy patch and the training images that made it.",
            )
        return made

    def html(self) -> str:
        """The report as one page that needs no other file."""
        return html(self.answer, self.facts(), self.sections(self.pictures()), self.formula)

    def save(self, folder: str | Path) -> Path:
        """Write the page, its pictures (PNG) and its tables (CSV) into a folder.

        Args:
            folder: where to write; it is made if it is not there.

        Returns:
            The path of the page.

        Raises:
            ValueError: if the folder cannot be written.
        """
        folder = writable_folder(Path(folder), "folder of the report")
        pictures = self.pictures()
        files = {f"{name}.png": picture.png() for name, picture in pictures.items()}
        for name, table in self.tables().items():
            columns = [column for column in table if column not in ("split", "one", "network")]
            files[f"{name}.csv"] = table[columns].to_csv(index=False).encode()
        files[PAGE] = html(self.answer, self.facts(), self.sections(pictures), self.formula).encode()
        for stale in {*(f"{name}.csv" for name in TABLES), "sources.png"} - files.keys():  # of an earlier report
            (folder / stale).unlink(missing_ok=True)
        for name, content in files.items():
            write_atomically(folder / name, partial(Path.write_bytes, data=content))
        return folder / PAGE

    def facts(self) -> list[str]:
        """What stands in a line each under the answer."""
        by_size = self.best_patch_sizes.groupby("patch_size", sort=False)["sigma"]
        sizes = "; ".join(f"P = {size} at sigma {', '.join(f'{s:g}' for s in levels)}" for size, levels in by_size)
        found = [f"The patch size of the formula that is nearest to the network is {sizes}."]
        dense, rare = self.density.iloc[0], self.density.iloc[-1]
        found.append(
            f"At sigma {self.sigma:g}, network and formula agree to {dense.psnr:.1f} dB in the tenth of the "
            f"pixels whose patches are most like the training patches, and to {rare.psnr:.1f} dB in the tenth least "
            "like them."
        )
        if self.probe is None:
            found.append("What the network looks at was not measured: it does not take the images that probe makes.")
        else:
            found += [" ".join(str(self.probe).split("\n"))]
            found += self._mismatch(self.probe)
        return found

    def _mismatch(self, probe: Probe) -> list[str]:
        """Where the formula assumes another network than the one that was measured."""
        found = []
        if probe.receptive_field is not None and probe.receptive_field != self.patch_size:
            found.append(
                f"Note: the receptive field of the network is {probe.receptive_field} pixels, but the formula was "
                f"built for P = {self.patch_size}."
            )
        if probe.border in ("circular", "zeros") and probe.border != self.padding:
            found.append(
                f"Note: the network continues images by the rule '{probe.border}', the formula by '{self.padding}'."
            )
        if not probe.is_local_equivariant:
            found.append("Note: the network is not local, or not equivariant: the theory does not speak of it.")
        return found

    def sections(self, pictures: dict[str, Picture]) -> list[Section]:
        """The parts of the page, in order."""
        made = [
            Section(
                "How near, and nearer than what?",
                pictures["nearest"],
                header=("sigma", "to the formula (dB)", "nearest control", "to it (dB)", "margin (dB)"),
                rows=tuple(
                    (
                        f"{row.sigma:g}",
                        f"{row.to_formula:.1f}",
                        row.control,
                        f"{row.to_control:.1f}",
                        f"{row.margin:+.1f} ± {row.error:.1f}",
                    )
                    for row in self.margins.itertuples()
                ),
            ),
            Section("Where do they differ?", pictures["maps"]),
            Section("Which patch size explains the network best?", pictures["patch_sizes"]),
        ]
        if "sources" in pictures:
            made.append(Section("Which training patches made these pixels?", pictures["sources"]))
        if self.risk is not None:
            made.append(_risk(self.risk))
        return made

    def _patch(self, row: int, column: int) -> Tensor:
        """The noisy patch around a pixel, continued as the formula does at the border."""
        radius = self.patch_size // 2
        mode = "constant" if self.padding == "zeros" else "circular"
        around = pad(self.images["measurement"][None], (radius, radius, radius, radius), mode)[0]
        return around[:, row : row + self.patch_size, column : column + self.patch_size]


def _risk(risk: pd.DataFrame) -> Section:
    """The split of the error."""
    return Section(
        "What of its error is the theory's, and what its own?",
        note="Squared errors per pixel, times 1000. The error of the network is the error of the formula, plus the "
        "distance between the two, plus a rest, which is zero on average on images like the training images. Explained "
        "is 1 - distance / error of the network.",
        header=("sigma", "network", "formula", "distance", "rest", "explained"),
        rows=tuple(
            (
                f"{row.sigma:g}",
                f"{1e3 * row.risk:.3g}",
                f"{1e3 * row.floor:.3g}",
                f"{1e3 * row.distance:.3g}",
                f"{1e3 * row.rest:+.2g} ± {1e3 * row.error:.1g}",
                f"{100 * row.explained:.0f} %",
            )
            for row in risk.itertuples()
        ),
    )
