"""Nothing but exponentials: the roofline that the CPU engines are measured against."""

from __future__ import annotations

import numpy as np

from lemmse.engines.cpu.compile import jit
from lemmse.engines.cpu.vectors import IMAGES, LANES, exp2, fold_sum, load, splat, store

BUFFER = 16 * LANES  # float32 numbers, 4 KB


@jit()
def sum_exponentials(x, loops):
    """The sum of 2^x over a flat float32 array of BUFFER numbers, `loops` times over; each is computed anew."""
    total = splat(np.float32(0))
    for _ in range(loops):
        for start in range(0, x.size, LANES):
            total = total + exp2(load(x, start))
    row = np.empty(IMAGES, np.float32)
    store(row, 0, fold_sum(total))
    return row.sum()
