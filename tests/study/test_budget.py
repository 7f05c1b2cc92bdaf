"""What a network takes in memory, and so how many are trained at once."""

import math
import weakref

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from steadygrad.study import Point, Spec, TooLargeError, budget, run, train
from steadygrad.study.budget import POINT_BYTES, check_grid, network_bytes, networks_at_once, populations, record_bytes
from steadygrad.study.population import lockstep, update
from steadygrad.study.population.held import held
from steadygrad.study.population.shape import SHARED

BASE = {"depth": 2, "width": 8, "activation": "relu"}


class Peak(TorchDispatchMode):
    """The most bytes that the storages made in its block had at once."""

    def __init__(self):
        super().__init__()
        self.alive, self.most = {}, 0

    def __torch_dispatch__(self, function, types, arguments=(), named=None):
        made = function(*arguments, **(named or {}))
        for tensor in made if isinstance(made, tuple | list) else [made]:
            if isinstance(tensor, torch.Tensor) and (storage := tensor.untyped_storage()).data_ptr() not in self.alive:
                self.alive[storage.data_ptr()] = storage.nbytes()
                weakref.finalize(storage, self.alive.pop, storage.data_ptr(), None)
        self.most = max(self.most, sum(self.alive.values()))
        return made


def test_a_grid_too_large_for_memory_is_split():
    spec = Spec.of(name="x", fixed=BASE, product={"gain": {"start": 1, "stop": 2, "count": 100_000}}, seeds=10**9)
    with pytest.raises(TooLargeError, match=r"100,000,000,000,000 points, which need .* GiB .* values of `seed`"):
        check_grid(spec.lengths())
    check_grid([("seed", 1000)], memory=2 * 1000 * POINT_BYTES)
    with pytest.raises(TooLargeError, match="split it into 2 specs"):
        check_grid([("seed", 1000)], record=1, memory=2 * 1000 * POINT_BYTES)


@pytest.mark.parametrize(("depth", "curve"), [(1, 0), (2, 32), (60, 8)])
def test_the_memory_of_a_record_is_that_of_its_table(depth, curve):
    fixed = {"data": "gaussian", "width": 4, "activation": "relu", "depth": depth, "curve": curve, "steps": curve}
    results = run(Spec.of(name="r", fixed=fixed, seeds=30))
    assert record_bytes(depth=depth, curve=curve) == pytest.approx(results.table.nbytes / 30, rel=0.1)


def test_a_deep_grid_needs_room_for_its_records(monkeypatch):
    spec = Spec.of(name="d", fixed={**BASE, "depth": 10}, product={"curve": [1, 500]}, seeds=10)
    monkeypatch.setattr(budget, "free_memory", lambda device: 2 * 20 * (POINT_BYTES + 2 * 12_000))
    with pytest.raises(TooLargeError, match="the grid has 20 points"):
        run(spec)


def test_a_network_too_large_for_memory_says_how_much_it_needs():
    point = Point(**BASE)
    with pytest.raises(TooLargeError, match=r"depth 2 and width 8 needs .* GiB in training"):
        networks_at_once(point, memory=network_bytes(point))
    assert networks_at_once(point, memory=6 * network_bytes(point)) == 3


def most_bytes(points):
    lockstep.load(points[0].data)
    with Peak() as peak:
        train(points)
    return peak.most


SHAPES = {
    "deep": {"depth": 40, "width": 16, "activation": "relu"},
    "deep, both kept": {"depth": 40, "width": 16, "activation": "gelu", "optimizer": "adam"},
    "wide": {"depth": 4, "width": 128, "activation": "relu", "momentum": 0.9},
    "large batch": {"depth": 10, "width": 16, "activation": "tanh", "batch_size": 500},
}


@pytest.mark.parametrize("shape", SHAPES)
def test_the_memory_of_a_network_is_what_it_takes(shape):
    points = [Point(**SHAPES[shape], data="gaussian", steps=1, seed=seed) for seed in range(8)]
    # The data itself, and what is temporary within a layer, is not counted.
    of_one = (most_bytes(points) - most_bytes(points[:4])) / 4
    assert of_one == pytest.approx(network_bytes(points[0]), rel=0.15)


def test_the_memory_on_an_accelerator_has_what_is_held(monkeypatch):
    everyone = torch.ones(8, dtype=torch.bool)
    monkeypatch.setattr(
        update, "held", lambda tensors, active: held(tensors, everyone[: tensors[0].shape[1]], waits=False)
    )
    points = [Point(depth=4, width=128, activation="relu", data="gaussian", steps=2, seed=seed) for seed in range(8)]
    for optimizer in ({"optimizer": "adam"}, {"momentum": 0.9}):
        made = [Point(**vars(point) | optimizer) for point in points]
        of_one = (most_bytes(made) - most_bytes(made[:4])) / 4
        assert of_one == pytest.approx(network_bytes(made[0], device="cuda"), rel=0.15)


def test_workers_share_the_memory_of_their_machine(monkeypatch):
    spec = Spec.of(name="w", fixed={**BASE, "data": "gaussian", "steps": 1}, seeds=4)
    one = next(spec.points())
    need = network_bytes(one)
    assert networks_at_once(one, memory=4 * need) == networks_at_once(one, memory=16 * need, sharing=4) == 2
    monkeypatch.setattr(budget, "free_memory", lambda device: 5.0 * need)
    assert len(run(spec)) == 4
    with pytest.raises(TooLargeError, match=r"may be used by 3 workers: .* batch_size, or fewer workers"):
        run(spec, workers=3)


def test_populations_hold_each_point_once_and_one_shape():
    spec = Spec.of(name="x", fixed={"activation": "relu"}, product={"depth": [1, 2], "width": [8, 300]}, seeds=50)
    points = list(spec.points())
    for slots in (1, 4):
        made = populations(points, slots=slots)
        assert sorted(p.identity for population in made for p in population) == sorted(p.identity for p in points)
        assert all(len({tuple(getattr(p, name) for name in SHARED) for p in population}) == 1 for population in made)
        assert all(len(population) <= networks_at_once(population[0]) for population in made)
    assert max(len(population) for population in populations(points, slots=4)) <= math.ceil(len(points) / 16)
