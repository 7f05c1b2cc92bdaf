"""Data that a worker process cannot load, for test_processes.py."""

import multiprocessing
import os
import signal

from steadygrad.study.data import gaussian


def deadly():
    if multiprocessing.parent_process() is not None:
        os.kill(os.getpid(), signal.SIGKILL)
    return gaussian()


def broken():
    if multiprocessing.parent_process() is not None:
        raise OSError("the share is not mounted")
    return gaussian()
