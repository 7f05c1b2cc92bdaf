"""The command line: parsing arguments, nothing else.

Exit status: 0 clean, 1 findings at the chosen level, 2 a usage error or a crash. Each command imports what it needs
when it runs: `explain` never imports torch.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import traceback
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from steadygrad.errors import SteadygradError, did_you_mean, not_allowed, unknown_name
from steadygrad.finding import Level
from steadygrad.streams import writable_streams

if TYPE_CHECKING:
    from steadygrad.diagnosis import Report
    from steadygrad.init import Plan

app = typer.Typer(
    name="steadygrad",
    help="Tell whether a network's signals and gradients survive; why not; and what to change.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Codes = Annotated[
    list[str] | None, typer.Option(metavar="CODE", help="A rule's code; repeat it, or separate by commas.")
]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
EveryRow = Annotated[bool, typer.Option("--all", help="Every row of the table.")]


@app.callback()
def _root() -> None:
    """Tell whether a network's signals and gradients survive; why not; and what to change."""


@app.command()
def explain(
    depth: Annotated[str, typer.Option(metavar="INTEGER", help="Hidden layers.")],
    width: Annotated[str, typer.Option(metavar="INTEGER", help="Units of a hidden layer.")],
    activation: Annotated[str, typer.Option(metavar="NAME", help="Such as relu, tanh, gelu.")],
    init: Annotated[str, typer.Option(metavar="NAME", help="Such as xavier-uniform, he-normal, torch-default.")],
    every_row: EveryRow = False,
    debug: Debug = False,
) -> None:
    """Say from theory alone what becomes of the signal and the gradient of an MLP."""
    from steadygrad import theory
    from steadygrad.numbers import count
    from steadygrad.report import explanation

    layers, units = _whole("--depth", depth), _whole("--width", width)
    profile = theory.mlp(depth=layers, width=units, activation=activation, init=init)
    used, better = theory.initializer(init, activation=activation), theory.recommend(activation)
    already = abs(used.sigma_w(units, units) - better.sigma_w) + abs(used.sigma_b(units) - better.sigma_b) < 1e-9
    text = explanation.render(
        profile,
        title=f"{activation} MLP, {count(layers, 'hidden layer')} of {count(units, 'unit')}, {init}",
        advice="nothing, this is it." if already else better.words,
        code="" if already else better.code,
        width=_columns(),
        color=_color(),
        every_row=every_row,
    )
    typer.echo(text)


@app.command()
def check(
    setup: Annotated[str, typer.Argument(metavar="FILE.py[:NAME]", help="A function that returns a setup.")],
    as_json: Annotated[bool, typer.Option("--json", help="JSON on standard output.")] = False,
    as_sarif: Annotated[bool, typer.Option("--sarif", help="SARIF 2.1.0 on standard output.")] = False,
    html: Annotated[str | None, typer.Option(metavar="OUT", help="Also write the report as an HTML page.")] = None,
    select: Codes = None,
    ignore: Codes = None,
    trial: Annotated[bool, typer.Option("--trial/--no-trial", help="Train a short trial, then put all back.")] = True,
    seconds: Annotated[
        str | None,
        typer.Option(metavar="N", help="Time to take at most, 15 if not given. A large model may need more."),
    ] = None,
    fail_on: Annotated[str, typer.Option(metavar="LEVEL", help="error, warn or info: what gives status 1.")] = "warn",
    static: Annotated[bool, typer.Option("--static", help="Predict alone: no weight is allocated.")] = False,
    inputs: Annotated[
        str | None, typer.Option(metavar="SHAPE", help="With --static: a batch's shape, as 32,784, in place of data.")
    ] = None,
    baseline: Annotated[str | None, typer.Option(metavar="FILE", help="Leave out what this file knows.")] = None,
    write_baseline: Annotated[
        str | None, typer.Option(metavar="OUT", help="Write what is found, for a later --baseline.")
    ] = None,
    fix_init: Annotated[bool, typer.Option("--fix-init", help="Also print a plan of initialization.")] = False,
    write_init: Annotated[
        str | None, typer.Option(metavar="OUT.py", help="Write that plan as code that needs torch alone.")
    ] = None,
    every_row: EveryRow = False,
    debug: Debug = False,
) -> None:
    """Say what keeps a model from training, before it trains."""
    level = _level(fail_on)
    if as_json and as_sarif:
        raise ValueError("`--json` and `--sarif` both write to standard output: choose one.")
    outputs = {"--html": html, "--write-baseline": write_baseline, "--write-init": write_init}
    if any(outputs.values()):
        from steadygrad.report import saving

        for option, out in outputs.items():
            if out is not None:
                saving.check_writable(out, option)
    from steadygrad import diagnosis
    from steadygrad.report.headline import flattened
    from steadygrad.setup import file_of

    shape = None if inputs is None else _shape(inputs)
    if shape is not None and not static:
        raise ValueError("`--inputs` describes a batch that is not there: it goes with `--static`.")
    if seconds is not None and static:
        raise ValueError("`--seconds` is for what is run on data: not with `--static`.")
    planned = fix_init or write_init is not None
    if planned and static:
        raise ValueError("`--fix-init` and `--write-init` plan for the weights that are there: not with `--static`.")
    known = None if baseline is None else diagnosis.Baseline.load(baseline)
    # What the user's code prints must not get between the lines of a report that a program reads.
    with contextlib.redirect_stdout(sys.stderr):
        report, plan = _report(
            setup,
            _codes(select),
            _codes(ignore),
            trial=trial,
            seconds=None if seconds is None else _number("--seconds", seconds),
            static=static,
            inputs=shape,
            planned=planned,
        )
    if write_baseline is not None:
        _write(Path(write_baseline), diagnosis.Baseline.of(report).to_json() + "\n")
    if known is not None:
        report = known.applied(report)
    if html is not None:
        _write(Path(html), _as_page(report, title=setup))
    if as_json:
        typer.echo(json.dumps(report.to_dict(), indent=2))
    elif as_sarif:
        typer.echo(report.to_sarif(file=file_of(setup).as_posix()))
    else:
        typer.echo(_as_text(report, every_row=every_row))
    if plan is not None and fix_init:
        words = plan.text(width=_columns(), color=_color(), every_row=every_row)
        typer.echo(f"\n{words}", err=as_json or as_sarif)
    if plan is not None and write_init is not None:
        _write(Path(write_init), plan.code())
    raise typer.Exit(int(any(finding.level.rank <= level.rank for finding in flattened(report.findings))))


def _report(
    spec: str,
    select: tuple[str, ...],
    ignore: tuple[str, ...],
    *,
    trial: bool,
    seconds: float | None,
    static: bool,
    inputs: tuple[int, ...] | None,
    planned: bool,
) -> tuple[Report, Plan | None]:
    from steadygrad import diagnosis
    from steadygrad.setup import file_of, function_of, load

    settled = diagnosis.Configuration.nearest(file_of(spec).parent)
    if static:
        with function_of(spec) as make:
            found = diagnosis.check_static(make, inputs=inputs, select=select, ignore=ignore, configuration=settled)
        return found, None
    notes: list[str] = []

    def prepared(made: object) -> object:
        given, note = diagnosis.without_used_up_data(made)
        notes.extend([note] if note else [])
        return given

    loaded = load(spec, prepare=prepared)
    longest = diagnosis.LONGEST if seconds is None else seconds
    report = diagnosis.check(loaded, select=select, ignore=ignore, trial=trial, seconds=longest, configuration=settled)
    report = replace(report, notes=(*notes, *report.notes))
    return report, diagnosis.init_plan(loaded) if planned else None


@app.command()
def rule(
    code: Annotated[str | None, typer.Argument(metavar="[CODE]", help="A rule's code; all of them without.")] = None,
    debug: Debug = False,
) -> None:
    """Print a rule's page, or the table of rules."""
    from steadygrad.diagnosis.rules import RULES
    from steadygrad.report import rule_page

    if code is None:
        typer.echo(rule_page.table(RULES.values(), width=_columns()))
        return
    known = {name: found for found in RULES.values() for name in (found.code, found.name)}
    wanted = code.upper() if code.upper() in RULES else code.lower()
    if wanted not in known:
        near = did_you_mean(code, known) or " `steadygrad rule` lists them."
        raise ValueError(not_allowed("rule", "must be a rule's code or name", code) + near)
    typer.echo(rule_page.render(known[wanted]))


@app.command()
def study(
    spec: Annotated[str, typer.Argument(metavar="SPEC.toml|NAME", help="A grid, or a built-in study.")],
    out: Annotated[
        str | None, typer.Option(metavar="DIR", help="A folder or an fsspec URL; studies/NAME by default.")
    ] = None,
    workers: Annotated[
        str | None, typer.Option(metavar="INTEGER", help="Processes, one a core by default; 0 trains in this one.")
    ] = None,
    ray: Annotated[str | None, typer.Option(metavar="ADDRESS", help="A Ray cluster: auto, local or HOST:PORT.")] = None,
    device: Annotated[str, typer.Option(metavar="NAME", help="cpu or cuda.")] = "cpu",
    extend: Annotated[bool, typer.Option("--extend", help="Add to the results of another spec in DIR.")] = False,
    debug: Debug = False,
) -> None:
    """Train a grid of networks, or run a built-in study; what is done already is not done again."""
    from steadygrad.study import command

    count = None if workers is None else _whole("--workers", workers)
    text, clean = command.study(spec, out=out, workers=count, ray=ray, device=device, extend=extend)
    typer.echo(text)
    raise typer.Exit(int(not clean))


def main() -> None:
    """Run the command line; every error is one line on stderr and exit status 2, with `--debug` its traceback too."""
    writable_streams()
    try:
        status = (
            _command()(sys.argv[1:] or ["--help"], standalone_mode=False) or 0
        )  # what a command raises as typer.Exit is returned
    except Exception as error:
        if "--debug" in sys.argv:
            traceback.print_exc()
        sys.stderr.write(f"steadygrad: {_in_one_line(error)}\n")
        status = 2
    sys.exit(status)


class _AsGiven:
    """How an argument's words are read: as they stand."""

    def coerce(self, value: Any, **_: object) -> Any:
        """Return the words."""
        return value


def _command() -> TyperGroup:
    """Return the commands, each argument as the words that were given, for the functions above to read.

    Typer reads even a plain word with pydantic, whose import takes a quarter of what `explain` takes. Where another
    version of Typer does not know the attribute set here, it reads the same words in its own way.
    """
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    for command in (group, *group.commands.values()):
        for argument in command.get_params(typer.Context(command)):  # which makes `--help` too
            argument._runtime_param = _AsGiven()  # type: ignore[attr-defined]
    return group


def _whole(option: str, word: str) -> int:
    try:
        return int(word)
    except ValueError:
        raise ValueError(not_allowed(option, "must be a whole number", word)) from None


def _number(option: str, word: str) -> float:
    try:
        return float(word)
    except ValueError:
        raise ValueError(not_allowed(option, "must be a number", word)) from None


def _shape(words: str) -> tuple[int, ...]:
    try:
        return tuple(int(word) for word in words.split(","))
    except ValueError:
        raise ValueError(not_allowed("--inputs", "must be whole numbers separated by commas", words)) from None


def _in_one_line(error: Exception) -> str:
    """What to say of an error: a usage error, this package's own and a bad value say it themselves."""
    if message := getattr(error, "format_message", None):
        return " ".join(message().split())
    words = " ".join(str(error).split())
    if isinstance(error, SteadygradError | ValueError) and words:
        return words
    if isinstance(error, OSError) and error.strerror:
        return f"could not write or read {error.filename or 'standard output'}: {error.strerror}."
    return f"internal error: {type(error).__name__}: {words.rstrip('.')}. Run again with --debug for the traceback."


def _level(name: str) -> Level:
    if name not in list(Level):
        raise ValueError(unknown_name("--fail-on", name, [level.value for level in Level]))
    return Level(name)


def _codes(given: list[str] | None) -> tuple[str, ...]:
    return tuple(code.strip() for one in given or () for code in one.split(",") if code.strip())


def _columns() -> int:
    return max(shutil.get_terminal_size((100, 24)).columns, 40)


def _color() -> bool:
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def _as_text(report: Report, *, every_row: bool) -> str:
    from steadygrad.report import text

    return text.render(report.findings, **report.parts(), width=_columns(), color=_color(), every_row=every_row)


def _as_page(report: Report, *, title: str) -> str:
    from steadygrad.report import page

    return page.render(report.findings, **report.parts(), title=title)


def _write(path: Path, text: str) -> None:
    from steadygrad.report import saving

    sys.stderr.write(f"Wrote {saving.save(path, text)}\n")
