"""The three estimators of the theory: LE-MMSE in `lemmse`, E-MMSE in `emmse`, MMSE in `mmse`.

`reference` has the formulas written out. What a pre-inverse makes of patches is in `features` and the modules that it
names: the strata in `pixels` and `positions`, the whitening in `whitening`. The one pass over a data set is in
`mixture`, what it gives in `posterior`, and `shards` spreads it over machines.
"""

from __future__ import annotations

from lemmse.estimators.emmse import EquivariantMMSE
from lemmse.estimators.lemmse import LocalEquivariantMMSE
from lemmse.estimators.mmse import MMSE
from lemmse.estimators.posterior import PartialSum, Posterior

__all__ = ["MMSE", "EquivariantMMSE", "LocalEquivariantMMSE", "PartialSum", "Posterior"]
