"""Partial sums over shards: any split, any tree, several processes, a lost worker: the answer of the whole data set."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import lemmse
from lemmse.estimators.shards import posterior_over_cluster, posterior_over_devices
from lemmse.physics.gallery import gaussian_kernel
from tests.conftest import random_images

COUNT, SHAPE = 9, (6, 5)
MASK = torch.ones(SHAPE)
MASK[2:4, 1:3] = 0
SETTINGS = {
    "identity": (lemmse.Denoising(), "identity"),
    "mask": (lemmse.Inpainting(MASK), "pinv"),
    "circulant": (lemmse.Blur(gaussian_kernel(0.7, 1)), "pinv"),
    "matrix": (lemmse.Linear(torch.eye(30)[torch.arange(30) % 7 > 0].double()), "pinv"),
}
ESTIMATORS = {
    "LE-MMSE": lambda *args, **options: lemmse.LocalEquivariantMMSE(*args, patch_size=3, **options),
    "E-MMSE": lemmse.EquivariantMMSE,
    "MMSE": lemmse.MMSE,
}


def build(name, kind, images):
    physics, pre_inverse = SETTINGS[kind]
    return ESTIMATORS[name](images, physics, pre_inverse=pre_inverse)


def problem(kind, dtype, seed=0):
    x = random_images(COUNT, 1, *SHAPE, dtype, seed)
    physics = SETTINGS[kind][0]
    return x, physics.measure(x[:2], 0.3, generator=torch.Generator().manual_seed(seed))


def assert_same(found: lemmse.Posterior, whole: lemmse.Posterior, tolerance: float) -> None:
    for name in ("mean", "variance", "log_density", "effective_samples", "weights"):
        torch.testing.assert_close(getattr(found, name), getattr(whole, name), rtol=tolerance, atol=tolerance)
    assert torch.equal(found.indices, whole.indices)


def merge_as_tree(parts, draw):
    """Neighbors merged in any order: any binary tree over the shards."""
    parts = list(parts)
    while len(parts) > 1:
        i = draw(st.integers(0, len(parts) - 2))
        parts[i : i + 2] = [parts[i].merge(parts[i + 1])]
    return parts[0]


@pytest.mark.parametrize("kind", list(SETTINGS))
@pytest.mark.parametrize("name", list(ESTIMATORS))
@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_any_split_merged_in_any_tree_is_the_whole(name, kind, data):
    dtype = data.draw(st.sampled_from([torch.float64, torch.float32]))
    if kind == "matrix":
        dtype = torch.float64
    x, y = problem(kind, dtype, data.draw(st.integers(0, 99)))
    cuts = sorted(data.draw(st.sets(st.integers(1, COUNT - 1), max_size=4)))
    shards = [build(name, kind, part.clone()) for part in torch.tensor_split(x, cuts)]
    whole = build(name, kind, x)
    sigma = torch.tensor([0.3, 0.5], dtype=dtype)
    total = merge_as_tree([shard.partial(y, sigma, top_k=3) for shard in shards], data.draw)
    assert total.count == COUNT
    assert_same(shards[-1].finish(total), whole.posterior(y, sigma, top_k=3), 1e-11 if dtype.itemsize == 8 else 1e-5)


def test_the_order_of_the_shards_only_numbers_the_images():
    x, y = problem("identity", torch.float64)
    a, b = (build("LE-MMSE", "identity", part).partial(y, 0.3, top_k=3) for part in (x[:4], x[4:]))
    estimator = build("LE-MMSE", "identity", x)
    forth, back = estimator.finish(a.merge(b)), estimator.finish(b.merge(a))
    torch.testing.assert_close(forth.mean, back.mean)
    image = back.indices[..., 0]
    assert torch.equal(forth.indices[..., 0], torch.where(image < 5, image + 4, image - 5))
    assert torch.equal(forth.indices[..., 1:], back.indices[..., 1:])


@pytest.mark.parametrize(
    "other",
    [
        lambda e, y: e.partial(y[:1], 0.3),
        lambda e, y: e.partial(y, 0.4),
        lambda e, y: e.partial(y, 0.3, top_k=1),
    ],
)
def test_sums_of_other_queries_do_not_merge(other):
    x, y = problem("identity", torch.float64)
    estimator = build("LE-MMSE", "identity", x)
    with pytest.raises(ValueError, match="same queries, noise levels and top_k"):
        estimator.partial(y, 0.3).merge(other(estimator, y))


def test_estimators_on_several_devices_at_once():
    x, y = problem("identity", torch.float32)
    parts = [build("LE-MMSE", "identity", part) for part in (x[:2], x[2:7], x[7:])]
    whole = build("LE-MMSE", "identity", x).posterior(y, 0.3, top_k=2)
    assert_same(posterior_over_devices(parts, y, torch.tensor(0.3), top_k=2), whole, 1e-5)
    for over in (posterior_over_devices, posterior_over_cluster):
        with pytest.raises(ValueError, match="at least one estimator"):
            over([], y, 0.3)


@pytest.fixture(scope="module")
def client(environment):
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


def shard_of(start: int, stop: int) -> lemmse.LocalEquivariantMMSE:
    return build("LE-MMSE", "identity", problem("identity", torch.float32)[0][start:stop])


def test_two_processes_and_a_lost_one(client):
    x, y = problem("identity", torch.float32)
    whole = build("LE-MMSE", "identity", x).posterior(y, 0.3, top_k=3)
    estimators = client.map(shard_of, [0, 3, 5], [3, 5, 9])
    found = posterior_over_cluster(estimators, y, 0.3, top_k=3)
    assert_same(found, whole, 1e-5)
    workers = client.run(os.getpid)
    assert len(set(workers.values()) - {os.getpid()}) == 2
    os.kill(next(iter(workers.values())), signal.SIGKILL)  # with the estimators that it holds
    again = posterior_over_cluster(estimators, y, 0.3, top_k=3)
    for name, value in vars(found).items():
        assert torch.equal(value, getattr(again, name)), name


def test_what_a_worker_raises_arrives(client):
    estimators = client.map(shard_of, [0, 3], [3, 9])
    with pytest.raises(ValueError, match="sigma must be finite and positive, got -1"):
        posterior_over_cluster(estimators, problem("identity", torch.float32)[1], -1.0)


def test_the_example_of_the_readme(tmp_path):
    pytest.importorskip("distributed")
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    (code,) = (block for block in re.findall(r"```python\n(.*?)```", readme, re.S) if "LocalCluster" in block)
    script = tmp_path / "example.py"
    script.write_text(code)
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "(4, 3, 32, 32)" in done.stdout
