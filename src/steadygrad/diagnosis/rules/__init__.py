"""The table of codes: a rule a file, in the order from cause to effect."""

from steadygrad.diagnosis.rule_file import rule

from . import (
    collapsed_attention,
    collapsed_correlation,
    dead_network_risk,
    dead_units,
    exploding_gradient,
    exploding_signal,
    fan_mismatch,
    gradient_ascent,
    half_precision_overflow,
    half_precision_underflow,
    identical_layers,
    init_gain_mismatch,
    no_gradient,
    non_finite_activation,
    non_finite_data,
    non_finite_gradient,
    optimizer_epsilon,
    parameters_not_optimized,
    saturated_units,
    symmetric_units,
    unscaled_residual_branch,
    vanishing_gradient,
    vanishing_signal,
)

# Weights that start wrong explain whatever comes of them.
_START = ("INI002", "INI003", "INI004", "INI001", "INI005")

_BY_CAUSE = (
    rule("DAT003", "non-finite-data", non_finite_data),
    rule("INI002", "symmetric-units", symmetric_units),
    rule("INI003", "identical-layers", identical_layers),
    rule("INI004", "fan-mismatch", fan_mismatch),
    rule("INI001", "init-gain-mismatch", init_gain_mismatch, explained_by=("INI002", "INI004")),
    rule("INI005", "unscaled-residual-branch", unscaled_residual_branch, explained_by=("INI001",)),
    rule("INI006", "dead-network-risk", dead_network_risk),
    rule("OPT005", "parameters-not-optimized", parameters_not_optimized),
    rule("OPT006", "gradient-ascent", gradient_ascent),
    rule("NUM001", "half-precision-overflow", half_precision_overflow, explained_by=_START),
    rule("FWD004", "saturated-units", saturated_units, explained_by=_START),
    rule("FWD005", "dead-units", dead_units, explained_by=(*_START, "INI006", "NUM001")),
    rule(
        "FWD003", "collapsed-correlation", collapsed_correlation, explained_by=(*_START, "INI006", "NUM001", "FWD005")
    ),
    rule(
        "FWD001", "vanishing-signal", vanishing_signal, explained_by=(*_START, "INI006", "NUM001", "FWD005", "FWD003")
    ),
    rule("FWD002", "exploding-signal", exploding_signal, explained_by=(*_START, "NUM001")),
    rule("FWD007", "collapsed-attention", collapsed_attention, explained_by=(*_START, "FWD002")),
    # NaN in the data explains neither of the two: what is measured is a batch that is finite.
    rule("FWD006", "non-finite-activation", non_finite_activation, explained_by=("INI005", "NUM001", "FWD002")),
    rule(
        "BWD001",
        "vanishing-gradient",
        vanishing_gradient,
        explained_by=(*_START, "INI006", "NUM001", "FWD004", "FWD005", "FWD003", "FWD001"),
    ),
    rule("BWD002", "exploding-gradient", exploding_gradient, explained_by=(*_START, "NUM001", "FWD002")),
    rule(
        "NUM002",
        "half-precision-underflow",
        half_precision_underflow,
        explained_by=(*_START, "NUM001", "FWD001", "BWD001"),
    ),
    rule(
        "BWD003",
        "no-gradient",
        no_gradient,
        explained_by=(*_START, "INI006", "NUM001", "FWD004", "FWD005", "FWD003", "FWD001", "BWD001", "NUM002"),
    ),
    rule("BWD004", "non-finite-gradient", non_finite_gradient, explained_by=("NUM001", "FWD006", "BWD002")),
    rule("OPT004", "optimizer-epsilon", optimizer_epsilon, explained_by=(*_START, "FWD005", "FWD001", "BWD001")),
)

RULES = {found.code: found for found in _BY_CAUSE}
