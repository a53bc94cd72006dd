"""How any network is called: `net(z)` or `net(z, sigma)`, with one clear error where it fails."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from numbers import Real
from typing import Any

import torch
from torch import Tensor, nn

Net = Callable[..., Tensor]
Restorer = Callable[[Tensor, float], Tensor]

LEVEL_NAMES = ("sigma", "noise", "std", "level")  # parts of the name of an argument with a default that means it
_REPEATS = 1e-3  # of the standard deviation of an output: two calls of one network differ by less


def accepts_sigma(net: Net) -> bool:
    """Whether a network is called as `net(z, sigma)`, not as `net(z)`, by its signature.

    A second argument is the noise level if it has no default value, or a number or None as its default and one of
    `LEVEL_NAMES` in its name.
    """
    if not callable(net):
        raise ValueError(f"net must be a torch.nn.Module or a function, got {type(net).__name__}")
    net = _without_wrapper(net)
    if isinstance(net, torch.jit.ScriptModule):
        scripted: Any = net.forward  # a script method
        inputs = scripted.schema.arguments[1:]  # the first is the module
        if len(inputs) < 2 or not inputs[1].has_default_value():
            return len(inputs) > 1
        return _means_level(inputs[1].name, inputs[1].default_value)
    try:
        parameters = inspect.signature(net.forward if isinstance(net, nn.Module) else net).parameters.values()
    except (TypeError, ValueError):
        return False
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if len(positional) < 2 or positional[1].default is inspect.Parameter.empty:
        return len(positional) > 1
    return _means_level(positional[1].name, positional[1].default)


def _means_level(name: str, default: object) -> bool:
    """Whether an argument with a default value is a noise level."""
    is_number = isinstance(default, Real) and not isinstance(default, bool)
    return (default is None or is_number) and any(part in name.lower() for part in LEVEL_NAMES)


def _without_wrapper(net: Net) -> Net:
    """The network that `torch.compile` or a wrapper for several devices was given."""
    for name in ("_orig_mod", "module"):
        wrapped = getattr(net, name, None)
        if isinstance(net, nn.Module) and isinstance(wrapped, nn.Module) and type(net).__module__.startswith("torch."):
            return _without_wrapper(wrapped)
    return net


def checked(net: Net, takes_sigma: bool | None = None) -> Restorer:
    """A network as a function of z and sigma whose output is checked: a finite image of the size of z.

    Args:
        net: A network or function of z, or of z and sigma.
        takes_sigma: Whether it takes sigma; default: by its signature.

    Returns:
        A function `(z, sigma) -> x_hat` that raises ValueError, in one line, where the network fails.

    Raises:
        ValueError: If the network is in training mode or cannot be called.
    """
    takes_sigma = accepts_sigma(net) if takes_sigma is None else takes_sigma
    if isinstance(net, nn.Module) and net.training and _has_modes(net):
        raise ValueError("net is in training mode, in which its output is random or depends on the batch: net.eval()")

    def restore(z: Tensor, sigma: float) -> Tensor:
        own = z.clone()  # a network may work in place
        try:
            x_hat = net(own, sigma) if takes_sigma else net(own)
        except (Exception, SystemExit) as error:  # whatever a user's network raises
            reason = (str(error).strip().splitlines() or [""])[0][:160]
            raise ValueError(
                f"net raises {type(error).__name__} for an input of shape {tuple(z.shape)}: {reason}"
            ) from error
        if not isinstance(x_hat, Tensor):
            made = isinstance(x_hat, nn.Module)
            hint = ": a function that makes a network must take no argument" if made else ""
            raise ValueError(f"net must return a tensor, got {type(x_hat).__name__}{hint}")
        if not x_hat.is_floating_point():
            raise ValueError(f"net must return real floating-point values, got {x_hat.dtype}")
        if x_hat.ndim != 4 or len(x_hat) != len(z) or x_hat.shape[2:] != z.shape[2:]:
            raise ValueError(
                f"net must keep the batch, height and width of its input {tuple(z.shape)}, but returned "
                f"{tuple(x_hat.shape)}"
            )
        if not bool(torch.isfinite(x_hat).all()):
            raise ValueError(f"net returns NaN or infinity for an input of shape {tuple(z.shape)}")
        return x_hat

    return restore


def check_repeatable(restore: Restorer, z: Tensor, sigma: float) -> Tensor:
    """Return what a network makes of z; raises ValueError if it draws random numbers, and so answers in two ways."""
    with torch.no_grad():
        first, second = restore(z, sigma), restore(z, sigma)
    if float((first - second).abs().max()) > _REPEATS * float(first.std()):
        raise ValueError("net gives two different answers to one input: it must not draw random numbers")
    return first


def _has_modes(net: nn.Module) -> bool:
    """Whether some layer of the network acts differently in training mode."""
    kinds = (nn.modules.dropout._DropoutNd, nn.modules.batchnorm._BatchNorm)
    return any(
        isinstance(layer, kinds)
        or (isinstance(layer, nn.modules.instancenorm._InstanceNorm) and layer.track_running_stats)
        for layer in net.modules()
    )


def place_of(net: Net) -> dict[str, Any]:
    """Device and dtype of the parameters of a network; those of a function are the CPU and float32."""
    tensors = [*net.parameters(), *net.buffers()] if isinstance(net, nn.Module) else []
    for tensor in tensors:
        if tensor.is_floating_point():
            return {"device": tensor.device, "dtype": tensor.dtype}
    return {"device": torch.device("cpu"), "dtype": torch.float32}
