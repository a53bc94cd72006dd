"""The three estimators of the theory, and the formula written out."""

from __future__ import annotations

from lemmse.estimators.lemmse import MMSE, EquivariantMMSE, LocalEquivariantMMSE
from lemmse.estimators.posterior import PartialSum, Posterior

__all__ = ["MMSE", "EquivariantMMSE", "LocalEquivariantMMSE", "PartialSum", "Posterior"]
