"""The unstable forms that `audit` knows, each a pattern over the operators that ran."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from .operator_graph import Operand, Operator

_DEPTH = 6  # operators between a `where` and the one that makes its NaN


@dataclass(frozen=True)
class Form:
    """A form to avoid.

    Args:
        name: What was found.
        use: What to write instead.
        reason: What goes wrong.

    >>> EXP_OVER_SUM.use
    'steadygrad.numerics.softmax(x)'
    """

    name: str
    use: str
    reason: str


EXP_OVER_SUM = Form(
    "exp over its sum",
    "steadygrad.numerics.softmax(x)",
    "exp overflows (above 88.7 in single precision), inf / inf is NaN",
)
LOG_OF_SOFTMAX = Form(
    "log of softmax", "steadygrad.numerics.log_softmax(x)", "a probability that underflows to 0 has the logarithm -inf"
)
LOG_OF_SIGMOID = Form(
    "log of sigmoid", "steadygrad.numerics.log_sigmoid(x)", "a probability that underflows to 0 has the logarithm -inf"
)
LOG_OF_ONE_MINUS_SIGMOID = Form(
    "log(1 - sigmoid)", "steadygrad.numerics.log_sigmoid(-x)", "a probability that rounds to 1 has the logarithm -inf"
)
LOG_OF_ONE_MINUS_SOFTMAX = Form(
    "log(1 - softmax)",
    "steadygrad.numerics.logsumexp of the other classes, less that of all",
    "a probability that rounds to 1 has the logarithm -inf",
)
SIGMOID_BY_HAND = Form(
    "sigmoid by hand", "steadygrad.numerics.sigmoid(x)", "exp overflows, then its gradient, 0 times inf, is NaN"
)
LOG_OF_SUM_EXP = Form(
    "log of a sum of exp", "steadygrad.numerics.logsumexp(x)", "exp overflows, or all of it underflows"
)
LOG_OF_ONE_PLUS_EXP = Form("log(1 + exp)", "steadygrad.numerics.softplus(x)", "exp overflows, or is lost beside the 1")
LOG_OF_ONE_MINUS_EXP = Form(
    "log(1 - exp)", "steadygrad.numerics.log1mexp(-x)", "1 - exp(x) is 0 for small x, its logarithm -inf"
)
ONE_MINUS_EXP = Form("1 - exp", "-torch.expm1(x)", "for small x all digits cancel")
SQRT_AT_ZERO = Form("sqrt at zero", "torch.sqrt(x + eps)", "the derivative of the square root at 0 is infinite")
OVER_NORM = Form("division by a norm", "torch.nn.functional.normalize(x)", "a vector of zeros becomes 0 / 0, NaN")
NAN_BRANCH = Form(
    "where with a NaN branch",
    "torch.where(ok, f(torch.where(ok, x, 1)), other)",
    "the branch not taken still passes 0 times its infinite derivative, NaN",
)
VARIANCE = Form("E[x^2] - E[x]^2", "torch.var(x, correction=0)", "two near numbers cancel; the result can be negative")

Match = tuple[Form, tuple[Operator, ...]]
_ROOTS = ("sqrt", "rsqrt")
_NORMS = ("linalg_vector_norm", "norm", "frobenius_norm")
_CAN_BE_ZERO = (
    "sum",
    "mean",
    "square",
    "var",
    "relu",
    "abs",
    "sub",
    "mul",
    "clamp",
    "clamp_min",
    "pow",
    "native_dropout",
)
_SINGULAR = (
    "log",
    "log2",
    "log10",
    "log1p",
    "sqrt",
    "rsqrt",
    "reciprocal",
    "div",
    "pow",
    "acos",
    "asin",
    "atanh",
    "exp",
)


def match(op: Operator) -> Match | None:
    """Return the form that ends at this operator, with the operators that it covers.

    >>> x = Operator("input")
    >>> form, covered = match(Operator("log", (Operator("_softmax", (x,)),)))
    >>> form.name, covered[0].name
    ('log of softmax', '_softmax')
    """
    for pattern in _PATTERNS:
        found = pattern(op)
        if found is not None:
            return found
    return None


def matches(operators: Iterable[Operator]) -> list[tuple[Operator, Form, tuple[Operator, ...]]]:
    """Return every form among operators, in their order: where it ends, what it is, and what it covers.

    From the last operator to the first, so that the widest form wins over those inside it; this package's own
    functions are left alone.

    >>> softmax = Operator("_softmax", (Operator("input"),))
    >>> [(op.name, form.name) for op, form, _ in matches([softmax, Operator("log", (softmax,))])]
    [('log', 'log of softmax')]
    """
    covered: set[int] = set()
    found = []
    for op in reversed(list(operators)):
        matched = None if op.is_own or id(op) in covered else match(op)
        if matched is not None:
            form, inside = matched
            covered.update(id(o) for o in inside)
            found.append((op, form, inside))
    return found[::-1]


def _first(op: Operator) -> Operator | None:
    return op.operands[0] if op.operands and isinstance(op.operands[0], Operator) else None


def _is(operand: Operand, *names: str) -> bool:
    return isinstance(operand, Operator) and operand.name in names


def _overflows(exp: Operator) -> bool:
    """Whether an exp is of something whose maximum was not subtracted."""
    x = _first(exp)
    shift = x.operands[1] if _is(x, "sub") and isinstance(x, Operator) and len(x.operands) > 1 else None
    shifted = isinstance(shift, Operator) and any(
        a.name in ("amax", "max", "logsumexp", "log") for a in shift.ancestors(2)
    )
    return not shifted and not _is(x, "_log_softmax")


def _without_guard(op: Operator | None) -> Operator | None:
    """Return what a small constant was added to, or what was clamped."""
    if op is not None and op.name in ("add", "clamp", "clamp_min", "maximum") and len(op.inputs) == 1:
        return op.inputs[0]
    return op


def _sum_of(op: Operator | None, exp: Operator) -> bool:
    total = _without_guard(op)
    return _is(total, "sum") and total is not None and _same(_first(total), exp)


def _same(a: Operand, b: Operand, depth: int = _DEPTH) -> bool:
    """Whether two operands are one tensor, or computed alike: exp(x) written twice is two operators."""
    if not isinstance(a, Operator) or not isinstance(b, Operator):
        return a == b and not isinstance(a, Operator) and not isinstance(b, Operator)
    if a is b:
        return True
    alike = a.name == b.name != "input" and a.inputs and len(a.operands) == len(b.operands)
    return bool(alike and depth) and all(_same(x, y, depth - 1) for x, y in zip(a.operands, b.operands, strict=True))


def _exp_over_sum(op: Operator) -> Match | None:
    exp, total = _first(op), op.operands[1] if len(op.operands) > 1 else None
    if op.name != "div" or not _is(exp, "exp") or exp is None or not isinstance(total, Operator):
        return None
    return (EXP_OVER_SUM, (exp, total)) if _sum_of(total, exp) and _overflows(exp) else None


def _log_of(op: Operator) -> Match | None:
    """Match a logarithm of probabilities, or of some of their entries."""
    raw = _first(op)
    if op.name not in ("log", "log2", "log10") or raw is None:
        return None
    for probabilities, passed in _entries_of(raw):
        found = _log_of_all(probabilities)
        if found is not None:
            return found[0], (*passed, *found[1])
    return None


def _entries_of(op: Operator, passed: tuple[Operator, ...] = ()) -> Iterator[tuple[Operator, tuple[Operator, ...]]]:
    """Yield what entries are taken from, itself first, each with the operators that take them.

    They may be chosen by an index or by `where`, or by products with zeros and ones that are summed.
    """
    yield op, passed
    if len(passed) < _DEPTH:
        for source in _taken_from(_without_guard(op) or op):
            yield from _entries_of(source, (*passed, op))


def _taken_from(op: Operator) -> tuple[Operator, ...]:
    first = op.inputs[:1]
    match op.name:
        case "index" | "gather" | "index_select" | "masked_select" | "select" | "slice" | "take" | "unbind" | "split":
            return first
        case "where":
            return tuple(o for o in op.operands[1:] if isinstance(o, Operator))
        case "sum":
            return first if _is(_first(op), "mul") else ()
        case "add" if len(op.inputs) == 2 and all(o.name == "mul" for o in op.inputs):
            return op.inputs
        case "mul":
            return op.inputs
        case _:
            return ()


def _log_of_all(raw: Operator) -> Match | None:
    inner = _without_guard(raw)
    if inner is None:
        return None
    if raw.name == "add" and _is(inner, "exp") and _adds_one(raw):
        return LOG_OF_ONE_PLUS_EXP, (raw, inner)
    if _one_minus(raw, "sigmoid") or _one_minus(inner, "sigmoid"):
        return LOG_OF_ONE_MINUS_SIGMOID, (raw, inner, *raw.inputs, *inner.inputs)
    if _one_minus(raw, "_softmax") or _one_minus(inner, "_softmax"):
        return LOG_OF_ONE_MINUS_SOFTMAX, (raw, inner, *raw.inputs, *inner.inputs)
    if _one_minus_exp(raw):
        return LOG_OF_ONE_MINUS_EXP, (raw, *raw.inputs)
    if inner.name in ("_softmax", "sigmoid"):
        return (LOG_OF_SOFTMAX if inner.name == "_softmax" else LOG_OF_SIGMOID), (raw, inner)
    return _log_of_exponentials(raw, inner)


def _sigmoid_by_hand(op: Operator) -> Match | None:
    """Match a quotient by 1 + exp(x), such as exp(x) / (1 + exp(x)), 1 / (1 + exp(-x)) or x / (1 + exp(-x))."""
    bottom = _first(op) if op.name == "reciprocal" else op.operands[1] if op.name == "div" and op.operands[1:] else None
    if not isinstance(bottom, Operator) or bottom.name != "add" or len(bottom.inputs) != 1 or not _adds_one(bottom):
        return None
    exp = bottom.inputs[0]
    return (SIGMOID_BY_HAND, (bottom, exp, *op.inputs)) if exp.name == "exp" and not _is_below_one(exp) else None


def _is_below_one(exp: Operator) -> bool:
    """Whether an exp is of minus something that is never negative."""
    x = _first(exp)
    inner = _first(x) if x is not None and x.name == "neg" else None
    return inner is not None and (_is(inner, "abs", "relu") or _square_of(inner) is not None)


def _log_of_exponentials(raw: Operator, inner: Operator) -> Match | None:
    exp = _first(inner)
    if exp is None or exp.name != "exp":
        return None
    if inner.name == "sum" and _overflows(exp):
        return LOG_OF_SUM_EXP, (raw, inner, exp)
    total = inner.operands[1] if inner.name == "div" else None
    if isinstance(total, Operator) and _sum_of(total, exp):
        return LOG_OF_SOFTMAX, (raw, inner, total, exp)
    return None


def _log1p_of_exp(op: Operator) -> Match | None:
    exp = _first(op)
    if op.name != "log1p" or exp is None or exp.name != "exp":
        return None
    x = _first(exp)
    bounded = _is(x, "neg") and x is not None and _is(_first(x), "abs")
    return None if bounded else (LOG_OF_ONE_PLUS_EXP, (exp,))


def _adds_one(op: Operator) -> bool:
    return any(o == 1 for o in op.operands if isinstance(o, int | float))


def _one_minus_exp(op: Operator) -> bool:
    """Whether it is 1 - exp or exp - 1, written in any of the ways."""
    return _one_minus(op, "exp")


def _one_minus(op: Operator, name: str) -> bool:
    if op.name not in ("sub", "rsub", "add") or len(op.inputs) != 1 or not _adds_one(op):
        return False
    inner = op.inputs[0]
    return inner.name == name if op.name != "add" else inner.name == "neg" and _is(_first(inner), name)


def _cancelling_exp(op: Operator) -> Match | None:
    return (ONE_MINUS_EXP, op.inputs) if _one_minus_exp(op) else None


def _root(op: Operator) -> Match | None:
    half = op.name == "pow" and len(op.operands) > 1 and op.operands[1] in (0.5, -0.5)
    x = _first(op)
    if x is None or not (half or op.name in (*_ROOTS, "std")):
        return None
    can_be_zero = x.name in _CAN_BE_ZERO and _without_guard(x) is x and op.name != "std"
    return (SQRT_AT_ZERO, ()) if op.has_zero or can_be_zero else None


def _over_norm(op: Operator) -> Match | None:
    norm = op.operands[1] if op.name == "div" and len(op.operands) > 1 else None
    return (OVER_NORM, ()) if _is(norm, *_NORMS) else None


def _nan_branch(op: Operator) -> Match | None:
    if op.name != "where" or len(op.operands) != 3:
        return None
    condition, *branches = op.operands
    singular = [s for b in branches if isinstance(b, Operator) for s in _singular(b)]
    guarded = isinstance(condition, Operator) and any(
        a is x for s in singular for x in s.inputs if x.name != "where" for a in condition.ancestors(_DEPTH)
    )
    return (NAN_BRANCH, tuple(singular)) if singular and (op.hides_nonfinite or guarded) else None


def _singular(branch: Operator) -> Iterator[Operator]:
    """Yield the operators of a branch whose derivative can be infinite; a guarded operand ends the search."""
    for op in branch.ancestors(_DEPTH):
        safe = any(x.name in ("where", "masked_fill", "clamp", "clamp_min", "maximum") for x in op.inputs)
        if op.name in _SINGULAR and op.inputs and not safe and (op.name != "div" or len(op.inputs) == 2):
            yield op


def _variance(op: Operator) -> Match | None:
    if op.name != "sub" or len(op.inputs) != 2:
        return None
    of_square, squared = op.inputs[0], _square_of(op.inputs[1])
    inner, x = _mean_of(of_square), _mean_of(squared)
    return (VARIANCE, op.inputs) if x is not None and inner is not None and _same(_square_of(inner), x) else None


def _mean_of(op: Operator | None) -> Operator | None:
    if op is None:
        return None
    if op.name == "div" and len(op.inputs) == 1 and op.inputs[0].name == "sum":
        return _first(op.inputs[0])
    return _first(op) if op.name == "mean" else None


def _square_of(op: Operator) -> Operator | None:
    if op.name == "mul" and len(op.inputs) == 2 and _same(*op.inputs):
        return op.inputs[0]
    squares = op.name == "square" or (op.name == "pow" and len(op.operands) > 1 and op.operands[1] == 2)
    return _first(op) if squares else None


_PATTERNS: tuple[Callable[[Operator], Match | None], ...] = (
    _exp_over_sum,
    _sigmoid_by_hand,
    _log_of,
    _log1p_of_exp,
    _cancelling_exp,
    _variance,
    _over_norm,
    _root,
    _nan_branch,
)
