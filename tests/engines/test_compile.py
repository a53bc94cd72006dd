"""Kernels on a machine that cannot keep them: a read-only installation, a user without a home."""

from __future__ import annotations

import warnings

import pytest
from numba.core.dispatcher import Dispatcher

from lemmse.engines.cpu import compile as compiling


def twice(x):
    return 2 * x


@pytest.fixture
def forgetful():
    """The one warning has not been given yet; nor, for others, after the test."""
    compiling._warn_of_no_cache.cache_clear()
    yield
    compiling._warn_of_no_cache.cache_clear()


def test_without_a_folder_to_write_kernels_are_compiled_anew_with_one_warning(monkeypatch, forgetful):
    def refuse(self):
        raise RuntimeError("cannot cache function 'twice': no locator available for file 'twice.py'")

    monkeypatch.setattr(Dispatcher, "enable_caching", refuse)
    with pytest.warns(UserWarning, match="NUMBA_CACHE_DIR") as given:
        kernels = [compiling.jit()(twice), compiling.jit(fastmath=True)(twice)]
    assert len(given) == 1
    assert [kernel(21) for kernel in kernels] == [42, 42]


def test_other_errors_of_the_compiler_are_not_hidden(monkeypatch, forgetful):
    def refuse(self):
        raise RuntimeError("something else")

    monkeypatch.setattr(Dispatcher, "enable_caching", refuse)
    with pytest.raises(RuntimeError, match="something else"):
        compiling.jit()(twice)


def test_where_kernels_can_be_kept_nothing_is_said(tmp_path, monkeypatch, forgetful):
    monkeypatch.setattr("numba.core.config.CACHE_DIR", str(tmp_path))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert compiling.jit()(twice)(21) == 42
    assert list(tmp_path.rglob("*.nbc"))
