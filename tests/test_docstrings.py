"""Every public class and function says what it is in a sentence, what it takes, and how it is used."""

from __future__ import annotations

import inspect
import re

import lemmse


def takes_parameters(public: object) -> bool:
    """Whether a class or a function has parameters of its own, not only the `*args, **kwargs` of `nn.Module`."""
    kinds = [parameter.kind for parameter in inspect.signature(public).parameters.values()]
    return any(kind not in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD) for kind in kinds)


def sections_of(docstring: str) -> set[str]:
    """The sections that hold something, by name."""
    return set(re.findall(r"^(\w+):\n+    +\S", docstring, re.MULTILINE))


def lacking(public: object) -> list[str]:
    """What the docstring of a class or a function lacks."""
    docstring = inspect.cleandoc(public.__doc__ or "")
    first = " ".join(docstring.partition("\n\n")[0].split())
    sections = sections_of(docstring)
    found = []
    if not re.match(r"[A-Z].*?\w.*?\.( |$)", first) or not first.endswith("."):
        found.append("a first sentence that ends in a period")
    if takes_parameters(public) and not sections & {"Args", "Attributes"}:
        found.append("Args")
    if "Example" not in sections or ">>> " not in docstring:
        found.append("Example")
    return found


def test_every_public_name_is_described():
    lacks = {name: found for name in lemmse.__all__ if (found := lacking(getattr(lemmse, name)))}
    assert not lacks


def test_the_check_sees_what_it_should():
    def bare(x):
        pass

    class Half:
        """`A x = x / 2`

        Args:

        Example:
            A prose example.
        """

        def __init__(self, x):
            pass

    class Whole:
        """Whole returns what it is given.

        Args:
            x: anything.

        Example:
            >>> Whole(1)
        """

        def __init__(self, x):
            pass

    sentence = "a first sentence that ends in a period"
    assert lacking(bare) == lacking(Half) == [sentence, "Args", "Example"]
    assert lacking(Whole) == []
    assert not takes_parameters(lemmse.Denoising)
    assert takes_parameters(lemmse.Blur)
