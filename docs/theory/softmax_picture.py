"""Draw softmax.svg: the error of the naive and of the shifted softmax against the range of the logits.

python docs/theory/softmax_picture.py
"""

from __future__ import annotations

from pathlib import Path

import altair as alt
import numpy as np

from steadygrad import numerics

LENGTH, ROWS, UNIT = 100, 200, 2.0**-24
NAIVE, STABLE, BOUND = "naive: exp(x) / sum exp(x)", "steadygrad.numerics.softmax", "bound: (n + 4 + 2R) u"
LOST = 1.0  # where the result is NaN, all is lost: a relative error of 1


def naive(x: np.ndarray) -> np.ndarray:
    """Return exp over its sum, as it is written on paper."""
    with np.errstate(all="ignore"):
        e = np.exp(x)
        return e / e.sum(-1, keepdims=True)


def largest_error(p: np.ndarray, x: np.ndarray) -> float:
    """Return the largest relative error of what single precision can hold, against double precision."""
    wide = x.astype(np.float64)
    exact = np.exp(wide - wide.max(-1, keepdims=True))
    exact /= exact.sum(-1, keepdims=True)
    held = exact > np.finfo(np.float32).tiny
    error = np.abs(p - exact)[held] / exact[held]
    return LOST if np.isnan(p).any() else float(error.max())


def measured() -> list[dict[str, object]]:
    """Return the rows of the picture's table: logits uniform in [0, R], in single precision."""
    rng, rows = np.random.default_rng(0), []
    for span in np.unique(np.concatenate([np.logspace(-1, 4, 61), [88.0, 89.0]])):
        x = rng.uniform(0, span, (ROWS, LENGTH)).astype(np.float32)
        x[:, 0], x[:, 1] = 0, span
        for name, error in (
            (NAIVE, largest_error(naive(x), x)),
            (STABLE, largest_error(numerics.softmax(x), x)),
            (BOUND, (LENGTH + 4 + 2 * span) * UNIT),
        ):
            rows.append({"range": float(span), "error": error, "form": name})
    return rows


def chart(rows: list[dict[str, object]]) -> alt.Chart:
    """Return the chart."""
    x = alt.X("range:Q", title="R = max x - min x", scale=alt.Scale(type="log"))
    y = alt.Y("error:Q", title="largest relative error", scale=alt.Scale(type="log"), axis=alt.Axis(format=".0e"))
    color = alt.Color(
        "form:N", title=None, sort=[NAIVE, STABLE, BOUND], legend=alt.Legend(orient="top", labelLimit=400)
    )
    dash = alt.condition(alt.datum.form == BOUND, alt.value([4, 4]), alt.value([1, 0]))
    title = "Single precision, 200 rows of 100 logits: NaN (drawn at 1) from R = 88 on, against a bounded error"
    data = alt.Data(values=rows)
    return alt.Chart(data, title=title, width=640, height=360).mark_line().encode(x, y, color, strokeDash=dash)


if __name__ == "__main__":
    chart(measured()).save(str(Path(__file__).with_name("softmax.svg")))
