"""lemmse: the analytic theory of CNN solvers of imaging inverse problems, as a library and a book.

The public names are listed in `__init__.pyi`; each is imported when it is first used, so that `import lemmse` is light.
"""

from __future__ import annotations

import lazy_loader

from lemmse import _moved

_public_name, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
_moved.install()


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version

        return version("lemmse")
    return _public_name(name)
