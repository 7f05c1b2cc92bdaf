"""The three forms of a report say the same, and nothing that they were not given."""

import json
import math
import re
import textwrap
from dataclasses import replace

import pytest

from steadygrad.errors import SetupError
from steadygrad.finding import Finding, Level
from steadygrad.profile import LayerSignal, Profile
from steadygrad.report import document, page, saving, text
from steadygrad.report.pairing import paired
from steadygrad.terminal import ENDS

INNER = Finding(code="BWD001", name="vanishing-gradient", level=Level.ERROR, message="the gradient is gone")
MIDDLE = Finding(
    code="FWD001", name="vanishing-signal", level=Level.ERROR, message="the signal is gone", consequences=(INNER,)
)
CAUSE = Finding(
    code="INI001",
    name="init-gain-mismatch",
    level=Level.ERROR,
    message="gain <0.577>",
    measured=0.577,
    expected=math.nan,
    count=10,
    fix="use [He]",
    fix_code="f(x)\ng(y)",
    consequences=(MIDDLE,),
)
OTHER = Finding(code="FWD005", name="dead-units", level=Level.WARN, message="dead", module="fc")


def profile(source, scale=1.0, layers=40):
    rows = []
    for i in range(layers):
        q, grad = scale * 0.2**i, scale * 0.2 ** (layers - i)
        bands = {"q_low": q / 2, "q_high": 2 * q, "grad_q_low": grad / 2, "grad_q_high": 2 * grad}
        weighted = LayerSignal(path=f"fc{i}", kind="Linear", fan_in=8, fan_out=8, q=q, signal=q, grad_q=grad, **bands)
        rows += [weighted, LayerSignal(path=f"relu{i}", kind="ReLU", q=q / 2)]
    return Profile(layers=tuple(rows), source=source, batch_size=7, loss=2.5)


GIVEN = {"predicted": profile("predicted"), "measured": profile("measured", 3.0), "checked": ("INI001",)}


def test_the_cause_comes_first_its_consequences_under_it_then_its_mending():
    shown = text.render([CAUSE, OTHER], **GIVEN, notes=["no trial"])
    order = [
        "INI001",
        "gain <0.577>",
        "└─ error FWD001",
        "└─ error BWD001",
        "use [He]",
        "f(x)",
        "g(y)",
        "FWD005",
        "fc0",
    ]
    places = [shown.index(words) for words in order]
    assert places == sorted(places)
    assert shown.startswith("Found 1 error, 1 warning, explaining 2 further findings.")
    assert "Note: no trial" in shown


def test_the_code_of_a_fix_can_be_copied_from_the_text():
    lines = text.render([CAUSE]).splitlines()
    at = next(i for i, line in enumerate(lines) if line.strip() == "f(x)")
    indent = len(lines[at]) - len(lines[at].lstrip())
    assert lines[at + 1] == " " * indent + "g(y)"


def test_a_long_table_shows_both_ends_and_says_what_it_leaves_out():
    short, long = (text.render([], **GIVEN, every_row=every) for every in (False, True))
    assert re.findall(r"^fc(\d+)", short, re.M) == [str(i) for i in (*range(ENDS), *range(40 - ENDS, 40))]
    assert f"{40 - 2 * ENDS} more" in short
    assert re.findall(r"^(?:fc|relu)(\d+)", long, re.M) == [str(i) for i in range(40) for _ in range(2)]


WIDTHS = [40, 60, 80, 100, 160]


@pytest.mark.parametrize("width", WIDTHS)
def test_no_line_is_wider_than_the_terminal(width):
    assert max(len(line) for line in text.render([CAUSE, OTHER], **GIVEN, width=width).splitlines()) <= width


@pytest.mark.parametrize("width", WIDTHS)
def test_no_number_of_the_table_is_cut(width):
    assert "…" not in text.render([CAUSE], **GIVEN, width=width)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("paths", [["encoder.layers.10.self_attn.out_proj", "head"], ["0", "2"]])
def test_each_layer_has_its_whole_path_broken_at_dots_alone(paths, width):
    rows = tuple(replace(row, path=path) for row, path in zip(GIVEN["measured"].layers[::2], paths, strict=False))
    shown = text.render([], measured=Profile(layers=rows, source="measured"), width=width).splitlines()
    below = next(i for i, line in enumerate(shown) if line.startswith("─")) + 1
    cells = [line.split(" ")[0] for line in shown[below:]]
    pieces = cells[: next(i for i, cell in enumerate(cells) if cell == "q:")]
    assert "".join(pieces) == "".join(paths)
    assert all(piece.endswith(".") or paths[0].endswith(piece) or piece in paths for piece in pieces)


@pytest.mark.parametrize("width", WIDTHS)
def test_no_line_of_code_is_broken(width):
    code = f"for path in {[f'encoder.layers.{i}.self_attn.out_proj' for i in range(4)]}:\n    draw(path)"
    shown = text.render([replace(CAUSE, fix_code=code)], width=width)
    assert textwrap.indent(code, " " * 6) in shown


@pytest.mark.parametrize("width", WIDTHS)
def test_what_the_columns_are_is_told_below_the_table(width):
    shown = " ".join(text.render([], **GIVEN, width=width).split())
    for title in ("q", "signal", "grad_q", "95% band"):
        assert f"{title}: " in shown


def test_colours_only_where_they_are_asked_for():
    assert "\x1b[" not in text.render([CAUSE], **GIVEN)
    assert "\x1b[" in text.render([CAUSE], **GIVEN, color=True)


def test_text_does_not_depend_on_the_environment(monkeypatch):
    plain = text.render([CAUSE], **GIVEN)
    for name, value in (("FORCE_COLOR", "1"), ("COLUMNS", "44"), ("TERM", "dumb"), ("NO_COLOR", "1")):
        monkeypatch.setenv(name, value)
    assert text.render([CAUSE], **GIVEN) == plain


def test_json_comes_back_as_it_went():
    given = document.to_document([CAUSE, OTHER], **GIVEN)
    assert document.Document.model_validate_json(document.to_json([CAUSE, OTHER], **GIVEN)) == given
    assert document.to_dict([CAUSE, OTHER], **GIVEN) == json.loads(document.to_json([CAUSE, OTHER], **GIVEN))


def test_json_holds_every_field_of_findings_and_layers():
    made = document.to_dict([CAUSE], **GIVEN)
    assert set(made["findings"][0]) == set(Finding.__dataclass_fields__)
    assert set(made["predicted"]["layers"][0]) == set(LayerSignal.__dataclass_fields__)
    assert set(made["measured"]) == set(Profile.__dataclass_fields__)
    assert made["schema_version"] == document.SCHEMA_VERSION == 1
    assert made["findings"][0]["consequences"][0]["consequences"][0]["code"] == "BWD001"


def test_json_has_null_for_nan_and_words_for_infinity():
    row = LayerSignal(path="fc", kind="Linear", fan_in=1, q=math.inf, grad_q=-math.inf)
    shown = document.to_json([CAUSE], predicted=Profile(layers=(row,), source="predicted"))
    json.loads(shown, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    layer = json.loads(shown)["predicted"]["layers"][0]
    assert (layer["q"], layer["grad_q"], layer["mean"]) == ("Infinity", "-Infinity", None)
    assert json.loads(shown)["findings"][0]["expected"] is None


def test_the_page_asks_the_network_for_nothing():
    shown = page.render([CAUSE, OTHER], **GIVEN)
    assert not re.search(r"""(?:src|href|action|data)\s*=|url\(|@import|<script|<link|<iframe""", shown)
    assert set(re.findall(r"https?://[^\"'\s<]+", shown)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }


def test_the_page_escapes_what_it_is_given():
    shown = page.render([CAUSE], notes=["<b>"], title="</title><script>")
    assert "gain &lt;0.577&gt;" in shown
    assert "<script>" not in shown
    assert "<b>" not in shown.replace("<b>Fix.</b>", "")


def test_the_page_draws_each_layer_with_its_name_and_number():
    shown = page.render([], **GIVEN)
    for i in range(40):
        assert f"<title>fc{i}: q " in shown
        assert f"<title>fc{i}: grad_q " in shown
    assert "relu0: q" not in shown
    assert shown.count("<svg") == 2


@pytest.mark.parametrize("layers", [1, 2, 3, 7])
def test_each_of_a_few_layers_has_one_tick(layers):
    shown = page.render([], measured=profile("measured", layers=layers))
    for chart in re.findall(r"<svg.*?</svg>", shown, re.DOTALL):
        ticks = re.findall(r">(\d+)</text>", chart)
        assert ticks == [str(i + 1) for i in range(layers)]


def test_every_colour_of_a_chart_is_one_of_the_pages_light_and_dark():
    shown = page.render([], **GIVEN)
    used = set(re.findall(r'"var\((--[a-z-]+)\)"', shown))
    light, dark = shown.split("prefers-color-scheme: dark")
    assert used == {"--ink-soft", "--line", "--q", "--signal", "--grad"}
    assert all(f"{name}: #" in light and f"{name}: #" in dark for name in used)
    assert not re.search(r'"#0[1-5]0[1-5]0[1-5]"', shown)


def test_what_is_zero_or_not_known_has_no_place_on_a_log_axis():
    rows = (LayerSignal(path="a", kind="Linear", fan_in=1, q=0.0), LayerSignal(path="b", kind="Linear", fan_in=1))
    shown = page.render([], measured=Profile(layers=rows, source="measured"))
    assert "<svg" not in shown
    assert ">a</td>" in shown


def test_a_number_outside_of_its_band_is_marked():
    inside = page.render([], predicted=GIVEN["predicted"], measured=profile("measured", 1.0))
    assert 'class="outside"' not in inside
    assert (
        page.render([], **GIVEN).count('class="outside"') == 80
    )  # q and grad_q of forty layers, three times too large


def test_a_module_that_runs_twice_has_two_rows():
    rows = tuple(LayerSignal(path="tied", kind="Linear", fan_in=1, q=q) for q in (1.0, 2.0))
    pairs = paired(Profile(layers=rows[:1], source="predicted"), Profile(layers=rows, source="measured"))
    assert [(p.predicted.q, p.measured.q) for p in pairs[:1]] == [(1.0, 1.0)]
    assert math.isnan(pairs[1].predicted.q)
    assert pairs[1].measured.q == 2.0


def test_saving_replaces_the_whole_file_and_leaves_no_other(tmp_path):
    target = tmp_path / "report.html"
    target.write_text("old")
    saving.save(target, "new")
    assert target.read_text() == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


def test_a_failed_write_leaves_the_old_file(tmp_path):
    target = tmp_path / "report.html"
    target.write_text("old")
    with pytest.raises(UnicodeEncodeError):
        saving.save(target, "\ud800")
    assert target.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


def test_saving_where_nothing_can_be_saved(tmp_path):
    for path in (tmp_path, tmp_path / "no" / "report.html"):
        with pytest.raises(SetupError, match="`path` must be a file in an existing folder"):
            saving.save(path, "")
