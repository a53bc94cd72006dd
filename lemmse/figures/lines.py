"""Figures made of lines and tables: what was measured against what was varied."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from lemmse.analysis.evaluate import FORMULA
from lemmse.figures.style import STYLES, control_styles, new_figure, style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIGMA = "sigma (image range 0 to 1)"
_TICKS = 8  # at most, on an axis of noise levels


def psnr_lines(
    frame: pd.DataFrame,
    value: str,
    by: str,
    panels: str,
    *,
    label: str,
) -> Figure:
    """`value` in dB against sigma: a panel for each of `panels`, a line for each `by`, mean and spread over images."""
    names = list(dict.fromkeys(frame[panels]))
    figure, axes = new_figure(1, len(names), 2.9 * len(names), 3.4, sharey=True)
    for axis, name in zip(axes[0], names, strict=True):
        part = frame[frame[panels] == name]
        lines = list(dict.fromkeys(part[by]))
        for turn, line in enumerate(lines):
            groups = part[part[by] == line].groupby("sigma")[value]
            aside = 1 + 0.03 * (turn - (len(lines) - 1) / 2)  # so that the bars do not hide each other
            mean = groups.mean()
            axis.errorbar(
                mean.index * aside, mean, groups.std(ddof=0), label=line, markersize=5, capsize=2, **style(line, turn)
            )
        axis.set_title(name)
        sigma_axis(axis, part["sigma"])
    axes[0][0].set_ylabel(label)
    legend_below(figure)
    return figure


def control_lines(frame: pd.DataFrame, networks: Iterable[str], controls: Iterable[str], level: str = SIGMA) -> Figure:
    """How near the networks are to the formula and to each control: a panel for each set of images, a line for each.

    Args:
        frame: of `evaluate.compare`.
        networks: their names; the lines are means over the networks and over the images.
        controls: their names.
        level: the label of the axis of noise levels.

    Returns:
        PSNR in dB against sigma. The line of the formula is drawn last and thicker than the others.
    """
    splits, rivals = list(dict.fromkeys(frame["split"])), list(controls)
    rows = frame[frame["one"].isin(list(networks))]
    figure, axes = new_figure(1, len(splits), 3.1 * len(splits), 4.2, sharey=True)
    for axis, split in zip(axes[0], splits, strict=True):
        part = rows[rows["split"] == split]
        for name, look in control_styles(rivals).items():
            mean = part[part["other"] == name].groupby("sigma")["psnr"].mean()
            width = 3.0 if name == FORMULA else 1.2
            axis.plot(mean.index, mean, label=name, markersize=5, linewidth=width, **look)
        axis.set_title(f"{split} images")
        sigma_axis(axis, part["sigma"], level)
    axes[0][0].set_ylabel("PSNR to the networks (dB)")
    legend_below(figure)
    return figure


def margin_lines(table: pd.DataFrame) -> Figure:
    """Margins with their standard errors: a panel for each set of images, a line for each network.

    Args:
        table: of `margins.margins`.

    Returns:
        The margin in dB against sigma. Above the line at zero a network is nearest to the formula, below it to a
        control.
    """
    return _margin_panels(table, "split", "{} images", 2)


def problem_margin_lines(table: pd.DataFrame) -> Figure:
    """`margin_lines` with a panel for each problem, for a table of `margins.margins` that has a column of that name."""
    in_two_lines = table["problem"].str.replace(", ", "\n", n=1)
    return _margin_panels(table.assign(problem=in_two_lines), "problem", "{}", 3)


def _margin_panels(table: pd.DataFrame, by: str, title: str, columns: int) -> Figure:
    """Margins with their standard errors: a panel for each value of the column `by`, a line for each network."""
    panels, networks = list(dict.fromkeys(table[by])), list(dict.fromkeys(table["network"]))
    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    figure, axes = new_figure(rows, columns, (3.1 if columns < 3 else 2.2) * columns, 3.1 * rows + 0.6, sharey=True)
    places = [axis for row in axes for axis in row]
    for axis, panel in zip(places, panels, strict=False):
        axis.axhline(0, color="#444444", linewidth=1)
        for turn, network in enumerate(networks):
            part = table[(table[by] == panel) & (table["network"] == network)]
            aside = 1 + 0.04 * (turn - (len(networks) - 1) / 2)  # so that the bars do not hide each other
            look = style(network, turn) | {"label": network, "markersize": 5, "capsize": 2}
            if len(part):
                axis.errorbar(part["sigma"] * aside, part["margin"], part["error"], **look)
        axis.set_title(title.format(panel), fontsize=None if columns < 3 else 9)
        sigma_axis(axis, table["sigma"])
    for axis in places[len(panels) :]:
        axis.set_visible(False)
    for row in axes:
        row[0].set_ylabel("margin over the nearest control (dB)")
    legend_below(figure)
    return figure


def sigma_axis(axis: Axes, sigmas: Iterable[float], label: str = SIGMA) -> None:
    """A logarithmic axis of noise levels, with a tick at each of them, or at every few where there are many."""
    ticks = sorted(set(sigmas), reverse=True)
    ticks = ticks[:: -(-len(ticks) // _TICKS)]
    axis.set(xscale="log", xlabel=label)
    axis.set_xticks(ticks, [f"{s:.3g}" for s in ticks])
    axis.minorticks_off()
    axis.grid(alpha=0.3)


def quartile_lines(frame: pd.DataFrame, value: str, by: str, label: str) -> Figure:
    """`value` with quartiles `low` and `high`, means over images, against sigma, on log axes: a line for each `by`."""
    figure, axes = new_figure(1, 1, 4.6, 3.0)
    axis = axes[0][0]
    for turn, (name, part) in enumerate(frame.groupby(by, sort=False)):
        mean = part.groupby("sigma")[[value, "low", "high"]].mean()
        look = style(str(name), turn)
        axis.plot(mean.index, mean[value], label=name, markersize=5, **look)
        axis.fill_between(mean.index, mean["low"], mean["high"], color=look["color"], alpha=0.15, linewidth=0)
    axis.set(yscale="log", ylabel=label)
    sigma_axis(axis, frame["sigma"])
    axis.legend(fontsize=8)
    return figure


def cost_lines(panels: list[tuple[pd.DataFrame, str, str]], y: str, label: str) -> Figure:
    """`y` against the column and axis label of each panel, both logarithmic: a line for each engine, and the roofline.

    A frame has the columns engine, y, what it is drawn against, and roofline, in the unit of y.
    """
    figure, axes = new_figure(1, len(panels), 2.9 * len(panels), 3.3, sharey=True)
    for axis, (frame, x, xlabel) in zip(axes[0], panels, strict=True):
        for turn, (name, part) in enumerate(frame.groupby("engine", sort=False)):
            line = part.groupby(x)[y].median()
            axis.plot(line.index, line, label=name, markersize=5, **style(name, turn))
        roof = frame.groupby(x)["roofline"].median()
        axis.plot(roof.index, roof, color="#444444", linewidth=1, linestyle=(0, (1, 1)), label="roofline")
        ticks = sorted(set(frame[x]))
        axis.set(xscale="log", yscale="log", xticks=ticks, xlabel=xlabel)
        axis.set_xticklabels([f"{tick:g}" for tick in ticks])
        axis.xaxis.minorticks_off()
        axis.grid(alpha=0.3)
    axes[0][0].set_ylabel(label)
    legend_below(figure)
    return figure


def agreement(tables: dict[str, pd.DataFrame]) -> Figure:
    """PSNR in dB between all pairs of estimates: a panel for each square table; dark is close."""
    figure, axes = new_figure(1, len(tables), 2.9 * len(tables), 2.9)
    low, high = min(t.min(axis=None) for t in tables.values()), max(t.max(axis=None) for t in tables.values())
    for axis, (title, table) in zip(axes[0], tables.items(), strict=True):
        axis.imshow(table.to_numpy(), cmap="Greys", vmin=low - 0.3 * (high - low), vmax=high)
        for row, values in enumerate(table.to_numpy()):
            for col, value in enumerate(values):
                if row != col:
                    color = "white" if value > (low + high) / 2 else "black"
                    axis.text(col, row, f"{value:.1f}", ha="center", va="center", color=color, fontsize=9)
        names = list(table.index)
        axis.set(xticks=range(len(names)), yticks=range(len(names)), yticklabels=names, title=title)
        axis.set_xticklabels(names, rotation=30, ha="right")
    return figure


def risk_floor(frame: pd.DataFrame) -> Figure:
    """Training against its floor: the risk against steps, and the gap to the floor against the distance to LE-MMSE.

    frame: columns network, steps, and those of `risk.Split`, in squared error per pixel; drawn times 1000.
    """
    from matplotlib.ticker import LogLocator, NullFormatter

    figure, axes = new_figure(1, 2, 6.0, 3.6)
    left, right = axes[0]
    for turn, (name, part) in enumerate(frame.groupby("network", sort=False)):
        look = style(str(name), turn) | {"label": name, "markersize": 5}
        left.plot(part["steps"], 1e3 * part["risk"], **look)
        gap = part["risk"] - part["floor"]
        look["linestyle"] = "none"
        right.errorbar(1e3 * part["distance"], 1e3 * gap, 1e3 * part["error"], capsize=2, **look)
    left.axhline(1e3 * frame["floor"].mean(), label="LE-MMSE: the floor", **{**STYLES["LE-MMSE"], "marker": ""})
    ends = [1e3 * frame["distance"].min() / 1.3, 1e3 * frame["distance"].max() * 1.3]
    right.plot(ends, ends, color="#444444", linewidth=1, label="equal")
    left.set(xscale="log", xlabel="steps of training", ylabel="risk (squared error x 1000)")
    left.set_xticks(sorted(set(frame["steps"])), [str(s) for s in sorted(set(frame["steps"]))])
    left.minorticks_off()
    right.set(xscale="log", yscale="log", xlabel="distance to LE-MMSE (x 1000)", ylabel="risk - floor (x 1000)")
    for scale in (right.xaxis, right.yaxis):
        scale.set_major_locator(LogLocator(subs=(1, 2, 5)))
        scale.set_major_formatter("{x:g}")
        scale.set_minor_formatter(NullFormatter())
    for axis in axes[0]:
        axis.grid(alpha=0.3)
    legend_below(figure)
    return figure


def gain_dots(table: pd.DataFrame, label: str) -> Figure:
    """What each change gains, with its standard error: a row for each change, a color for each band of noise levels.

    Args:
        table: of `small_noise.gains`.
        label: of the gain, with its unit.
    """
    changes, bands = list(dict.fromkeys(table["change"])), list(dict.fromkeys(table["band"]))
    figure, axes = new_figure(1, 1, 6.0, 0.8 + 0.42 * len(changes))
    axis = axes[0][0]
    axis.axvline(0, color="#444444", linewidth=1)
    for turn, band in enumerate(bands):
        part = table[table["band"] == band].set_index("change").loc[changes]
        rows = [row + 0.22 * (turn - (len(bands) - 1) / 2) for row in range(len(changes))]
        look = style(band, turn) | {"linestyle": "none", "label": band, "markersize": 6, "capsize": 2}
        axis.errorbar(part["mean"], rows, xerr=part["error"], **look)
    axis.set(yticks=range(len(changes)), yticklabels=changes, xlabel=label)
    axis.invert_yaxis()
    axis.grid(alpha=0.3, axis="x")
    legend_below(figure)
    return figure


def agreement_over_voters(frame: pd.DataFrame) -> Figure:
    """Agreement between network and formula against the effective number of patches: a color for each noise level.

    Args:
        frame: columns sigma, change, psnr (dB) and voters; each point is a mean over images.
    """
    points = frame.groupby(["sigma", "change"], sort=False)[["psnr", "voters"]].mean().reset_index()
    figure, axes = new_figure(1, 1, 5.4, 3.8)
    axis = axes[0][0]
    for turn, sigma in enumerate(sorted(set(points["sigma"]))):
        part = points[points["sigma"] == sigma]
        look = style("", turn) | {"linestyle": "none", "label": f"sigma = {sigma:g}", "markersize": 6}
        axis.plot(part["voters"], part["psnr"], **look)
    axis.set(xscale="log", xlabel="effective number of patches", ylabel="PSNR, network to formula (dB)")
    axis.grid(alpha=0.3)
    legend_below(figure)
    return figure


def legend_below(figure: Figure) -> None:
    """One legend for all panels, where it hides no line."""
    shown: dict[str, Any] = {}
    for axis in figure.axes:
        handles, labels = axis.get_legend_handles_labels()
        shown |= dict(zip(labels, handles, strict=True))
    columns = 3 if max(map(len, shown)) < 20 and len(figure.axes) > 1 else 2
    figure.legend(list(shown.values()), list(shown), loc="outside lower center", ncols=columns, fontsize=9)
