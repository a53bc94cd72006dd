"""The report of `explain` as one HTML page that needs no other file: pictures are in it, and no script."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_TEMPLATE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Does the theory explain your network?</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
  color: #1b1b1b; background: #fff; }
.answer { font-size: 1.25rem; border-left: 5px solid #0072B2; padding: .5rem 1rem; background: #eef5fa; }
figure { margin: 1.5rem 0; }
img { max-width: 100%; height: auto; }
figcaption, .note { color: #444; font-size: .9rem; }
table { border-collapse: collapse; margin: .5rem 0 1rem; }
th, td { padding: .25rem .75rem; border-bottom: 1px solid #ccc; text-align: right; }
th:first-child, td:first-child { text-align: left; }
</style>
</head>
<body>
<h1>Does the theory explain your network?</h1>
<p class="answer">{{ answer }}</p>
<ul>
{% for fact in facts %}<li>{{ fact }}</li>
{% endfor %}</ul>
{% for section in sections %}<section>
<h2>{{ section.title }}</h2>
{% if section.picture %}<figure>
<img alt="{{ section.picture.alt }}" src="data:image/png;base64,{{ section.picture.base64 }}">
<figcaption>{{ section.picture.caption }}</figcaption>
</figure>
{% endif %}{% if section.note %}<p class="note">{{ section.note }}</p>
{% endif %}{% if section.header %}<table>
<tr>{% for name in section.header %}<th>{{ name }}</th>{% endfor %}</tr>
{% for row in section.rows %}<tr>{% for entry in row %}<td>{{ entry }}</td>{% endfor %}</tr>
{% endfor %}</table>
{% endif %}</section>
{% endfor %}<p class="note">Distances are PSNR in dB between two images with values from 0 to 1: near is large. The
formula is LE-MMSE of arXiv 2601.10334: {{ formula }}. Made by lemmse {{ version }}.</p>
</body>
</html>
"""


@dataclass(frozen=True)
class Picture:
    """A figure, its caption, and what it shows in words."""

    figure: Figure
    caption: str
    alt: str

    def png(self) -> bytes:
        """The figure as a PNG file."""
        drawn = io.BytesIO()
        self.figure.savefig(drawn, format="png", dpi=160)
        return drawn.getvalue()

    @cached_property
    def base64(self) -> str:
        """The PNG file as text."""
        return base64.b64encode(self.png()).decode("ascii")


@dataclass(frozen=True)
class Section:
    """A part of the page: a picture, a note, and a table of texts, each of which may be missing."""

    title: str
    picture: Picture | None = None
    note: str = ""
    header: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()


def html(answer: str, facts: list[str], sections: list[Section], formula: str) -> str:
    """The page: the answer, a line for each fact, the sections, and what the formula is made of."""
    import jinja2

    import lemmse

    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    return environment.from_string(_TEMPLATE).render(
        answer=answer, facts=facts, sections=sections, formula=formula, version=lemmse.__version__
    )
