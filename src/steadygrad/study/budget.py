"""What a network takes in memory and arithmetic, and so how many are trained at once."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import torch

from steadygrad.errors import SteadygradError

from .data import load
from .point import Point
from .population.activations import phi
from .population.draw import layer_sizes
from .population.evaluate import CHUNK
from .population.shape import shape_of
from .population.signals import MEASURED

# Where the system does not tell the size of its second-level cache.
_USUAL_CACHE = 2**20
# So many populations for each worker that the last ones to end leave the others idle for little,
_TASKS_A_SLOT = 4
# unless they would get smaller than this, where the calls cost more than the waiting.
_WORTH_LOCKSTEP = 8
# On an accelerator a product of this many small matrices fills it; more only take memory.
_MOST_ON_ACCELERATOR = 4096
# Measured: a `Point` and its identity among 10^5 others.
POINT_BYTES = 2500
# Measured: the columns of a record that are no lists, and the offsets of those that are.
_RECORD_BYTES = 400


class TooLargeError(SteadygradError, ValueError):
    """A grid or a network that needs more memory than there is."""


def sizes(point: Point) -> list[tuple[int, int]]:
    """Return (fan_in, fan_out) of each Linear, the data's features and outputs included."""
    data = load(point.data)
    return layer_sizes(point, data.inputs.shape[1], data.targets.shape[1])


def batch_size(point: Point) -> int:
    """Return how many examples a step sees."""
    available = len(load(point.data).first(point.examples).inputs)
    return min(point.batch_size or available, available)


def network_bytes(point: Point, *, device: str = "cpu") -> int:
    """Return the most memory that one network takes at once, in a step or where it is looked at before and after.

    In a step: parameters, gradients, the optimizer's averages, the batch and what its two passes keep; on an
    accelerator also what `held` copies. To look at it: a second network's gradients and passes, or a chunk of
    examples to score.
    """
    layers = sizes(point)
    features, outputs = layers[0][0], layers[-1][1]
    parameters = sum(fan_in * fan_out + fan_out for fan_in, fan_out in layers)
    averages = (1 if point.momentum else 0) if point.optimizer == "sgd" else 2
    # Of an example: the output of each layer, apart from the activation's where both are needed; two gradients, and an
    # input that is turned; logits.
    kept = (1 if phi(point.activation).from_output else 2) * point.depth * point.width
    passes = kept + 3 * point.width + outputs
    batch = batch_size(point) * (passes + features + 2 * outputs)
    update = parameters if torch.device(device).type == "cpu" else (2 + averages) * parameters
    squares = 4 * point.width  # of one layer, in double
    look = max(parameters + MEASURED * (passes + squares), CHUNK * (4 * point.width + 3 * outputs))
    return _item(point) * ((2 + averages) * parameters + batch + max(update, look))


def training_flops(point: Point) -> float:
    """Return the floating-point operations of a training: 6 a weight, example and step."""
    weights = sum(fan_in * fan_out for fan_in, fan_out in sizes(point))
    scored = sum(len(part) for part in (load(point.data).inputs, load(point.data).test_inputs)) / 3
    return 6.0 * weights * (batch_size(point) * point.steps + scored)


def networks_at_once(point: Point, *, device: str = "cpu", memory: float | None = None, sharing: int = 1) -> int:
    """Return how many networks like this one are trained in lockstep.

    On a CPU as many as keep what one layer's backward pass touches (its input for a batch, as it lies and turned, the
    gradients with respect to output and input, the weight and its gradient) within the second-level cache; on an
    accelerator as many as half of its memory holds.

    Args:
        point: the shape.
        device: where.
        memory: bytes that there are; what the device has by default.
        sharing: how many populations share them.

    Raises:
        TooLargeError: not even one fits.

    >>> point = Point(depth=10, width=64, activation="relu")
    >>> 1 <= networks_at_once(point) < networks_at_once(Point(depth=10, width=16, activation="relu"))
    True
    """
    available = free_memory(device) if memory is None else memory
    bytes_of_one = network_bytes(point, device=device)
    fits = int(available / 2 / sharing / bytes_of_one)
    if fits < 1:
        need, have = bytes_of_one / 2**30, available / 2**30
        by, fewer = (f" by {sharing} workers", ", or fewer workers") if sharing > 1 else ("", "")
        raise TooLargeError(
            f"one network of depth {point.depth} and width {point.width} needs {need:.1f} GiB in training, and half of "
            f"the free {have:.1f} GiB may be used{by}: take a smaller width, depth or batch_size{fewer}."
        )
    if torch.device(device).type != "cpu":
        return min(fits, _MOST_ON_ACCELERATOR)
    widest = max(fan_in * fan_out for fan_in, fan_out in sizes(point)[: point.depth])
    layer = _item(point) * (4 * batch_size(point) * point.width + 2 * widest)
    return max(1, min(fits, cache_bytes() // layer))


def populations(points: Sequence[Point], *, device: str = "cpu", slots: int = 1, sharing: int = 1) -> list[list[Point]]:
    """Return the points as populations: each of one shape, none larger than is trained at once, alike in size.

    Args:
        points: of any shapes.
        device: where they are trained.
        slots: how many populations are trained side by side: there are enough of them that all have work.
        sharing: how many of those share one device's memory.

    >>> points = [Point(depth=d, width=8, activation="relu", seed=s) for s in range(2) for d in (1, 2)]
    >>> [[point.depth for point in population] for population in populations(points)]
    [[1, 1], [2, 2]]
    """
    made: list[list[Point]] = []
    fair = _fair_share(len(points), slots)
    for _, group in groupby(sorted(points, key=_shape_key), key=_shape_key):
        alike = list(group)
        count = -(-len(alike) // min(fair, networks_at_once(_largest(alike), device=device, sharing=sharing)))
        made += [alike[len(alike) * i // count : len(alike) * (i + 1) // count] for i in range(count)]
    return made


def _largest(alike: Sequence[Point]) -> Point:
    """Of one shape that with most memory: momentum takes an average more, and need not be every network's."""
    return max(alike, key=lambda point: point.momentum > 0)


def _fair_share(count: int, slots: int) -> int:
    """Return how many of so many networks one population may hold, so that there are some for each slot."""
    rounds = min(_TASKS_A_SLOT, max(1, count // (_WORTH_LOCKSTEP * slots))) if slots > 1 else 1
    return max(1, -(-count // (slots * rounds)))


def _shape_key(point: Point) -> str:
    return repr(shape_of(point))


def record_bytes(*, depth: int, curve: int) -> int:
    """Return what the record of a network takes in a table: two times four signals a layer, and its curve's columns."""
    return _RECORD_BYTES + 8 * (2 * 4 * (depth + 1) + 3 * curve)


def check_grid(axes: Sequence[tuple[str, int]], *, record: int = 0, memory: float | None = None) -> None:
    """Raise a `TooLargeError` where a grid would not fit into memory, with the split that would.

    There are the points, and the records twice: as they are read, and in the order of the points.

    Args:
        axes: the name and the length of each.
        record: bytes of one record.
        memory: bytes that there are.

    >>> check_grid([("sigma_w", 10**6), ("seed", 1000)], memory=2**34)
    Traceback (most recent call last):
    steadygrad.study.budget.TooLargeError: the grid has 1,000,000,000 points, which need 2328 GiB of memory, and 8 ...
    """
    count = math.prod(length for _, length in axes)
    available = (free_memory("cpu") if memory is None else memory) / 2
    need = count * (POINT_BYTES + 2 * record)
    if need <= available:
        return
    name, length = max(axes, key=lambda axis: axis[1])
    parts = min(length, int(-(-need // available)))
    raise TooLargeError(
        f"the grid has {count:,} points, which need {need / 2**30:.0f} GiB of memory, and {available / 2**30:.0f} GiB "
        f"may be used: split it into {parts} specs, each with a part of the {length:,} values of `{name}`."
    )


def free_memory(device: str) -> float:
    """Return the free bytes of a device."""
    if torch.device(device).type == "cuda":
        return float(torch.cuda.mem_get_info(torch.device(device))[0])
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return float(next(line.split()[1] for line in lines if line.startswith("MemAvailable"))) * 1024
    except (OSError, StopIteration):
        return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")) / 2


def cache_bytes() -> int:
    """Return the size of a core's second-level cache."""
    try:
        return os.sysconf("SC_LEVEL2_CACHE_SIZE") or _USUAL_CACHE
    except (ValueError, OSError):
        return _USUAL_CACHE


def _item(point: Point) -> int:
    return 8 if point.dtype == "float64" else 4
