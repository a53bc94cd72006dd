"""The grid of a sweep: from a YAML file to complete, checked sets of parameters.

The file is a mapping with any of

    preset: smoke                      # under all runs; --preset goes before it
    fixed: {count: 200}                # the same in all runs
    product: {patch_size: [3, 5], seed: [0, 1]}    # every combination is a run
    points: [{patch_size: 9}, {patch_size: 11, sigma: 0.2}]    # each is one run more
"""

from __future__ import annotations

import json
import math
from itertools import product
from pathlib import Path
from typing import Any

import yaml

from lemmse.book.claims import bind_claim
from lemmse.book.notebooks import Project
from lemmse.book.parameters import PRESETS, absolute_paths, check_values, read_parameters
from lemmse.book.plain_yaml import load_yaml
from lemmse.checks import check_choice

LIMIT = 10_000  # runs, without a yes
_KEYS = ("preset", "fixed", "product", "points")


def read_grid(path: Path, *, yes: bool = False) -> tuple[str | None, list[dict[str, Any]]]:
    """The preset that a grid file names, if it does, and its points, fixed values included.

    Raises ValueError if the file can't be read, has other keys, or yields no run, or more than `LIMIT` without `yes`.
    """
    try:
        grid = load_yaml(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ValueError(f"cannot read the grid {str(path)!r}: {error}") from None
    if not isinstance(grid, dict):
        raise ValueError(f"the grid {str(path)!r} must be a mapping with {', '.join(_KEYS)}, got {grid!r}")
    for name in grid:
        check_choice(name, _KEYS, f"key in {path.name}")
    preset = grid.get("preset")
    if preset is not None:
        check_choice(preset, PRESETS, f"preset in {path.name}")
    fixed, axes, listed = grid.get("fixed") or {}, grid.get("product") or {}, grid.get("points") or []
    if not isinstance(fixed, dict):
        raise ValueError(f"{path.name}: fixed must map parameters to values, got {fixed!r}")
    if not isinstance(axes, dict) or not all(isinstance(values, list) for values in axes.values()):
        raise ValueError(f"{path.name}: product must map parameters to lists of values, got {axes!r}")
    if not isinstance(listed, list) or not all(isinstance(point, dict) for point in listed):
        raise ValueError(f"{path.name}: points must be a list of {{parameter: value}}, got {listed!r}")
    twice = fixed.keys() & {*axes, *(name for point in listed for name in point)}
    if twice:
        raise ValueError(f"{path.name}: {', '.join(sorted(map(repr, twice)))} cannot be fixed and vary")
    _check_size((math.prod(map(len, axes.values())) if axes else 0) + len(listed), yes)
    points = [dict(zip(axes, values, strict=True)) for values in product(*axes.values())] if axes else []
    return preset, [{**fixed, **point} for point in points + listed]


def grid_points(
    project: Project, source: Path, points: list[dict[str, Any]], preset: str, *, yes: bool = False
) -> list[dict[str, Any]]:
    """Each point with all parameters of the notebook: its own values over the preset's over the defaults.

    Relative paths are of the current folder. Raises ValueError for a name that the notebook does not have, a
    value of another type, two points that are the same run, no point, and more than `LIMIT` without `yes`.
    """
    _check_size(len(points), yes)
    known = read_parameters(source)
    common = {name: parameter.default for name, parameter in known.items()} | project.preset(preset, source)
    check_values(source.name, known, common)
    complete: list[dict[str, Any]] = []
    seen: dict[str, int] = {}
    for number, point in enumerate(points, 1):
        try:
            check_values(source.name, known, point)
        except ValueError as error:
            raise ValueError(f"run {number} of the grid: {error}") from None
        values = bind_claim(absolute_paths(point), common, known)
        for name, parameter in known.items():
            if "float" in parameter.annotation:
                values[name] = _floats(values[name])  # 1 and 1.0 are the same run
        same = seen.setdefault(json.dumps(values, sort_keys=True), number)
        if same != number:
            raise ValueError(f"runs {same} and {number} of the grid are the same: {point}")
        complete.append(values)
    return complete


def _floats(value: Any) -> Any:
    return [_floats(item) for item in value] if isinstance(value, list) else float(value)


def _check_size(count: int, yes: bool) -> None:
    if not count:
        raise ValueError("the grid is empty: it needs a product of non-empty lists, or points")
    if count > LIMIT and not yes:
        raise ValueError(f"the grid has {count:,} runs, more than {LIMIT:,}: pass --yes if that is what you want")
