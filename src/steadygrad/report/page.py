"""A check's report as one HTML page that needs nothing else: no network, no script."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from html import escape
from importlib.resources import files

from steadygrad.finding import Finding
from steadygrad.profile import Profile
from steadygrad.report.finding_card import finding_card
from steadygrad.report.headline import headline
from steadygrad.report.layer_table import known, legend
from steadygrad.report.pairing import Pair, paired
from steadygrad.report.signal_chart import signal_chart

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""

_FORWARD = """<figcaption>Forward: does the signal survive?
<span>q is all of the output; q(1 − c) is what differs between examples, which training needs.</span></figcaption>
{svg}
<ul class="legend">{legend}</ul>"""

_BACKWARD = """<figcaption>Backward: does the gradient survive?
<span>Second moment of the loss gradient at each layer's output; it travels from right to left.</span></figcaption>
{svg}
<ul class="legend">{legend}</ul>"""

# Colour, mark, words, and the profile that it needs.
_KEYS = {
    "forward": (
        ("q", "area", "q, predicted 95% band", "predicted"),
        ("q", "dot", "q, measured", "measured"),
        ("signal", "dash", "q(1 − c), predicted", "predicted"),
        ("signal", "dot", "q(1 − c), measured", "measured"),
    ),
    "backward": (
        ("grad", "area", "grad_q, predicted 95% band", "predicted"),
        ("grad", "dot", "grad_q, measured", "measured"),
    ),
}


def render(
    findings: Sequence[Finding],
    *,
    predicted: Profile | None = None,
    measured: Profile | None = None,
    checked: Sequence[str] = (),
    skipped: Sequence[str] = (),
    notes: Sequence[str] = (),
    title: str = "steadygrad",
) -> str:
    """Return the report as an HTML page, light or dark as its reader's system is.

    Args:
        findings: ranked root causes, each with its consequences.
        predicted: the predicted profile, for the charts and the table.
        measured: the measured one.
        checked: codes of the rules that looked.
        skipped: codes of those that had nothing to look at.
        notes: what could not be looked at, in words.
        title: what was checked, such as the file's name.

    >>> "Clean: 1 rule found nothing." in render([], checked=["INI001"])
    True
    """
    pairs = paired(predicted, measured)
    head = headline(findings, checked, skipped, measured=measured)
    parts = [
        f'<header><p>steadygrad check · {escape(title)}</p><h1 class="{"" if findings else "clean"}">{head}</h1>'
        f"<p>{escape(_measured_on(measured))}</p></header>",
        *map(finding_card, findings),
        _charts(pairs, [name for name, of in (("predicted", predicted), ("measured", measured)) if of]),
        _table(pairs),
        _footer(checked, skipped, [*(predicted.unknown if predicted else ()), *notes]),
    ]
    style = files("steadygrad.report").joinpath("page.css").read_text(encoding="utf-8")
    return _PAGE.format(title=escape(f"{title} · {head}"), style=style, body="\n".join(filter(None, parts)))


def _measured_on(measured: Profile | None) -> str:
    if measured is None:
        return "Nothing was measured."
    return f"Measured on one batch of {measured.batch_size} examples; loss {measured.loss:.3g}."


def _charts(pairs: Sequence[Pair], present: Collection[str]) -> str:
    forward = _figure(_FORWARD, signal_chart(pairs, "forward"), _legend(_KEYS["forward"], present))
    backward = _figure(_BACKWARD, signal_chart(pairs, "backward"), _legend(_KEYS["backward"], present))
    if not forward and not backward:
        return ""
    return f'<h2>Scale by layer</h2>\n<div class="charts">\n{forward}\n{backward}\n</div>'


def _figure(template: str, svg: str | None, legend: str) -> str:
    return "" if svg is None else f"<figure>{template.format(svg=svg, legend=legend)}</figure>"


def _legend(keys: Sequence[tuple[str, str, str, str]], present: Collection[str]) -> str:
    return "\n".join(
        f'<li style="--c: var(--{color})"><i class="{mark}"></i>{words}</li>'
        for color, mark, words, needed in keys
        if needed in present
    )


def _table(pairs: Sequence[Pair]) -> str:
    columns = known(pairs)
    if not pairs:
        return ""
    titles = "".join(f"<th>{escape(title)}</th>" for title in ("layer", "kind", *(c.title for c in columns)))
    rows = []
    for pair in pairs:
        cells = [f'<td class="mono">{escape(pair.path or "(model)")}</td><td>{escape(pair.kind)}</td>']
        for column in columns:
            text = column.text(pair)
            outside = ' class="outside" title="outside of the predicted band"' if text.style else ""
            cells.append(f"<td{outside}>{escape(text.plain)}</td>")
        rows.append(f"<tr>{''.join(cells)}</tr>")
    body = "\n".join(rows)
    return (
        f'<h2>Layer by layer</h2>\n<div class="scroll"><table><thead><tr>{titles}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody></table></div>\n<p>{escape(legend(pairs))}</p>"
    )


def _footer(checked: Sequence[str], skipped: Sequence[str], notes: Sequence[str]) -> str:
    lines = [f"Note: {note}" for note in notes]
    if checked:
        lines.append(f"Rules that looked: {', '.join(sorted(checked))}.")
    if skipped:
        lines.append(f"Rules that had nothing to look at: {', '.join(sorted(skipped))}.")
    lines.append("A value in bold red lies outside of the band that 95% of draws of these weights fall into.")
    return f"<footer>{''.join(f'<p>{escape(line)}</p>' for line in lines)}</footer>"
