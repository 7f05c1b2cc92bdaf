"""One table: operator to rule. A family of operators is a file; each says what it assumes."""

from __future__ import annotations

from typing import Any

from steadygrad.prediction.interpreter import Rule

from . import (
    arithmetic,
    attention,
    convolution,
    copies,
    crops,
    decisions,
    decompositions,
    fills,
    joins,
    likelihoods,
    linear,
    losses,
    maxima,
    norms,
    pointwise,
    pooling,
    reductions,
    reparametrized,
    resampling,
    selection,
    tables,
)

TABLE: dict[Any, Rule] = {
    operator: rule
    for family in (
        fills,
        copies,
        linear,
        reparametrized,
        convolution,
        pointwise,
        arithmetic,
        reductions,
        norms,
        tables,
        joins,
        selection,
        resampling,
        losses,
        likelihoods,
        pooling,
        attention,
        decisions,
        maxima,
    )
    for operator, rule in family.RULES.items()
}
TABLE["pointwise"] = pointwise.RULE  # what torch itself calls pointwise, and no family names
TABLE["taken apart"] = decompositions.RULE  # what torch itself can take apart
TABLE["assembled"] = joins.assembled  # what memory holds that was written in parts
TABLE["settled"] = crops.settled  # what samples of a part say of the whole
TABLE["known map"] = resampling.known_map  # a batch of products with one matrix of numbers
TABLE["sampled"] = pointwise.on_draws  # what can be run on numbers
