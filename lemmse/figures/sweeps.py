"""The figure of a sweep: any number that came out against any parameter."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lemmse.checks import check_choice
from lemmse.figures.style import new_figure, style
from lemmse.files import write_atomically

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


def sweep_lines(
    table: pd.DataFrame,
    x: str,
    y: str,
    by: str | None = None,
    *,
    log: str = "",
    xlabel: str | None = None,
    ylabel: str | None = None,
) -> Figure:
    """`y` against `x`: a line for each value of `by`, mean and standard deviation over what else was varied.

    table: a row a run, rows without `y` (failed runs) left out. log: which axes are logarithmic, "", "x", "y" or "xy".
    The labels default to the names. x need not be a number. Raises ValueError for a column that is not there, a `y`
    that holds no number, and a logarithmic axis that is not positive.
    """
    from matplotlib.ticker import LogLocator, NullFormatter
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    for name in (x, y, *([by] if by else [])):
        check_choice(name, table.columns, "column")
    if not is_numeric_dtype(table[y]) or is_bool_dtype(table[y]) or table[y].notna().sum() == 0:
        raise ValueError(f"column {y!r} holds no numbers to draw")
    table = table[table[y].notna() & table[x].notna()].astype({y: "float64"})
    number = is_numeric_dtype(table[x]) and not is_bool_dtype(table[x])
    check_choice(log, ("", "x", "y", "xy"), "log")
    for name, letter in ((x, "x"), (y, "y")):
        if letter in log and not (is_numeric_dtype(table[name]) and (table[name] > 0).all()):
            raise ValueError(f"a logarithmic axis needs positive numbers, {name!r} has others")
    places = sorted(set(table[x])) if number else list(dict.fromkeys(table[x].astype(str)))
    figure, axes = new_figure(1, 1, 5.2, 3.2)
    axis = axes[0][0]
    for turn, (name, part) in enumerate(table.groupby(by, sort=True) if by else [(None, table)]):
        groups = part.groupby(part[x] if number else part[x].astype(str).map(places.index))[y]
        mean, spread = groups.mean(), groups.std(ddof=0)
        at = mean.index.to_numpy(dtype=float)
        label = None if by is None else f"{by} = {name:g}" if isinstance(name, float) else f"{by} = {name}"
        bars = spread.to_numpy() if (groups.size() > 1).any() else None
        axis.errorbar(at, mean.to_numpy(), bars, label=label, markersize=5, capsize=2, **style(str(name), turn))
    axis.set(xlabel=xlabel or x, ylabel=ylabel or y)
    axis.set(xscale="log" if "x" in log else "linear", yscale="log" if "y" in log else "linear")
    for scale, name in ((axis.xaxis, "x"), (axis.yaxis, "y")):
        if name in log:
            scale.set_major_locator(LogLocator(subs=(1, 2, 5)))
            scale.set_major_formatter("{x:g}")
            scale.set_minor_formatter(NullFormatter())
    if not number:
        axis.set_xticks(range(len(places)), places)
    elif len(places) <= 12:
        axis.set_xticks(places, [f"{place:g}" for place in places])
        axis.xaxis.minorticks_off()
    axis.grid(alpha=0.3)
    if by:
        axis.legend(fontsize=8)
    return figure


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as .png, .svg or .pdf, in one step. Raises ValueError for another ending."""
    check_choice(path.suffix, (".png", ".svg", ".pdf"), "ending of a picture")
    write_atomically(path, lambda to: figure.savefig(to, format=path.suffix[1:]))
