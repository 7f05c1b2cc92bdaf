"""Gain, slope, chi_1 and correlation maps against `dks` and `neural-tangents`, and against their own bounds.

The peers are no dependency. Install them in an environment of their own, and run there:

    python -m venv /tmp/peers && /tmp/peers/bin/pip install dks absl-py numpy scipy neural-tangents
    PYTHONPATH=src /tmp/peers/bin/python -m benchmarks.theory
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np

from benchmarks.bounds import end, verdict
from steadygrad import theory

C = np.linspace(-1, 1, 101)
REPEATS = 7
MANY = 20  # calls of microseconds that are timed together


def seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def interleaved(*calls: Callable[[], Any], repeats: int = REPEATS) -> list[float]:
    """Medians of calls measured in turn."""
    times = [[seconds(call) for call in calls] for _ in range(repeats + 1)][1:]
    return [statistics.median(column) for column in zip(*times, strict=True)]


def row(what: str, measured: str, bound: str, holds: bool) -> None:
    print(f"{what:<56} {measured:>24} {bound:>22}  {verdict(holds)}")


def own_bounds() -> None:
    """The bounds of the theory itself."""
    names = [name for name in theory.NAMES if name not in ("rrelu",)]
    cold = seconds(lambda: [theory.gain(name) for name in names])
    row(f"gain table of {len(names)} activations, first call", f"{cold * 1e3:.1f} ms", "<= 50 ms", cold <= 0.05)
    map_bounds()
    (t,) = interleaved(lambda: theory.edge_of_chaos_curve("tanh"))
    row("edge of chaos of tanh, 200 points", f"{t * 1e3:.1f} ms", "<= 100 ms", t <= 0.1)


def map_bounds() -> None:
    """Maps of 101 points at variances not seen before, for the whole catalogue."""
    for name in theory.NAMES:
        bound = 1e-3 if theory.activation(name).closed.gap is not None else 2e-3
        fields, slowest = [], 0.0
        for q in (1e-6, 1.0, 37.0, 1e4):
            try:
                (t,) = interleaved(_at_a_new_q(name, q), repeats=9)
            except ValueError:  # no mass where the shrinks are not 0
                fields.append("-")
                continue
            slowest = max(slowest, t)
            fields.append(f"{t * 1e3:.2f}")
        measured = f"{' / '.join(fields)} ms"
        row(f"map of {name}, new q near 1e-6 / 1 / 37 / 1e4", measured, f"<= {bound * 1e3:g} ms", slowest <= bound)


def _at_a_new_q(phi: str, q: float = 1.0) -> Callable[[], Any]:
    variances = iter(q * (1.0 + 1e-3 * k) for k in range(10_000))
    return lambda: theory.correlation_map(phi, next(variances), C)


def against_dks() -> None:
    """The same numbers by dks, whose map is timed on five points of the 101."""
    if find_spec("dks") is None or find_spec("absl") is None:
        print("dks is not installed here: nothing is compared with it.")
        return
    import autograd.numpy as anp
    from dks.base import activation_transform as dks

    functions = {
        "tanh": anp.tanh,
        "softplus": lambda x: anp.logaddexp(x, 0.0),
        "silu": lambda x: x / (1 + anp.exp(-x)),
    }
    for name, phi in functions.items():

        def theirs(phi: Callable[..., Any] = phi) -> tuple[float, float, float]:
            second = dks._estimate_gaussian_mean(lambda x: phi(x) ** 2)
            return second**-0.5, dks._calc_q_slope_1(phi) / second, dks._calc_c_slope(phi, q_output=second)

        def ours(name: str = name) -> list[theory.Gain]:
            return [theory.gain(name) for _ in range(MANY)]

        t, u = interleaved(theirs, ours)
        got, u = ours()[0], u / MANY
        apart = max(abs(a / b - 1) for a, b in zip(theirs(), (got.gain, got.stability, got.chi_1), strict=True))
        what = f"{name}: gain, slope, chi_1 ({t * 1e3:.1f} ms / {u * 1e6:.0f} us)"
        row(what, f"{t / u:.0f} times, {apart:.0e} apart", ">= 100 times", t / u >= 100)
        _map_against_dks(dks, name, phi)


def _map_against_dks(dks: Any, name: str, phi: Callable[..., Any]) -> None:
    points = [-0.9, -0.4, 0.3, 0.7, 0.98]
    start = time.perf_counter()
    theirs = [dks._calc_c_map(phi, c=c) for c in points]
    t = (time.perf_counter() - start) / len(points) * C.size
    (u,) = interleaved(_at_a_new_q(name))
    apart = float(np.abs(theory.correlation_map(name, 1.0, points) - theirs).max())
    what = f"{name}: map of 101 points ({t:.1f} s / {u * 1e3:.2f} ms)"
    row(what, f"{t / u:.0f} times, {apart:.0e} apart", ">= 10000 times", t / u >= 10_000)


def against_neural_tangents() -> None:
    """Maps of erf, GELU and ReLU by neural-tangents' closed forms, compiled."""
    if find_spec("neural_tangents") is None:
        print("neural-tangents is not installed here: nothing is compared with it.")
        return
    try:
        import jax
        from neural_tangents import stax
    except Exception as error:
        print(f"neural-tangents is installed but does not import ({error!r:.80}): nothing is compared with it.")
        return
    jax.config.update("jax_enable_x64", True)
    inputs = np.stack([C, np.sqrt(1 - C**2)], axis=1) * 2**0.5
    one = np.array([[2**0.5, 0.0]])
    for name, layer in (("erf", stax.Erf()), ("gelu", stax.Gelu()), ("relu", stax.Relu())):
        kernel = jax.jit(lambda x, y, layer=layer: stax.serial(stax.Dense(1), layer)[2](x, y, "nngp"))

        def theirs(kernel: Callable[..., Any] = kernel) -> np.ndarray:
            return np.asarray(kernel(inputs, one))[:, 0]

        t, u = interleaved(theirs, _at_a_new_q(name))
        values = theirs() / theory.moments(name, 1.0).second
        apart = float(np.abs(values - theory.correlation_map(name, 1.0, C)).max())
        row(
            f"{name}: map of 101 points, neural-tangents {t * 1e3:.2f} ms",
            f"{t / u:.1f} times, {apart:.0e} apart",
            "-",
            True,
        )


def main() -> None:
    own_bounds()
    against_dks()
    against_neural_tangents()


if __name__ == "__main__":
    main()
    end()
