"""Populations on a Ray cluster: tasks of seconds, tried again where a node is lost, their outcomes gathered here."""

from __future__ import annotations

import socket
import time
from collections.abc import Generator, Sequence
from typing import Any

import torch

from steadygrad.errors import SetupError
from steadygrad.study.outcome import Outcome
from steadygrad.study.population.lockstep import train

from .tasks import MOST_LOSSES, Population, Task, Tasks, WorkerLostError

# Tasks in flight for each processor: one runs, one waits at the node, so that none stands still for the network.
_IN_FLIGHT = 2
# How long a cluster may take to take a connection.
_ANSWER_SECONDS = 10.0


class OnRay:
    """Trains on the processors of a Ray cluster, or on its GPUs where the device is one.

    Every node needs this package and the data. Ray itself starts a task again that was lost with its node, and makes
    anew a result that was.

    Args:
        address: of the cluster; "auto" finds a running one, "local" starts one on this machine.
        device: where a task trains.

    Raises:
        SetupError: Ray is not installed, or there is no such cluster.
    """

    def __init__(self, address: str, device: str = "cpu") -> None:
        self._ray, self._address, self._device = _imported(), address, device
        self._connected = False
        self._connect()

    # What the nodes have is not known here: as much as this machine, for each task.
    sharing = 1

    @property
    def slots(self) -> int:
        """How many tasks the cluster runs at once, now."""
        resource = "CPU" if self._device == "cpu" else "GPU"
        return max(int(self._ray.cluster_resources().get(resource, 0)), 1)

    def __call__(self, populations: Sequence[Population]) -> Generator[list[Outcome], None, None]:
        """Yield the outcomes of each task's populations as the task ends."""
        self._connect()
        tasks = Tasks(populations, slots=self.slots)
        remote = self._ray.remote(_train_all).options(
            num_cpus=1,
            num_gpus=0 if self._device == "cpu" else 1,
            max_retries=MOST_LOSSES,
            scheduling_strategy="SPREAD",
        )
        flying: dict[Any, Task] = {}
        try:
            while flying or tasks.left:
                while tasks.left and len(flying) < _IN_FLIGHT * self.slots:
                    task = tasks.take()
                    flying[remote.remote(task, self._device)] = task
                ready, _ = self._ray.wait(list(flying), num_returns=1)
                seconds, outcomes = self._result(ready[0])
                tasks.ended(flying.pop(ready[0]), seconds=seconds)
                yield outcomes
        finally:
            for reference in flying:
                self._ray.cancel(reference, force=True)

    def close(self) -> None:
        """Leave the cluster, and end it if it was started here; one that the caller had joined stays joined."""
        if self._connected:
            self._ray.shutdown()
            self._connected = False

    def _result(self, reference: Any) -> tuple[float, list[Outcome]]:
        try:
            result: tuple[float, list[Outcome]] = self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            raise error.cause from None
        except self._ray.exceptions.RayError as error:
            raise WorkerLostError(f"Ray lost a task {MOST_LOSSES} times: {' '.join(str(error).split())}") from error
        return result

    def _connect(self) -> None:
        if self._ray.is_initialized():
            return
        address = self._address
        try:
            _check_answers(address)
            self._ray.init(address=address, log_to_driver=False, logging_level="ERROR", include_dashboard=False)
        except (OSError, ValueError, RuntimeError) as error:
            raise SetupError(f"there is no Ray cluster at {address!r}: {' '.join(str(error).split())}") from error
        self._connected = True


def _check_answers(address: str) -> None:
    """Raise an `OSError` where HOST:PORT does not take a connection: Ray itself would try for half an hour."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWER_SECONDS).close()


def _train_all(task: Task, device: str) -> tuple[float, list[Outcome]]:
    """Train a task's populations with one thread; return the seconds that it took, and the outcomes."""
    torch.set_num_threads(1)
    started = time.monotonic()
    outcomes = [outcome for population in task for outcome in train(population, device=device)]
    return time.monotonic() - started, outcomes


def _imported() -> Any:
    try:
        import ray
    except ImportError:
        raise SetupError("`ray` needs Ray: pip install 'steadygrad[ray]'.") from None
    return ray
