r"""The docstrings of this library, which read well as they are, as reStructuredText.

In them `a name` is code, $\sigma$ is mathematics, and an indented paragraph is shown as it is written. In
reStructuredText single backticks, dollars, bars and stars mean something else.
"""

from __future__ import annotations

import re

_TOKENS = re.compile(r"(``[^`]+``|`[^`]+`|\$[^$\s][^$]*\$)")
_SECTION = re.compile(r"(Args|Attributes|Returns|Raises|Yields|Example|Examples|Note|Warns|References):\s*$")


def to_restructured_text(lines: list[str]) -> list[str]:
    """The lines of a docstring in reStructuredText, its Google sections left for napoleon.

    Args:
        lines: The docstring, without the indentation that all its lines share.

    Returns:
        The translated lines.

    Example:
        >>> to_restructured_text([r"`A x` with $\\sigma$, |x| small.", "", "    a = b * c"])
        ['``A x`` with :math:`\\\\sigma`, \\\\|x\\\\| small.', '', '.. code-block:: text', '', '    a = b * c']
    """
    translated: list[str] = []
    prose: list[str] = []  # of the paragraph so far: a name in code may go over two lines
    in_section = verbatim = doctest = False
    for line in lines:
        blank, indented = not line.strip(), line.startswith("    ")
        if _SECTION.match(line):
            in_section, verbatim = True, False
        elif not blank and not indented:
            in_section = verbatim = False
        doctest = not blank and (doctest or line.lstrip().startswith(">>>"))
        if indented and not in_section and not verbatim and not prose:
            translated += [".. code-block:: text", ""]
            verbatim = True
        if blank or doctest or verbatim:
            translated += [*_inline(prose), line]
            prose = []
        else:
            prose.append(line)
    return translated + _inline(prose)


def _inline(prose: list[str]) -> list[str]:
    """The lines of a paragraph: code, mathematics, and nothing else that is marked up."""
    parts = _TOKENS.split("\n".join(prose))
    marked = [_token(part) if index % 2 else re.sub(r"([|*\\])", r"\\\1", part) for index, part in enumerate(parts)]
    for index in range(1, len(parts), 2):
        if re.match(r"\w", parts[index + 1]):
            marked[index] += r"\ "  # as in `Name`s: markup must end before a letter
    return "".join(marked).splitlines()


def _token(text: str) -> str:
    """Code or mathematics as reStructuredText."""
    if text.startswith("$"):
        return f":math:`{text[1:-1]}`"
    code = text.strip("`")
    return f"``{code}``"
