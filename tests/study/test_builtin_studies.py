"""The built-in studies, small: their own code on few networks; and the checks that they make."""

import math
from pathlib import Path

import fsspec
import pytest

from steadygrad.report.chart_files import svg_and_png, themed_svg
from steadygrad.report.study_page import Check, Section, render
from steadygrad.study import STUDIES, Bench
from steadygrad.study.builtin import born_dead, foundations, phase_diagram, study
from steadygrad.study.builtin.marks import beside, panel, point
from steadygrad.study.builtin.note import clipping, depth, dying, softmax, variance, xavier_relu
from steadygrad.study.builtin.note.effort import Effort
from steadygrad.study.runners import in_process

SMALL = Effort(seeds=3, steps=8, depth=4, width=16)


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    return Bench(out=str(tmp_path_factory.mktemp("studies")))


@pytest.mark.parametrize("name", STUDIES)
def test_every_name_has_a_study(name):
    assert callable(study(name))


def failed(section, but=()):
    return [check.what for check in section.checks if not check.holds and not check.what.startswith(but)]


@pytest.mark.parametrize("module", [variance, softmax, clipping])
def test_what_needs_no_training_holds_at_any_size(module, bench):
    assert not failed(module.section(bench, SMALL))


@pytest.mark.parametrize("module", [depth, xavier_relu])
def test_signals_as_drawn_hold_at_any_size(module, bench):
    section = module.section(bench, SMALL)
    assert sum(check.what.startswith("ln ") for check in section.checks) >= 6
    assert not failed(section, but="accuracy")  # eight steps teach nothing


def test_one_unit_dies_and_recovers_as_predicted_at_any_size(bench):
    section = dying.section(bench, SMALL)
    assert not failed(section, but=("accuracy", "more dead", "come back"))


def test_foundations_write_a_page_that_needs_nothing_else_and_their_pictures(bench, monkeypatch):
    monkeypatch.setattr(foundations, "SECTIONS", (variance, softmax))
    conclusion = foundations.study(bench, SMALL)
    page = Path(conclusion.files[0]).read_text()
    assert conclusion.holds
    assert len(conclusion.sentences) == 2
    assert {Path(file).suffix for file in conclusion.files[1:]} == {".svg", ".png"}
    assert page.count("<svg") == 2
    assert "<script" not in page
    assert "<link" not in page
    assert all(Path(file).stat().st_size > 1000 for file in conclusion.files)


def test_the_phase_diagram_finds_the_edge(bench):
    grid = phase_diagram.Grid(scales=4, depths=(4, 8), width=16, steps=4, seeds=2)
    conclusion = phase_diagram.study(bench, grid)
    assert not conclusion.holds  # four steps: nothing is learned, so nothing is lost, and the study says so
    assert "?" in conclusion.sentences[0]


def test_six_xi_is_infinite_on_the_edge_and_falls_on_both_sides():
    from steadygrad import theory

    edge = theory.edge_of_chaos("tanh", sigma_b=phase_diagram.SIGMA_B).sigma_w
    left, nearer, right = (phase_diagram.predicted(edge * factor) for factor in (0.9, 0.99, 1.1))
    assert left < nearer > right


@pytest.mark.parametrize("power", [0, 1, 2])
def test_the_depth_that_is_lost_lies_between_the_last_above_half_and_the_next(power):
    depths, accuracies = [4, 8, 16, 32], [0.9, 0.9, 0.9, 0.1]
    accuracies[power + 1 :] = [0.1] * (3 - power)
    found = phase_diagram.lost_at(depths, accuracies)
    assert depths[power] < found < depths[power + 1]
    assert math.isclose(found, math.sqrt(depths[power] * depths[power + 1]))


@pytest.mark.parametrize(("end", "labelled"), [(1.12, True), (100.0, False)])
def test_a_short_logarithmic_axis_labels_all_its_marks(end, labelled):
    """1, 2, 3 and 5 of each power, as on a long one, would leave one label."""
    svg = themed_svg(panel("t", x="x", y="y", points=[point(1, 0.88, 0.0, "a"), point(2, end, 0.0, "a")], y_log=True))
    assert (">0.9<" in svg) == labelled
    assert ">1<" in svg


@pytest.mark.parametrize("log", [False, True])
def test_a_panel_that_nothing_came_out_for_is_drawn_all_the_same(log):
    lost = point(1, math.nan, math.nan, "a")  # what did not train in the time there was
    for rows in ([], [lost]):
        nothing = panel("t", x="x", y="y", points=rows, x_log=log, y_log=log)
        svg, png = svg_and_png(beside(nothing, panel("u", x="x", y="y", points=[point(1, 2.0, 0.1, "a")])))
        assert svg_and_png(nothing)[1][1:4] == png[1:4] == b"PNG"
        assert ">t<" in svg


def test_a_check_that_fails_is_said_first_and_marked():
    check = Check(what="one", predicted=1.0, measured=2.0, error=0.1, allowed=0.5)
    chart = panel("t", x="x", y="y", points=[point(1, 1.0, 0.1, "a")])
    section = Section(name="s", title="T", claim="C", prediction="P", chart=chart, checks=(check,), verdict="v.")
    assert section.sentence.startswith("T: not all of what follows is borne out here (one): v. 0 of 1 checks hold")
    assert "<b>Verdict.</b> Not all of what follows" in render("t", [section])
    assert 'class="outside"' in render("t", [section])
    assert not Check(what="one", predicted=1.0, measured=math.nan, error=0.0, allowed=9.0).holds


@pytest.mark.parametrize("scheme", ["file", "memory"])
def test_page_pictures_and_records_go_where_a_url_says(scheme, tmp_path, monkeypatch):
    place = f"{scheme}://{tmp_path}/born-dead"
    grid = born_dead.Grid(widths=(2,), depths=(2,), seeds=8, steps=2)
    files, root = fsspec.core.url_to_fs(place)
    made = born_dead.study(Bench(out=place), grid)
    assert made.files == tuple(f"{place}/born-dead.{kind}" for kind in ("html", "svg", "png"))
    assert [fsspec.open(file, "rb").open().read(4) for file in made.files] == [b"<!do", b"<svg", b"\x89PNG"]
    assert sorted(name.rsplit("/", 1)[1] for name in files.ls(root, detail=False)) == sorted(
        ["born-dead.html", "born-dead.svg", "born-dead.png", "digits", "one-example"]
    )
    monkeypatch.setattr(in_process, "train", None)  # what is there is not computed again
    assert born_dead.study(Bench(out=place), grid).sentences == made.sentences


def test_networks_are_born_dead_as_often_as_predicted_and_learn_a_constant(bench):
    grid = born_dead.Grid(widths=(2, 3), depths=(2, 8), seeds=60, steps=10)
    conclusion = born_dead.study(bench, grid)
    assert conclusion.holds, conclusion.sentences
    assert Path(conclusion.files[0]).read_text().count("<tr>") == 1 + len(grid.widths) * len(grid.depths) + 1
