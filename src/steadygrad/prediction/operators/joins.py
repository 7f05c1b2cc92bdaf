"""Joins: tensors put side by side along their features.

The joined tensor has the mean of the parts' moments, by their sizes, and is taken as Gaussian with them: exact for the
moments themselves, approximate for a nonlinear function of parts whose second moments differ.
"""

from __future__ import annotations

from typing import Any

import torch

from steadygrad.prediction.interpreter import Call, Interpreter, Rule
from steadygrad.prediction.normal import gaussian
from steadygrad.prediction.source import Wave
from steadygrad.prediction.spread import CERTAIN, Spread
from steadygrad.prediction.values import Moments, Signal, Value

from .positions import as_signal

aten = torch.ops.aten


def cat(run: Interpreter, call: Call) -> Value:
    """Parts along a feature axis, weighted by their sizes."""
    dim = call.args[1] if len(call.args) > 1 else 0
    parts = [as_signal(run, run.value(t)) for t in call.args[0]]
    if dim % call.out.dim() == 0 or not parts or any(p is None or p.base is not None for p in parts):
        return run.lost(f"{call.name} along the examples, or of something that is no signal")
    signals = [p for p in parts if p is not None]
    moments = _mixed(signals, [t.numel() / call.out.numel() for t in call.args[0]])
    source, ancestors = gaussian(moments, max(call.out.numel() // run.batch.size, 1), run.batch), 0
    for signal in signals:
        ancestors |= signal.ancestors
    return Signal(moments, Wave(source, source.nodes, gaussian=True), None, ancestors, None, "approximate")


def _mixed(signals: list[Signal], shares: list[float]) -> Moments:
    """Return the moments of parts that take these shares of all entries."""
    parts = [(share, signal.moments) for share, signal in zip(shares, signals, strict=True)]
    mean, q, d = (sum(share * getattr(m, name) for share, m in parts) for name in ("mean", "q", "d"))
    whole: Spread = CERTAIN
    for share, m in parts:
        whole = whole.plus(m.spread.scaled(share * float(m.q.mean()) / max(float(q.mean()), 1e-300)))
    return Moments(mean, q, d, whole)


RULES: dict[Any, Rule] = {aten.cat: cat}
