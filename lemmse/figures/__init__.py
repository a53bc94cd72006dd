"""The figures of the book, all in one visual language (`style`)."""

from __future__ import annotations

from lemmse.figures.border import border_reach, strata
from lemmse.figures.charts import Chart, control_chart, map_chart, margin_chart, spread_chart
from lemmse.figures.density import deciles_over_steps, density_maps, error_over_surprisal
from lemmse.figures.inverses import competitors, covariances, input_lines, note_input
from lemmse.figures.lines import (
    agreement,
    agreement_over_voters,
    control_lines,
    cost_lines,
    gain_dots,
    margin_lines,
    problem_margin_lines,
    psnr_lines,
    quartile_lines,
    risk_floor,
)
from lemmse.figures.maps import cell_maps, patch_size_choice, risks_over_count
from lemmse.figures.pictures import (
    draw_image,
    drawn_from_noise,
    gallery,
    magnified_difference,
    note_distance,
    note_truth,
    origins,
    patch_lottery,
    patchwork,
    votes,
)
from lemmse.figures.style import OTHERS, STYLES, new_figure, style
from lemmse.figures.sweeps import save_figure, sweep_lines
from lemmse.figures.tables import mean_and_spread, plus_minus, rounded, span

__all__ = [
    "OTHERS",
    "STYLES",
    "Chart",
    "agreement",
    "agreement_over_voters",
    "border_reach",
    "cell_maps",
    "competitors",
    "control_chart",
    "control_lines",
    "cost_lines",
    "covariances",
    "deciles_over_steps",
    "density_maps",
    "draw_image",
    "drawn_from_noise",
    "error_over_surprisal",
    "gain_dots",
    "gallery",
    "input_lines",
    "magnified_difference",
    "map_chart",
    "margin_chart",
    "margin_lines",
    "mean_and_spread",
    "new_figure",
    "note_distance",
    "note_input",
    "note_truth",
    "origins",
    "patch_lottery",
    "patch_size_choice",
    "patchwork",
    "plus_minus",
    "problem_margin_lines",
    "psnr_lines",
    "quartile_lines",
    "risk_floor",
    "risks_over_count",
    "rounded",
    "save_figure",
    "span",
    "spread_chart",
    "strata",
    "style",
    "sweep_lines",
    "votes",
]
