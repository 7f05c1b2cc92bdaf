"""`steadygrad check` as a user runs it: exit status, and one line for every bad input."""

import json
import sys
from pathlib import Path

import pytest

from steadygrad import check, cli
from steadygrad.report.document import Document
from steadygrad.setup import load

ROOT = Path(__file__).parents[2]
EXAMPLE = str(ROOT / "examples" / "deep_mlp.py")
HEAD = """
import torch
from torch import nn
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 3))
data = [(torch.randn(32, 4), torch.randint(3, (32,)))]
def made(**parts):
    return {"model": model, "data": data, "loss_fn": nn.CrossEntropyLoss(), **parts}
"""


@pytest.fixture
def run(monkeypatch, capsys):
    """The command line in this process: (status, stdout, stderr)."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["steadygrad", *words])
        monkeypatch.setenv("COLUMNS", "100")
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        return stopped.value.code, *capsys.readouterr()

    return run


@pytest.fixture
def setup(tmp_path):
    """Write a file whose `setup()` returns this expression, and return its path."""

    def setup(expression):
        (tmp_path / "mine.py").write_text(f"{HEAD}def setup():\n    return {expression}\n")
        return str(tmp_path / "mine.py")

    return setup


def test_the_example_is_found_out_and_its_cause_comes_first(run, tmp_path):
    page = tmp_path / "report.html"
    status, out, err = run("check", EXAMPLE, "--json", "--html", str(page))
    report = Document.model_validate_json(out)
    assert (status, err) == (1, f"Wrote {page}\n")
    assert [finding.code for finding in report.findings] == ["INI001"]
    assert {"FWD001", "BWD001"} <= {finding.code for finding in report.findings[0].consequences}
    assert len(report.measured.layers) == 61
    assert "INI001" in page.read_text()


def test_the_mended_example_is_clean(run):
    status, out, _ = run("check", f"{EXAMPLE}:mended")
    assert status == 0
    assert out.startswith("Clean: ")


def test_the_code_of_the_finding_is_what_mends_the_example(monkeypatch):
    import torch

    from steadygrad.setup import load

    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    import deep_mlp
    from steadygrad import diagnosis

    broken, mended = deep_mlp.setup(), deep_mlp.mended()
    code = diagnosis.check(load(EXAMPLE)).findings[0].fix_code
    deep_mlp.setup()  # leaves the generator where mended() began to draw
    exec(code, {"model": broken["model"]})
    pairs = zip(broken["model"].parameters(), mended["model"].parameters(), strict=True)
    assert all(torch.equal(ours, theirs) for ours, theirs in pairs)


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ((), 1),
        (("--fail-on", "error"), 1),
        (("--select", "DAT003"), 0),
        (("--ignore", "INI,FWD", "--ignore", "BWD", "--no-trial"), 0),
    ],
)
def test_the_status_says_whether_something_was_found(run, options, status):
    assert run("check", EXAMPLE, *options)[0] == status


def test_a_model_alone_can_be_checked(run, setup):
    assert run("check", setup("model"))[0] == 0


def test_nan_in_a_batch_is_a_finding(run, setup):
    status, out, _ = run(
        "check", setup("made(data=[(torch.full((8, 4), float('nan')), torch.zeros(8).long())])"), "--json"
    )
    assert status == 1
    assert json.loads(out)["findings"][0]["code"] == "DAT003"


def test_what_the_users_code_prints_does_not_get_into_the_json(run, setup):
    status, out, err = run("check", setup("[print('hello'), made()][1]"), "--json")
    json.loads(out)
    assert status == 0
    assert err == "hello\n"


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("1 / 0", "`setup` raised ZeroDivisionError: division by zero ("),
        ("3", "must be a module, a Setup or a mapping with a 'model', got int."),
        ("made(data=[])", "`data` must hold at least one batch, got an empty list."),
        ("made(data=[(torch.ones(3, 4), torch.ones(4).long())])", "(3, 4) and targets of shape (4,)"),
        ("made(model=nn.ReLU())", "`model` must have at least one parameter, got ReLU without any."),
        ("made(model=nn.Sequential(nn.Linear(5, 3)))", "shapes cannot be multiplied"),
        ("made(loss_fn=nn.CrossEntropyLoss(reduction='none'))", "scalar"),
        ("made(loss_fn=lambda y, t: 'high')", "got str"),
        ("made(loss_fn=lambda y, t: y.missing)", "raised AttributeError"),
        ("made(los_fn=None)", "Did you mean 'loss_fn'?"),
    ],
)
def test_a_setup_that_cannot_be_used_is_one_line_and_status_two(run, setup, expression, said):
    status, out, err = run("check", setup(expression))
    assert (status, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("loss", ["3.0", "y.detach().sum()", "y.sum().item()"])
def test_a_loss_without_a_gradient_is_a_finding_and_status_one(run, setup, loss):
    status, out, _ = run("check", setup(f"made(loss_fn=lambda y, t: {loss})"))
    assert status == 1
    assert "BWD003" in out


@pytest.mark.parametrize("form", ["--json", "--sarif"])
def test_data_that_give_their_batches_once_are_left_alone_and_a_note_says_so(run, setup, form):
    status, out, _ = run("check", setup("made(data=iter(data))"), form)
    assert status == 0
    assert "gives its batches only once" in out
    json.loads(out)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["no_such.py"], "`file` must be an existing Python file, got 'no_such.py'."),
        ([f"{EXAMPLE}:mend"], "got no 'mend' in it. Did you mean 'mended'?"),
        ([EXAMPLE, "--select", "INI0001"], "INI0001"),
        ([EXAMPLE, "--ignore", "XYZ"], "got 'XYZ'. `steadygrad rule` lists them."),
        ([EXAMPLE, "--fail-on", "warning"], "`--fail-on` must be one of 'error', 'warn', 'info', got 'warning'."),
        ([EXAMPLE, "--seconds", "long"], "`--seconds` must be a number, got 'long'."),
        ([EXAMPLE, "--seconds", "9", "--static"], "`--seconds` is for what is run on data: not with `--static`."),
        ([EXAMPLE, "--seconds", "0"], "`seconds` must be > 0, got 0.0."),
        ([EXAMPLE, "--html", "no/such/folder.html"], "`--html` must be a file in an existing folder"),
        ([EXAMPLE, "--write-init", "."], "`--write-init` must be a file in an existing folder, got the folder '.'."),
        ([EXAMPLE, "--htm", "x.html"], "No such option: --htm"),
        ([], "Missing argument"),
    ],
)
def test_bad_arguments_are_one_line_and_status_two(run, words, said):
    status, out, err = run("check", *words)
    assert (status, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1


def test_the_users_own_traceback_with_debug(run, setup):
    assert "ZeroDivisionError" in run("check", setup("1 / 0"), "--debug")[2].split("Traceback")[1]


def test_a_crash_of_ours_says_so(run, monkeypatch):
    from steadygrad import diagnosis

    def crash(*_, **__):
        raise KeyError("ours")

    monkeypatch.setattr(diagnosis, "check", crash)
    status, _, err = run("check", EXAMPLE)
    assert status == 2
    assert err.startswith("steadygrad: internal error: KeyError: 'ours'")
    assert "--debug" in err


def test_check_without_a_page_imports_no_chart_library():
    import subprocess

    code = (
        f"import sys; sys.argv = ['steadygrad', 'check', {EXAMPLE!r}]\nfrom steadygrad import cli\n"
        "try: cli.main()\nfinally: print('IMPORTED', *sorted({'altair', 'vl_convert'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1] == "IMPORTED", done.stderr


def test_sarif_names_the_file_and_the_class(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(
        "import torch\nfrom torch import nn\n\n\nclass Net(nn.Module):\n    def __init__(self):\n"
        "        super().__init__()\n        self.fc = nn.Linear(4, 8)\n        nn.init.constant_(self.fc.bias, -9.0)\n"
        "        self.act, self.head = nn.ReLU(), nn.Linear(8, 2)\n\n"
        "    def forward(self, x):\n        return self.head(self.act(self.fc(x)))\n\n\n"
        "def setup():\n    data = [(torch.randn(32, 4), torch.randint(2, (32,)))]\n"
        "    return {'model': Net(), 'data': data, 'loss_fn': nn.CrossEntropyLoss()}\n"
    )
    status, out, _ = run("check", "net.py", "--sarif")
    (result, *_) = json.loads(out)["runs"][0]["results"]
    place = result["locations"][0]["physicalLocation"]
    assert status == 1
    assert (place["artifactLocation"]["uri"], place["region"]["startLine"]) == ("net.py", 5)


def test_two_forms_on_standard_output_are_refused(run):
    assert run("check", EXAMPLE, "--json", "--sarif")[::2] == (
        2,
        "steadygrad: `--json` and `--sarif` both write to standard output: choose one.\n",
    )


def test_a_baseline_makes_what_is_known_pass(run, tmp_path):
    known = tmp_path / "known.json"
    assert run("check", EXAMPLE, "--write-baseline", str(known))[0] == 1
    status, out, _ = run("check", EXAMPLE, "--baseline", str(known))
    assert status == 0
    assert "known findings are in known.json" in " ".join(out.split())
    assert run("check", EXAMPLE, "--baseline", str(tmp_path / "none.json"))[0] == 2


def test_the_projects_table_is_read_beside_the_file(run, setup, tmp_path):
    (tmp_path / "pyproject.toml").write_text('[tool.steadygrad]\nselect = ["DAT"]\n')
    file = setup("made()")
    assert run("check", file, "--json")[0] == 0
    assert all(code.startswith("DAT") for code in json.loads(run("check", file, "--json")[1])["checked"])
    (tmp_path / "pyproject.toml").write_text('[tool.steadygrad]\nselct = ["DAT"]\n')
    status, _, err = run("check", file)
    assert status == 2
    assert "Did you mean 'select'?" in err


def test_a_rules_page_is_printed_and_the_table_without_a_code(run):
    for name in ("FWD005", "fwd005", "dead-units"):
        status, out, _ = run("rule", name)
        assert status == 0
        assert out.startswith("# FWD005 dead-units\n")
    status, out, _ = run("rule")
    assert status == 0
    assert "FWD005" in out
    assert run("rule", "FWD05")[0] == 2


def test_the_plan_of_initialization_is_printed_and_written_as_code(run, tmp_path):
    out_file = tmp_path / "mended.py"
    status, out, err = run("check", EXAMPLE, "--fix-init", "--write-init", str(out_file))
    assert status == 1
    assert 'Plan "critical": 62 parameters to initialize.' in out
    assert "edge of chaos of relu" in out
    assert err == f"Wrote {out_file}\n"
    written = out_file.read_text()
    assert "steadygrad" not in written.split('"""', 2)[2]
    names: dict = {}
    exec(compile(written, "mended.py", "exec"), names)
    loaded = load(EXAMPLE)
    names["initialize"](loaded.model)
    assert check(loaded, select=["INI001", "FWD001", "BWD001"]).findings == ()


def test_the_plan_does_not_get_into_what_a_program_reads(run, setup):
    status, out, err = run("check", setup("made()"), "--json", "--fix-init")
    assert status == 0
    Document.model_validate_json(out)
    assert "Plan" in err
    status, _, err = run("check", setup("model"), "--fix-init")
    assert (status, err) == (2, "steadygrad: `setup` must have data to plan an initialization for, got none.\n")
