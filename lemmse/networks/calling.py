"""How any network is called: `net(z)` or `net(z, sigma)`, with one clear error where it fails."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

Net = Callable[..., Tensor]
Restorer = Callable[[Tensor, float], Tensor]


def accepts_sigma(net: Net) -> bool:
    """Whether a network is called as `net(z, sigma)`, not as `net(z)`, by its signature."""
    if not callable(net):
        raise ValueError(f"net must be a torch.nn.Module or a function, got {type(net).__name__}")
    function = net.forward if isinstance(net, nn.Module) and not isinstance(net, torch.jit.ScriptModule) else net
    if isinstance(net, torch.jit.ScriptModule):
        scripted: Any = net.forward  # a script method
        return len(scripted.schema.arguments) > 2  # self and z come first
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return False
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return len(positional) >= 2 or any(p.kind is p.VAR_POSITIONAL for p in parameters)


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
        try:
            x_hat = net(z, sigma) if takes_sigma else net(z)
        except KeyboardInterrupt:
            raise
        except Exception as error:  # whatever a user's network raises
            reason = (str(error).strip().splitlines() or [""])[0][:160]
            raise ValueError(
                f"net raises {type(error).__name__} for an input of shape {tuple(z.shape)}: {reason}"
            ) from error
        if not isinstance(x_hat, Tensor):
            raise ValueError(f"net must return a tensor, got {type(x_hat).__name__}")
        if x_hat.ndim != 4 or len(x_hat) != len(z) or x_hat.shape[2:] != z.shape[2:]:
            raise ValueError(
                f"net must keep the batch, height and width of its input {tuple(z.shape)}, but returned "
                f"{tuple(x_hat.shape)}"
            )
        if not bool(torch.isfinite(x_hat).all()):
            raise ValueError(f"net returns NaN or infinity for an input of shape {tuple(z.shape)}")
        return x_hat

    return restore


def _has_modes(net: nn.Module) -> bool:
    """Whether some layer of the network acts differently in training mode."""
    kinds = (nn.modules.dropout._DropoutNd, nn.modules.batchnorm._BatchNorm)
    return any(isinstance(layer, kinds) for layer in net.modules())


def place_of(net: Net) -> dict[str, Any]:
    """Device and dtype of the parameters of a network; those of a function are the CPU and float32."""
    tensors = [*net.parameters(), *net.buffers()] if isinstance(net, nn.Module) else []
    for tensor in tensors:
        if tensor.is_floating_point():
            return {"device": tensor.device, "dtype": tensor.dtype}
    return {"device": torch.device("cpu"), "dtype": torch.float32}
