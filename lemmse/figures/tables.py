"""Numbers as a person would write them in a table: as many digits as their uncertainty or their size justifies."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

DIGITS = 5  # decimals at most


def rounded(value: float, digits: int = 3) -> str:
    """A number with a few significant digits, no exponent, and commas between thousands.

    Zeros at the end of the decimals are dropped: a count of 53 is "53", not "53.0".

    Args:
        value: any real number.
        digits: significant digits.

    Example:
        >>> [rounded(x) for x in (0.01234, 1.5, 37.219, 412.7, 313600.0, 53.0)]
        ['0.0123', '1.5', '37.2', '413', '314,000', '53']
    """
    if not math.isfinite(value):
        return str(value)
    size = math.floor(math.log10(abs(value))) if value else 0
    text = _to_places(value, min(digits - 1 - size, DIGITS))
    return text.rstrip("0").rstrip(".") if "." in text else text


def plus_minus(value: float, spread: float) -> str:
    """A mean and its spread, "37.2 ± 0.8", rounded to the same place.

    The spread keeps two digits if it starts with 1 or is above one hundred, else one. Without a spread the mean stands
    alone.

    Args:
        value: the mean, or whatever the spread is about.
        spread: a standard deviation or standard error, at least 0, in the unit of the mean.

    Example:
        >>> [plus_minus(37.219, 0.78), plus_minus(0.0412, 0.0137), plus_minus(1234.5, 210.0), plus_minus(5.0, 0.0)]
        ['37.2 ± 0.8', '0.041 ± 0.014', '1,230 ± 210', '5']
    """
    if not (math.isfinite(value) and math.isfinite(spread)):
        return f"{value} ± {spread}"
    if spread <= 0:
        return rounded(value)
    size = math.floor(math.log10(spread))
    leads = spread / 10**size
    places = -size + (1 if leads < 1.95 or size >= 2 else 0)
    if places > DIGITS:
        return f"{rounded(value)} ± {10.0**-DIGITS:.{DIGITS}f}".replace("± ", "± <")
    return f"{_to_places(value, places)} ± {_to_places(spread, places)}"


def span(values: Iterable[float], form: str = ".2f") -> str:
    """The least and the largest of some numbers, "0.62 to 0.79"; one number where both are written alike.

    Args:
        values: at least one number.
        form: how a number is written, as `format` takes it.

    Example:
        >>> span([0.79, 0.62, 0.7]), span([0.789, 0.791])
        ('0.62 to 0.79', '0.79')
    """
    numbers = list(values)
    least, most = (_without_negative_zero(format(number, form)) for number in (min(numbers), max(numbers)))
    return least if least == most else f"{least} to {most}"


def mean_and_spread(frame: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Mean ± standard deviation of the other columns over the rows that share `by`, as text, `by` as columns in front.

    Args:
        frame: numbers in all columns but `by`; n rows of a group have the standard deviation with n in the denominator.
        by: names of columns.
    """
    groups = frame.groupby(by, sort=False)
    means, spreads = groups.mean(), groups.std(ddof=0)
    text = means.copy().astype(object)
    for column in means:
        text[column] = [plus_minus(*pair) for pair in zip(means[column], spreads[column], strict=True)]
    return text.reset_index()


def _to_places(value: float, places: int) -> str:
    """A number rounded to some decimals, or to tens, hundreds and so on where `places` is negative."""
    return _without_negative_zero(f"{round(value, places):,.{max(places, 0)}f}")


def _without_negative_zero(text: str) -> str:
    """A number as text, without the sign of a number that was rounded to zero."""
    return text.removeprefix("-") if not text.strip("-0.") else text
