"""Populations in processes on this machine, each with one thread; a process that is killed loses one task at most."""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections.abc import Generator, Iterator, Sequence
from multiprocessing.connection import Connection, wait

import torch

from steadygrad.study.outcome import Outcome
from steadygrad.study.population.lockstep import train

from .environment import deaf_to_interrupts, worker_environment
from .tasks import Population, Task, Tasks, WorkerLostError

READY = "ready"
# A worker that was told to end has nothing to finish; a moment later it is killed.
_GRACE_SECONDS = 2.0


class Processes:
    """Trains in worker processes that are started anew, so that nothing of this process is shared.

    They are started as they are needed, about two seconds each for their imports, and kept from call to call until the
    runner is closed; those that are busy when a call ends early, by an error or Ctrl-C, end with it.

    A script that uses it must start its work under ``if __name__ == "__main__":``, as with any spawned process.

    Args:
        workers: processes.
        device: where each of them trains.
    """

    def __init__(self, workers: int, device: str = "cpu") -> None:
        self.slots = self.sharing = workers
        self._device = device
        self._idle: list[_Worker] = []

    def __call__(self, populations: Sequence[Population]) -> Generator[list[Outcome], None, None]:
        """Yield the outcomes of each population as it ends.

        Raises:
            WorkerLostError: workers die as they start, or again and again with the same population.
        """
        tasks = Tasks(populations, slots=self.slots)
        crew: list[_Worker] = []
        try:
            crew.extend(self._worker() for _ in range(min(self.slots, len(populations))))
            for worker in crew:
                worker.give(tasks.take())
            while busy := [worker for worker in crew if worker.task]:
                ready = wait([worker.connection for worker in busy])
                for worker in [w for w in busy if w.connection in ready]:
                    yield from _heard(worker, tasks, crew)
        finally:
            self._idle += [worker for worker in crew if not worker.task]
            for worker in crew:
                if worker.task:
                    worker.end()

    def _worker(self) -> _Worker:
        return self._idle.pop() if self._idle else _Worker(self._device)

    def close(self) -> None:
        """End the worker processes."""
        while self._idle:
            self._idle.pop().end()


def _heard(worker: _Worker, tasks: Tasks, crew: list[_Worker]) -> Iterator[list[Outcome]]:
    """What a worker says: outcomes, an error, or, by its end, that it was lost."""
    try:
        said = worker.connection.recv()
    except (EOFError, OSError):
        crew[crew.index(worker)] = worker.replaced(tasks)
        return
    if isinstance(said, BaseException):
        raise said
    if said == READY:
        worker.started = True
        return
    seconds = worker.ended_one()
    tasks.ended([worker.task.pop(0)], seconds=seconds)
    if not worker.task:
        worker.give(tasks.take())
    yield said


class _Worker:
    """One process, what it was given, and the pipe to it."""

    def __init__(self, device: str) -> None:
        self._device, self.task, self.started = device, Task(), False
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, device), daemon=True)
        with worker_environment(), deaf_to_interrupts():
            self._process.start()
        theirs.close()  # so that the end of the process ends the pipe
        self._since = time.monotonic()

    def give(self, task: Task) -> None:
        """Send a task; an empty one is none."""
        self.task, self._since = list(task), time.monotonic()
        if task:
            try:
                self.connection.send(task)
            except OSError:
                return  # it was lost just now: reading from it will say so

    def ended_one(self) -> float:
        """Return the seconds since the last population of this worker ended."""
        now = time.monotonic()
        seconds, self._since = now - self._since, now
        return seconds

    def replaced(self, tasks: Tasks) -> _Worker:
        """Return a new worker for one that was lost, with a task; what the lost one had is given back first."""
        if not self.started:
            raise WorkerLostError(
                "a worker process ended as it started: a script that uses `workers` must call `run` under "
                '`if __name__ == "__main__":`.'
            )
        tasks.lost(self.task)
        self.end()
        made = _Worker(self._device)
        made.give(tasks.take())
        return made

    def end(self) -> None:
        """End the process, whatever it does."""
        self.connection.close()
        self._process.terminate()
        self._process.join(_GRACE_SECONDS)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._process.close()


def _serve(connection: Connection, device: str) -> None:
    """Train what comes until the pipe ends, which it also does where the parent is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # for whatever takes the mask off; the parent decides
    torch.set_num_threads(1)
    try:
        connection.send(READY)
        while True:
            for population in connection.recv():
                connection.send(_trained(population, device))
    except (EOFError, OSError):
        return


def _trained(population: Population, device: str) -> list[Outcome] | Exception:
    try:
        return train(population, device=device)
    except Exception as error:
        return error
