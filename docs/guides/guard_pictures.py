"""Draw the pictures of the guide to the guard: `python -m docs.guides.guard_pictures` from the root of the repository.

The run: a chain of eight layers with one weight u each and a last one v, y = u⁸ v x, which is to copy its input, seen
with noise. Behind the valley u⁸ v = 1 the loss rises like u¹⁶: a cliff. The same batches and learning rate four times:
without clipping, by value, by norm, guarded.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import altair as alt
import torch
from torch import nn

from steadygrad.guard import Guard, clip

HERE = Path(__file__).parent / "pictures"
START, RATE, STEPS, BAD, NOISE = (1.5, 1.0), 0.01, 120, 30, 0.03
RUNS = ("without clipping", "by value", "by norm", "guarded")
COLORS = alt.Scale(domain=list(RUNS), range=["#d62728", "#ff7f0e", "#1f77b4", "#2ca02c"])
# The guarded run covers that by norm until something goes wrong: its dashes let the other show through.
DASHES = alt.StrokeDash(
    "run:N", legend=None, scale=alt.Scale(domain=list(RUNS), range=[[1, 0], [1, 0], [1, 0], [5, 5]])
)
# Beyond this a curve leaves the picture: what is larger is drawn at the edge.
SMALLEST, LARGEST = 1e-4, 1e6


class Chain(nn.Module):
    """y = u⁸ v x."""

    def __init__(self) -> None:
        super().__init__()
        self.u, self.v = (nn.Parameter(torch.tensor(value, dtype=torch.float64)) for value in START)

    def forward(self, x_B: torch.Tensor) -> torch.Tensor:
        """Apply the chain to a batch of numbers."""
        return self.u**8 * self.v * x_B


def policy(run: str) -> clip.Policy | None:
    """The clipping of a run."""
    match run:
        case "without clipping":
            return None
        case "by value":
            return clip.ByValue(1.0)
        case "by norm" | "guarded":
            return clip.ByNorm(1.0)
    raise AssertionError(run)


def trained(run: str, *, bad: bool) -> tuple[list[dict[str, Any]], clip.Policy | None, list[Any]]:
    """A row a step, the policy with its statistics, and the guard's events; with a NaN in one batch where asked."""
    model, clipping, events = Chain(), policy(run), []
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE)
    guard = Guard(model, optimizer, clip=clipping, sink=events.append)
    generator, rows = torch.Generator().manual_seed(0), []
    for step in range(STEPS):
        x_B = torch.randn(32, generator=generator, dtype=torch.float64)
        if bad and step == BAD:
            x_B[0] = math.nan
        target_B = x_B + NOISE * torch.randn(32, generator=generator, dtype=torch.float64)
        loss = nn.functional.mse_loss(model(x_B), target_B)
        rows.append({"run": run, "step": step, "u": model.u.item(), "v": model.v.item(), "loss": loss.item()})
        if run == "guarded":
            guard.step(loss)
        else:
            plain_step(model, optimizer, clipping, loss)
    return rows, clipping, events


def plain_step(
    model: nn.Module, optimizer: torch.optim.Optimizer, clipping: clip.Policy | None, loss: torch.Tensor
) -> None:
    """Backward, clip, step, as a loop without a guard has it."""
    optimizer.zero_grad()
    loss.backward()
    if clipping is not None:
        clipping(model.parameters())
    optimizer.step()


def landscape() -> alt.Chart:
    """The logarithm of the loss over both weights."""
    us, vs = [0.9 + 0.01 * i for i in range(71)], [0.3 + 0.02 * i for i in range(46)]
    cells = [
        {"u": u, "u2": u + 0.011, "v": v, "v2": v + 0.022, "loss": math.log10(max((u**8 * v - 1) ** 2, 1e-3))}
        for u in us
        for v in vs
    ]
    return (
        alt.Chart(alt.Data(values=cells))
        .mark_rect()
        .encode(
            x=alt.X("u:Q", title="u", axis=alt.Axis(grid=False), scale=alt.Scale(domain=[0.9, 1.6])),
            x2="u2:Q",
            y=alt.Y("v:Q", title="v", axis=alt.Axis(grid=False), scale=alt.Scale(domain=[0.3, 1.2])),
            y2="v2:Q",
            color=alt.Color("loss:Q", title="log loss", scale=alt.Scale(scheme="greys")),
        )
    )


def until_outside(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A run's rows up to the first outside the landscape, which the edge of the picture cuts."""
    inside = [0.9 <= r["u"] <= 1.6 and 0.3 <= r["v"] <= 1.2 for r in rows]
    return rows[: inside.index(False) + 1] if False in inside else rows


def paths(rows: list[dict[str, Any]]) -> alt.LayerChart:
    """Where each run goes on the landscape; the unclipped one leaves it with its first step."""
    inside = [r for run in RUNS for r in until_outside([r for r in rows if r["run"] == run])]
    lines = (
        alt.Chart(alt.Data(values=inside))
        .mark_line(clip=True)
        .encode(
            x=alt.X("u:Q", title="u"),
            y=alt.Y("v:Q", title="v"),
            order="step:Q",
            color=alt.Color("run:N", scale=COLORS, legend=alt.Legend(title="run")),
            strokeDash=DASHES,
        )
    )
    return (
        alt.layer(landscape(), lines)
        .resolve_scale(color="independent")
        .properties(width=460, height=320, title="Down a cliff into the valley, four ways from (1.5, 1)")
    )


def losses(rows: list[dict[str, Any]]) -> alt.LayerChart:
    """The loss of each run; a curve ends where the loss is no number any more."""
    seen = [{**r, "loss": min(max(r["loss"], SMALLEST), LARGEST)} for r in rows if not math.isnan(r["loss"])]
    lines = (
        alt.Chart(alt.Data(values=seen))
        .mark_line()
        .encode(
            x=alt.X("step:Q"),
            y=alt.Y("loss:Q", scale=alt.Scale(type="log", domain=[SMALLEST, LARGEST]), title="loss"),
            color=alt.Color("run:N", scale=COLORS, legend=alt.Legend(title="run")),
            strokeDash=DASHES,
        )
    )
    mark = alt.Chart(alt.Data(values=[{"step": BAD}])).mark_rule(strokeDash=[2, 3]).encode(x="step:Q")
    title = f"The same runs with one NaN in batch {BAD}: a curve ends where the loss is NaN"
    return alt.layer(lines, mark).properties(width=560, height=280, title=title)


def turned(clipping: clip.Policy) -> alt.Chart:
    """By how many degrees clipping by value turned the direction, step by step."""
    angles = [{"step": i, "degrees": math.degrees(a)} for i, a in enumerate(clipping.statistics.angles)]
    title = "Clipping by value turns the step away from the gradient"
    return (
        alt.Chart(alt.Data(values=angles))
        .mark_line(color="#ff7f0e")
        .encode(x="step:Q", y=alt.Y("degrees:Q", title="angle, degrees"))
        .properties(width=560, height=160, title=title)
    )


def summary(run: str, rows: list[dict[str, Any]], clipping: clip.Policy | None, events: list[Any]) -> str:
    """One line of the guide's table."""
    rate = f"{clipping.statistics.rate:.0%}" if clipping is not None else "-"
    skipped = sum(event.code == "GRD002" for event in events)
    largest, final = max(r["loss"] for r in rows), rows[-1]["loss"]
    return f"{run:18} final loss {final:10.3g}  largest {largest:10.3g}  clipped {rate}  skipped {skipped}"


def main() -> None:
    """Write every picture as SVG, and print what the guide quotes."""
    HERE.mkdir(exist_ok=True)
    for bad in (False, True):
        lines = ["with a NaN" if bad else "without a NaN"]
        results = {run: trained(run, bad=bad) for run in RUNS}
        for run, (rows, clipping, events) in results.items():
            lines.append(summary(run, rows, clipping, events))
        every = [row for rows, _, _ in results.values() for row in rows]
        if bad:
            losses(every).save(HERE / "cliff-losses.svg")
            lines += [event.message for event in results["guarded"][2] if event.code != "GRD001"]
        else:
            paths(every).save(HERE / "cliff-paths.svg")
            by_value = results["by value"][1]
            assert by_value is not None
            lines.append(f"largest angle {math.degrees(max(by_value.statistics.angles)):.1f} degrees")
            turned(by_value).save(HERE / "cliff-angles.svg")
        sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
