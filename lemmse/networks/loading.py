"""A network of one's own, from a Python function, a TorchScript file or a `torch.export` file."""

from __future__ import annotations

import importlib
import inspect
import logging
import os
import re
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lemmse.checks import shown

_FUNCTION = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


def load_network(where: str | os.PathLike[str]) -> Callable[..., Tensor]:
    """The network that a text names, as a function of z or of z and sigma.

    Args:
        where: "package.module:name", a function of z or of z and sigma, a torch.nn.Module, or a function without
            arguments that returns one of them; modules of the current folder are found. Or the path of a file of
            `torch.jit.save` or `torch.export.save`, on the CPU, with inputs z (Q, C, H, W) or z and sigma; a sigma that
            it wants as a tensor gets the shape (Q,).

    Returns:
        The network, modules in eval mode.

    Raises:
        ValueError: for a name that cannot be imported, and a file that is neither.

    Example:
        >>> load_network("torch.nn:Identity")(1)
        1
    """
    text = os.fsdecode(where) if isinstance(where, (str, os.PathLike)) else ""
    path = Path(text).expanduser()
    if text and path.is_file():
        return _from_file(path)
    if _FUNCTION.fullmatch(text):
        return _imported(*text.split(":"))
    raise ValueError(
        "a network is 'package.module:function' or the path of a TorchScript or torch.export file that exists, "
        f"got {shown(where)}"
    )


def _imported(module: str, name: str) -> Callable[..., Tensor]:
    """What a module has under a name, called first if it takes no argument."""
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
        if _makes_a_network(found):
            found = found()
    except (Exception, SystemExit) as error:  # whatever the module of a user raises when it is imported
        hint = f"; write {module.removesuffix('.py')}:{name}" if module.endswith(".py") else ""
        raise ValueError(f"cannot import {module}:{name}: {type(error).__name__}: {_line(error)}{hint}") from error
    if not callable(found):
        raise ValueError(f"{module}:{name} must be a function or a torch.nn.Module, got {type(found).__name__}")
    return found.eval() if isinstance(found, nn.Module) else found


def _makes_a_network(found: object) -> bool:
    """Whether something is called without arguments: a class of modules, or a function that returns a network."""
    if isinstance(found, nn.Module) or not callable(found):
        return False
    if isinstance(found, type):
        return True
    try:
        return not inspect.signature(found).parameters
    except (TypeError, ValueError):
        return False


def _from_file(path: Path) -> Callable[..., Tensor]:
    """The network in a file of `torch.export` where its ending is .pt2, else of TorchScript."""
    kind, load = ("torch.export", _exported) if path.suffix == ".pt2" else ("TorchScript", _torch_script)
    try:
        return load(path)
    except Exception as error:  # torch raises errors of many types
        raise ValueError(
            f"{str(path)!r} is no {kind} file (weights alone are no network: give 'package.module:function' instead): "
            f"{_line(error)}"
        ) from error


def _torch_script(path: Path) -> Callable[..., Tensor]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of TorchScript itself: the file is what the user has
        net = torch.jit.load(str(path), map_location="cpu").eval()
    inputs = net.forward.schema.arguments[1:]
    return _called(net, len(inputs), len(inputs) > 1 and str(inputs[1].type) == "Tensor")


def _exported(path: Path) -> Callable[..., Tensor]:
    """One image after the other, for a network that was exported with one image takes no more at once."""
    log = logging.getLogger("torch.export")
    level = log.level
    log.setLevel(logging.CRITICAL)  # what it logs is in the error that it raises
    try:
        program = torch.export.load(path)
    finally:
        log.setLevel(level)
    inputs = program.graph_signature.user_inputs
    one = _called(program.module(), len(inputs), len(inputs) > 1 and isinstance(inputs[1], str))
    if len(inputs) < 2:
        return lambda z: torch.cat([one(part) for part in z.split(1)])
    return lambda z, sigma: torch.cat([one(part, sigma) for part in z.split(1)])


def _called(net: Callable[..., Tensor], inputs: int, tensor: bool) -> Callable[..., Tensor]:
    """A loaded network as a function of as many inputs as it takes."""
    if inputs < 2:
        return lambda z: net(z)
    if not tensor:
        return lambda z, sigma: net(z, sigma)
    return lambda z, sigma: net(z, z.new_tensor(sigma).expand(len(z)))


def _line(error: BaseException) -> str:
    """The first line of an error, shortened."""
    return (str(error).strip().splitlines() or [""])[0][:160]
