"""The page that stands in docs/accuracy.md: shares with their Wilson intervals, and a row a case."""

import math
import statistics
from collections.abc import Iterable
from typing import Any

Line = dict

_Z = 1.959963984540054


def wilson(hits: int, of: int) -> tuple[float, float]:
    """The 95% interval of a share (Wilson 1927).

    >>> [round(x, 3) for x in wilson(0, 10)]
    [0.0, 0.278]
    """
    if not of:
        return math.nan, math.nan
    p, z2 = hits / of, _Z**2 / of
    middle, half = p + z2 / 2, _Z * math.sqrt(p * (1 - p) / of + z2 / of / 4)
    return max((middle - half) / (1 + z2), 0.0), min((middle + half) / (1 + z2), 1.0)


def share(found: Iterable[bool]) -> str:
    """A share as the page writes it."""
    hits = list(found)
    low, high = wilson(sum(hits), len(hits))
    return f"{sum(hits)}/{len(hits)} = {sum(hits) / len(hits):.3f} ({low:.3f}–{high:.3f})" if hits else "–"


def figures(lines: list[Line], cases: dict, *, codes: bool) -> list[tuple[str, str]]:
    """The rows of one tool's column."""
    faulty = [line for line in lines if line["faulty"]]
    control = [line for line in lines if not line["faulty"] and cases[line["case"]].expect]
    healthy = [line for line in lines if not cases[line["case"]].expect]
    alarm = {(line["case"], line["seed"]): bool(line.get("codes")) for line in control}
    told = [bool(f.get("codes")) and not alarm[f["case"], f["seed"]] for f in faulty if (f["case"], f["seed"]) in alarm]
    first = [f.get("codes", [])[:1] for f in faulty]
    hit = [bool(code) and code[0] in cases[f["case"]].expect for code, f in zip(first, faulty, strict=True)]
    noise = [sum(c not in cases[f["case"]].expect + cases[f["case"]].also for c in f.get("codes", [])) for f in faulty]
    seconds = [line["seconds"] for line in lines]
    return [
        ("faulty runs with a finding", share(bool(f.get("codes")) for f in faulty)),
        ("false alarms, controls", share(alarm.values())),
        ("false alarms, healthy", share(bool(h.get("codes")) for h in healthy)),
        ("faulty flagged and its control not", share(told)),
        ("first finding right", share(hit) if codes else "–"),
        ("further findings per faulty run", f"{statistics.mean(noise):.2f}" if codes and noise else "–"),
        ("crashes", str(sum("crash" in line for line in lines))),
        ("seconds, median and most", f"{statistics.median(seconds):.2f}, {max(seconds):.2f}" if seconds else "–"),
    ]


def page(by_tool: dict[str, list[Line]], cases: dict, seeds: int) -> str:
    """The whole page, Markdown."""
    columns = {tool: figures(lines, cases, codes=tool.startswith("steadygrad")) for tool, lines in by_tool.items()}
    head = f"| | {' | '.join(columns)} |\n|---{'|---' * len(columns)}|"
    rows = [
        f"| {name} | {' | '.join(column[i][1] for column in columns.values())} |"
        for i, (name, _) in enumerate(next(iter(columns.values())))
    ]
    return _PAGE.format(seeds=seeds, table="\n".join([head, *rows]), cases=_cases(by_tool["steadygrad"], cases))


def _cases(lines: list[Line], cases: dict) -> str:
    head = "| case | expected first | first, by seed | alarms on the control |\n|---|---|---|---|"
    rows = [_row(name, case, [x for x in lines if x["case"] == name]) for name, case in cases.items()]
    return "\n".join([head, *rows])


def _row(name: str, case: Any, lines: list[Line]) -> str:
    first = " ".join(_first(line) for line in lines if line["faulty"])
    alarms = " ".join(code for line in lines if not line["faulty"] for code in line.get("codes", []))
    return f"| {name} | {' '.join(case.expect) or 'healthy'} | {first} | {alarms} |"


def _first(line: Line) -> str:
    return "crash" if "crash" in line else (line["codes"] or ["–"])[0]


_PAGE = """# Accuracy

What `check` says of the setups of [benchmarks/cases](../benchmarks/cases/README.md): faulty ones, each with a control
in which only the fault is removed, and sound ones that look a little like broken ones. Number of
seeds: {seeds}; shares with their 95% Wilson intervals. Runs of one case are alike, so that the
intervals are narrower than those over new cases would be; and the rules were written beside these cases: how well they
do on others, only others can tell. `make accuracy` writes this page.

{table}

A finding counts at warn or error. torchmortem watches 200 steps of a plain loop; torch-audit sees the model with a
batch before the first step and after one backward pass. Their findings have no codes that could be compared with the
expected ones, so that only whether they speak is counted. Seconds are processor seconds of one thread on the machine
that wrote the page.

## By case

{cases}
"""
