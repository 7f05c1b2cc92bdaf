"""Draw the pictures of the guide to initialization: `python -m docs.guides.init_pictures` from the repository's root.

One draw each of a tanh network of 300 layers of 64 units, initialized four ways, and what each layer's second moment
and gradient are on 32 examples.
"""

from __future__ import annotations

from pathlib import Path

import altair as alt
import torch
from torch import nn

import steadygrad as sg

HERE = Path(__file__).parent / "pictures"
DEPTH, WIDTH = 300, 64
WAYS = ("torch's default", "Xavier", "orthogonal, gain 1", "plan: critical")
COLORS = alt.Scale(domain=list(WAYS), range=["#d62728", "#ff7f0e", "#1f77b4", "#2ca02c"])
SMALLEST = 1e-12  # what is smaller is drawn at the edge


def network() -> nn.Sequential:
    """The network, its head apart."""
    layers = [part for _ in range(DEPTH) for part in (nn.Linear(WIDTH, WIDTH), nn.Tanh())]
    return nn.Sequential(*layers, nn.Linear(WIDTH, 10))


def initialized(way: str, x: torch.Tensor) -> nn.Sequential:
    """The network, initialized in one of four ways."""
    torch.manual_seed(0)
    model = network()
    match way:
        case "torch's default":
            return model
        case "Xavier":
            return sg.init.xavier_normal_(model)
        case "orthogonal, gain 1":
            return sg.init.orthogonal_(model)
        case "plan: critical":
            sg.init.plan(model, x, distribution="orthogonal").apply_()
            return model
    raise AssertionError(way)


def rows(way: str) -> list[dict[str, object]]:
    """What differs between examples, and the gradient, layer by layer, relative to the ends they start from."""
    x = torch.randn(32, WIDTH, generator=torch.Generator().manual_seed(1))
    layers = [row for row in sg.measure(initialized(way, x), x) if row.kind == "Linear"][:-1]
    first, last = layers[0].signal, layers[-1].grad_q
    found: list[dict[str, object]] = []
    for depth, row in enumerate(layers, 1):
        values = {
            "signal, of the first layer's": row.signal / first,
            "gradient, of the last layer's": row.grad_q / last,
        }
        found += [{"layer": depth, "what": k, "value": max(v, SMALLEST), "way": way} for k, v in values.items()]
    return found


def chart(values: list[dict[str, object]]) -> alt.Chart:
    """Signal and gradient over the depth, side by side."""
    return (
        alt.Chart(alt.Data(values=values))
        .mark_line(clip=True)
        .encode(
            x=alt.X("layer:Q"),
            y=alt.Y("value:Q", scale=alt.Scale(type="log", domain=[SMALLEST, 1e4]), title="second moment"),
            color=alt.Color("way:N", scale=COLORS, legend=alt.Legend(title="initialized by")),
            column=alt.Column("what:N", title=None, sort="descending"),
        )
        .properties(width=300, height=260, title=f"A tanh network of {DEPTH} layers of {WIDTH} units")
    )


def main() -> None:
    """Write the picture as SVG."""
    HERE.mkdir(exist_ok=True)
    chart([row for way in WAYS for row in rows(way)]).save(HERE / "init-depth.svg")


if __name__ == "__main__":
    main()
