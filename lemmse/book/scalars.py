"""Numbers with all their digits: how a kernel of `lemmse` writes tensors and arrays that hold one number.

torch writes four decimals, so a loss that a notebook glues would lose the others on the way to a table.
"""

from __future__ import annotations

from typing import Any


def install() -> None:
    """Let the running IPython write 0-d tensors and arrays in full, with or without a gradient."""
    from IPython import get_ipython

    plain = get_ipython().display_formatter.formatters["text/plain"]
    plain.for_type_by_name("torch", "Tensor", _writer("tensor"))
    plain.for_type_by_name("torch.nn.parameter", "Parameter", _writer("tensor"))
    plain.for_type_by_name("numpy", "ndarray", _writer("array"))


def _writer(name: str) -> Any:
    def write(value: Any, printer: Any, cycle: bool) -> None:
        printer.text(f"{name}({value.item()!r})" if value.ndim == 0 else repr(value))

    return write
