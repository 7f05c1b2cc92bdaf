"""Grids: what they expand to, what a point's identity is, and what is said of one that cannot be used."""

import dataclasses
import json
import math

import numpy as np
import pytest
from pydantic import ValidationError

from steadygrad.study import Point, Spec, SpecError
from steadygrad.study.point import FIELDS

BASE = {"depth": 2, "width": 8, "activation": "relu"}
TOML = """\
name = "grid"
seeds = 2

[fixed]
width = 8
optimizer = "adam"  # a comment

[product]
depth = [1, 2]
learning_rate = { start = 0.001, stop = 0.1, count = 3, spacing = "log" }

[[zip]]
activation = ["relu", "tanh"]
initializer = ["he-normal", "xavier-normal"]
"""


def test_a_file_and_python_say_the_same_grid():
    python = Spec.of(
        name="grid",
        fixed={"width": 8, "optimizer": "adam"},
        product={"depth": (1, 2), "learning_rate": np.array([0.001, 0.01, 0.1])},
        zip=[{"activation": ["relu", "tanh"], "initializer": ["he-normal", "xavier-normal"]}],
        seeds=2,
    )
    from_file = Spec.from_toml(TOML)
    assert list(from_file.points()) == list(python.points())
    assert from_file.identity == python.identity
    assert len(from_file) == 2 * 3 * 2 * 2
    pairs = {(point.activation, point.initializer) for point in from_file.points()}
    assert pairs == {("relu", "he-normal"), ("tanh", "xavier-normal")}


def test_a_point_that_is_there_twice_is_one():
    spec = Spec.of(name="twice", fixed=BASE, product={"learning_rate": [0.1, 0.1, 0.2]})
    assert [point.learning_rate for point in spec.points()] == [0.1, 0.2]


@pytest.mark.parametrize("field", FIELDS)
def test_every_field_is_part_of_the_identity(field):
    point = Point(**BASE, optimizer="sgd", momentum=0.5)
    other = {
        "data": "gaussian", "examples": 10, "depth": 3, "width": 9, "activation": "leaky_relu",
        "initializer": "he-normal", "gain": 2.0, "sigma_w": 1.0, "sigma_b": 0.1, "bias_mean": 0.1, "loss": "mse",
        "optimizer": "adam", "learning_rate": 0.5, "momentum": 0.1, "nesterov": True, "beta1": 0.5, "beta2": 0.5,
        "epsilon": 1e-3,
        "weight_decay": 0.1, "clip_norm": 1.0, "clip_value": 1.0, "nonfinite": "skip", "batch_size": 3, "steps": 3,
        "seed": 3, "dtype": "float64", "curve": 3,
    }  # fmt: skip
    if field == "slope":
        point, other = dataclasses.replace(point, activation="leaky_relu"), {"slope": 0.3}
    assert dataclasses.replace(point, **{field: other[field]}).identity != point.identity


def test_an_identity_stays():
    # What is stored is found by it: if this changes, every stored study is computed anew.
    assert Point(**BASE).identity == "5d5dead008e03f54de91bc9a"
    assert Point(**BASE, learning_rate=0.01).identity == Point(**BASE).identity


BAD = {
    "nearest key": (TOML.replace("width", "widht"), "spec:5: `fixed.widht` must be one of 'data', .* Did you mean 'wi"),
    "nearest table": (TOML.replace("[product]", "[prodcut]"), "spec:8: `prodcut` must be one .* mean 'product'"),
    "nearest value": (TOML.replace("adam", "adma"), "spec:6: `fixed.optimizer` must be one of .* Did you mean 'adam'"),
    "data": (TOML.replace("width = 8", "width = 8\ndata = 'digit'"), "spec:6: `data` must be .* Did you mean 'digits'"),
    "in a list": (TOML.replace('"tanh"', '"tnah"'), "spec:13: `activation` must be one of .* Did you mean 'tanh'"),
    "range": (TOML.replace("count", "cuont"), "spec:10: `product.learning_rate`: of a range `cuont` .* mean 'count'"),
    "spacing": (TOML.replace('"log"', '"lgo"'), "spec:10: .*: of a range `spacing` must be one of .* mean 'log'"),
    "no count": (TOML.replace(", count = 3", ""), "spec:10: .*: of a range `count` must be given"),
    "range to nan": (TOML.replace("stop = 0.1", "stop = nan"), "spec:10: .* `stop` must be a finite number, got nan"),
    "log": (TOML.replace("0.001", "0.0"), "spec:10: .* 'log' must have start and stop > 0"),
    "text for a number": (TOML.replace("width = 8", "width = '8'"), "spec:5: `fixed.width` must be a number, got '8'"),
    "true for a number": (
        TOML.replace("[1, 2]", "[1, true]"),
        r"spec:9: `product.depth\[1\]` must be a number, got True",
    ),
    "a number for true": (
        TOML.replace("width = 8", "nesterov = 1"),
        "spec:5: `fixed.nesterov` must be a valid boolean",
    ),
    "a fraction": (TOML.replace("width = 8", "width = 8.5"), "spec:5: `fixed.width` must be a valid integer, got 8.5"),
    "nan": (TOML.replace("width = 8", "gain = nan"), "spec:5: `fixed.gain` must be a finite number, got nan"),
    "infinite": (TOML.replace("width = 8", "gain = inf"), "spec:5: `fixed.gain` must be a finite number, got inf"),
    "list of seeds": (
        TOML.replace("seeds = 2", "seeds = [1, -1]"),
        r"spec:2: `seeds\[1\]` must be greater than or equal",
    ),
    "true for seeds": (TOML.replace("seeds = 2", "seeds = true"), "spec:2: `seeds` must be a number, got True"),
    "one zip": (
        TOML.replace("[[zip]]", "[zip]"),
        r"spec:12: `zip` must be tables of lists, each under its own \[\[zip",
    ),
    "empty zip": (TOML + "[[zip]]\n", "spec:15: `zip` must not be empty: the grid has no point"),
    "no table": ("name = 'a'\nfixed = 3", "spec:2: `fixed` must be a table of keys and values, got 3"),
    "twice in zips": (TOML + "[[zip]]\nactivation = ['elu']", "spec:16: `activation` must be given once"),
    "not together": (TOML + "[[zip]]\nslope = [0.1, 0.2]", r"spec:16: `slope` is for .*, got 'relu'. \(at depth = 1, "),
    "not together in one row": (
        TOML.replace("adam", "sgd") + "[[zip]]\nnesterov = [true, true]\nmomentum = [0.9, 0.0]",
        r"spec:16: `nesterov` needs .* and a momentum > 0. \(at .*momentum = 0.0, nesterov = True\)",
    ),
    "not allowed": (TOML.replace("width = 8", "width = 0"), "spec:5: `fixed.width` must be greater than or equal to 1"),
    "not allowed in a list": (TOML.replace("[1, 2]", "[1, -2]"), r"spec:9: `product.depth\[1\]` must be greater than"),
    "empty axis": (TOML.replace("[1, 2]", "[]"), "spec:9: `product.depth`: an axis must not be empty"),
    "no axis": (TOML.replace("[1, 2]", "2"), "spec:9: `product.depth`: an axis is a list"),
    "empty seeds": (TOML.replace("seeds = 2", "seeds = 0"), "spec:2: `seeds` must not be empty: the grid has no point"),
    "lengths": (
        TOML.replace('["relu", "tanh"]', '["relu"]'),
        r"spec:12: `zip\[0\]`: .* got activation 1, initializer 2",
    ),
    "twice": (TOML.replace("width = 8", "depth = 8"), "spec:9: `depth` must be given once"),
    "left out": (TOML.replace("width = 8", ""), "spec:4: `width` must be given, in `fixed`, `product` or a `zip`"),
    "no name": (TOML.replace('name = "grid"', ""), "spec:1: `name` must be given"),
    "nearest name": (TOML.replace("name =", "nmae ="), "spec:1: `nmae` must be one of .* Did you mean 'name'"),
    "seed and seeds": (TOML.replace("width = 8", "width = 8\nseed = 3"), "spec:2: `seeds` and `seed` exclude each"),
    "syntax": (TOML + "x = = 3", "spec: not TOML: .* line 15"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_is_said_with_its_line(case):
    text, words = BAD[case]
    with pytest.raises(SpecError, match=words):
        Spec.from_toml(text)


def test_what_does_not_fit_together_is_said_of_the_point():
    with pytest.raises(SpecError, match=r"`sigma_w` is the scale .* not both. \(at sigma_w = 1.0\)") as said:
        Spec.of(name="x", fixed={**BASE, "initializer": "he-normal"}, product={"sigma_w": [1.0, 2.0]})
    assert said.value.where == ("product", "sigma_w")


def test_a_spec_that_is_built_as_pydantic_builds_it_is_checked_too():
    with pytest.raises(ValidationError, match="`activation` must be given"):
        Spec(name="x", fixed={"depth": 1, "width": 8})
    with pytest.raises(ValidationError, match="`seeds` must not be empty"):
        Spec(name="x", fixed=BASE, seeds=0)


def test_one_seed_is_the_default_and_seeds_may_be_an_axis():
    text = "name = 'x'\n[fixed]\ndepth = 2\nwidth = 8\nactivation = 'relu'\n"
    assert Spec.of(name="x", fixed=BASE).identity == Spec.from_toml(text).identity
    assert Spec.from_toml("seeds = 1\n" + text).identity == Spec.from_toml(text).identity
    assert [p.seed for p in Spec.of(name="x", fixed={**BASE, "seed": 3}).points()] == [3]
    zipped = Spec.of(name="x", fixed=BASE, zip=[{"seed": [4, 5], "gain": [1.0, 2.0]}])
    assert [(p.seed, p.gain) for p in zipped.points()] == [(4, 1.0), (5, 2.0)]


def test_tables_are_what_json_keeps():
    spec = Spec.of(name="x", fixed=BASE, product={"clip_norm": (None, 1.0)}, seeds=(3, 5))
    assert json.loads(json.dumps(spec.tables())) == spec.tables()
    assert Spec.checked(spec.tables()).identity == spec.identity


def test_an_infinite_threshold_is_none():
    spec = Spec.from_toml(TOML + "[[zip]]\nclip_norm = [1.0, inf, inf]\nclip_value = [inf, 1.0, inf]\n")
    clips = {(p.clip_norm, p.clip_value) for p in spec.points()}
    assert clips == {(1.0, None), (None, 1.0), (None, None)}
    assert Point(**BASE, clip_norm=math.inf).identity == Point(**BASE).identity


def test_a_file_with_the_mark_of_utf_8_is_read(tmp_path):
    (tmp_path / "s.toml").write_text(TOML, encoding="utf-8-sig")
    assert Spec.read(tmp_path / "s.toml").identity == Spec.from_toml(TOML).identity


def test_a_file_that_is_not_there():
    with pytest.raises(SpecError, match=r"nowhere.toml cannot be read: No such file"):
        Spec.read("nowhere.toml")
