"""One data set on several devices or machines: each sums over its shard, the sums merge, one of them tells.

Shards go to machines by Dask (`dask.distributed`): it is elastic, asks for no rendezvous and no fixed number of
processes, computes again what a lost worker held, and runs on anything from two local processes to SLURM. The other
candidate, `torch.distributed`, would lose the run with the process. Sums merge in the order of the shards, so the bits
do not depend on who finishes first.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import reduce
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lemmse.checks import check_tensor
from lemmse.estimators.mixture import MixtureEstimator
from lemmse.estimators.posterior import PartialSum, Posterior

if TYPE_CHECKING:
    from distributed import Future


def posterior_over_devices(
    estimators: Sequence[MixtureEstimator], y: Tensor, sigma: float | Tensor, top_k: int = 0
) -> Posterior:
    """`posterior(y, sigma, top_k)` over the images of all estimators, each on a device of its own, at the same time.

    The images count on from estimator to estimator; the result is on the device of the first. Raises ValueError as
    `posterior` does, and without an estimator.
    """
    if not estimators:
        raise ValueError("at least one estimator is needed, got none")
    for estimator in estimators:
        if not isinstance(estimator, MixtureEstimator):
            raise ValueError(f"estimators must be estimators of lemmse, got {type(estimator).__name__}")
    check_tensor(y, "y")
    first = estimators[0]

    def partial(estimator: MixtureEstimator) -> PartialSum:
        noise = sigma.to(estimator.device) if isinstance(sigma, Tensor) else sigma
        return estimator.partial(y.to(estimator.device), noise, top_k).to(first.device)

    with ThreadPoolExecutor(len(estimators)) as pool:
        return first.finish(reduce(PartialSum.merge, pool.map(partial, estimators)))


def posterior_over_cluster(
    estimators: Sequence[Future[Any]], y: Tensor, sigma: float | Tensor, top_k: int = 0
) -> Posterior:
    """`posterior(y, sigma, top_k)` over the images of estimators that live on the workers of a Dask cluster.

    estimators: `client.map(build, shards)`, where `build` turns whatever names a shard (a path, a range) into an
    estimator; the data set need not travel, and stays there for the next query. The partial sums are merged on the
    workers, by pairs, and what returns here is the posterior. y and sigma on the CPU, where the result is too. Raises
    what `build` and `posterior` raise, and ValueError without an estimator.
    """
    if not estimators:
        raise ValueError("at least one estimator is needed, got none")
    client = estimators[0].client
    parts = [client.submit(_partial, estimator, y, sigma, top_k, pure=False) for estimator in estimators]
    while len(parts) > 1:
        pairs = [client.submit(PartialSum.merge, a, b) for a, b in zip(parts[::2], parts[1::2], strict=False)]
        parts = pairs + parts[len(pairs) * 2 :]
    return client.submit(_finish, estimators[0], parts[0]).result()


def _partial(estimator: MixtureEstimator, y: Tensor, sigma: float | Tensor, top_k: int) -> PartialSum:
    noise = sigma.to(estimator.device) if isinstance(sigma, Tensor) else sigma
    return estimator.partial(y.to(estimator.device), noise, top_k).to(torch.device("cpu"))


def _finish(estimator: MixtureEstimator, whole: PartialSum) -> Posterior:
    found = vars(estimator.finish(whole.to(estimator.device)))
    on_cpu: dict[str, Any] = {name: None if value is None else value.cpu() for name, value in found.items()}
    return Posterior(**on_cpu)
