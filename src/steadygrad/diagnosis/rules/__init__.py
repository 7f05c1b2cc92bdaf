"""The table of codes: a rule a file, in the order from cause to effect."""

from steadygrad.diagnosis.rule_file import rule

from . import (
    activated_logits,
    batch_size_dependent_loss,
    broadcast_loss,
    clipping_needed,
    clipping_too_tight,
    collapsed_attention,
    collapsed_correlation,
    constant_features,
    dead_network_risk,
    dead_units,
    divergence,
    dying_units,
    exploding_gradient,
    exploding_signal,
    fan_mismatch,
    gradient_ascent,
    gradients_not_zeroed,
    half_precision_overflow,
    half_precision_underflow,
    identical_layers,
    init_gain_mismatch,
    initial_loss_off,
    invalid_labels,
    learning_rate_too_high,
    learning_rate_too_low,
    loss_spike,
    loss_task_mismatch,
    misplaced_clipping,
    missing_nonlinearity,
    mixed_examples,
    no_gradient,
    no_progress,
    non_finite_activation,
    non_finite_data,
    non_finite_gradient,
    optimizer_epsilon,
    oscillating_loss,
    output_range_mismatch,
    overwritten_batch,
    parameters_not_optimized,
    saturated_units,
    single_class_softmax,
    symmetric_units,
    unbounded_loss,
    unscaled_inputs,
    unscaled_residual_branch,
    unscaled_targets,
    unstable_softmax,
    vanishing_gradient,
    vanishing_signal,
    weight_decay_too_strong,
)

# What is wrong before a layer has run, and what the loss is told wrongly: whatever is out of scale after them may be so
# for that reason.
_DATA = ("DAT006", "DAT005", "DAT004", "DAT001", "DAT002")
_LOSS = ("LOS006", "LOS002", "LOS001", "LOS005", "LOS003", "LOS007", "LOS008")
# Weights that start wrong explain whatever comes of them.
_START = ("INI002", "INI003", "INI004", "INI001", "INI005")
_FORWARD = ("DAT004", "DAT001", *_START, "INI006", "NUM001")
_BACKWARD = ("DAT004", "DAT001", "DAT002", *_LOSS, *_START, "INI006", "NUM001")
# Whatever leaves hardly any gradient leaves one that an optimizer's epsilon is large against.
_NO_GRADIENT = ("FWD005", "FWD004", "FWD003", "FWD001", "FWD007", "BWD001")

_BY_CAUSE = (
    rule("DAT003", "non-finite-data", non_finite_data),
    rule("DAT006", "overwritten-batch", overwritten_batch),
    rule("DAT005", "invalid-labels", invalid_labels),
    rule("DAT004", "constant-features", constant_features),
    rule("DAT001", "unscaled-inputs", unscaled_inputs),
    rule("DAT002", "unscaled-targets", unscaled_targets),
    rule("LOS006", "broadcast-loss", broadcast_loss),
    rule("LOS002", "single-class-softmax", single_class_softmax),
    rule("LOS001", "activated-logits", activated_logits),
    rule("LOS005", "output-range-mismatch", output_range_mismatch),
    rule("LOS003", "unstable-softmax", unstable_softmax),
    rule("LOS007", "loss-task-mismatch", loss_task_mismatch),
    rule("LOS008", "batch-size-dependent-loss", batch_size_dependent_loss),
    rule("NET001", "missing-nonlinearity", missing_nonlinearity, explained_by=("LOS002",)),
    rule("NET002", "mixed-examples", mixed_examples),
    rule("INI002", "symmetric-units", symmetric_units),
    rule("INI003", "identical-layers", identical_layers),
    rule("INI004", "fan-mismatch", fan_mismatch),
    rule("INI001", "init-gain-mismatch", init_gain_mismatch, explained_by=("INI002", "INI004")),
    rule("INI005", "unscaled-residual-branch", unscaled_residual_branch, explained_by=("INI001",)),
    rule("INI006", "dead-network-risk", dead_network_risk),
    rule("OPT005", "parameters-not-optimized", parameters_not_optimized),
    rule("OPT006", "gradient-ascent", gradient_ascent),
    # What a loop does in the wrong order it does whatever the model: nothing before it explains it.
    rule("OPT009", "gradients-not-zeroed", gradients_not_zeroed),
    rule("OPT008", "misplaced-clipping", misplaced_clipping),
    rule("NUM001", "half-precision-overflow", half_precision_overflow, explained_by=_START),
    rule("FWD004", "saturated-units", saturated_units, explained_by=("DAT004", "DAT001", *_START)),
    # A head that ends in a ReLU it should not have may be dead from the start: the ReLU is what is wrong.
    rule("FWD005", "dead-units", dead_units, explained_by=(*_FORWARD, "LOS005")),
    rule("FWD003", "collapsed-correlation", collapsed_correlation, explained_by=(*_FORWARD, "FWD005")),
    rule("FWD001", "vanishing-signal", vanishing_signal, explained_by=(*_FORWARD, "FWD005", "FWD003")),
    rule("FWD002", "exploding-signal", exploding_signal, explained_by=_FORWARD),
    rule("LOS004", "initial-loss-off", initial_loss_off, explained_by=(*_DATA, *_LOSS, *_START, "FWD002")),
    rule("FWD007", "collapsed-attention", collapsed_attention, explained_by=(*_START, "FWD002")),
    # NaN in the data explains neither of the two: what is measured is a batch that is finite. Labels that a loss cannot
    # take, or passes over, may make it 0 / 0.
    rule(
        "FWD006",
        "non-finite-activation",
        non_finite_activation,
        explained_by=("DAT005", "LOS007", "LOS003", "INI005", "NUM001", "FWD002"),
    ),
    rule(
        "BWD001",
        "vanishing-gradient",
        vanishing_gradient,
        explained_by=(*_BACKWARD, "FWD004", "FWD005", "FWD003", "FWD001"),
    ),
    rule("BWD002", "exploding-gradient", exploding_gradient, explained_by=(*_BACKWARD, "FWD004", "FWD002")),
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
        explained_by=("DAT005", *_BACKWARD, "FWD004", "FWD005", "FWD003", "FWD001", "FWD007", "BWD001", "NUM002"),
    ),
    rule(
        "BWD004",
        "non-finite-gradient",
        non_finite_gradient,
        explained_by=("DAT005", "LOS003", "NUM001", "FWD006", "BWD002"),
    ),
    # Weights in half precision are the cause of what overflows and of an epsilon that is nothing.
    rule("OPT004", "optimizer-epsilon", optimizer_epsilon, explained_by=(*_START, *_NO_GRADIENT, "NUM001", "NUM002")),
)

# What is wrong before the first step is not the doing of a step: it explains whatever steps show. A model without
# nonlinearity and an optimizer that holds part of it still take steps of the right size.
_STATIC = tuple(found.code for found in _BY_CAUSE)
OF_STEPS = tuple(code for code in _STATIC if code not in ("NET001", "OPT005"))

_BY_STEPS = (
    rule("LOS009", "unbounded-loss", unbounded_loss, explained_by=OF_STEPS),
    # A step a hundred times too long on a few batches looks like a rate that is too high on all of them.
    rule("OPT003", "clipping-needed", clipping_needed, explained_by=(*OF_STEPS, "LOS009")),
    rule("OPT010", "weight-decay-too-strong", weight_decay_too_strong, explained_by=OF_STEPS),
    rule("OPT001", "learning-rate-too-high", learning_rate_too_high, explained_by=(*OF_STEPS, "LOS009", "OPT003")),
    rule("OPT007", "clipping-too-tight", clipping_too_tight, explained_by=OF_STEPS),
    rule("OPT002", "learning-rate-too-low", learning_rate_too_low, explained_by=(*OF_STEPS, "OPT007")),
)

# A trial's symptoms stand beside no cause, and the graver of them explain the others.
_CAUSES = (*_STATIC, *(found.code for found in _BY_STEPS))

_IN_A_RUN = (
    rule("RUN002", "divergence", divergence, explained_by=_CAUSES),
    rule("RUN005", "dying-units", dying_units, explained_by=(*_CAUSES, "RUN002")),
    rule("RUN003", "oscillating-loss", oscillating_loss, explained_by=(*_CAUSES, "RUN002")),
    rule("RUN001", "loss-spike", loss_spike, explained_by=(*_CAUSES, "RUN002", "RUN003")),
    rule("RUN004", "no-progress", no_progress, explained_by=(*_CAUSES, "RUN005", "RUN003")),
)

RULES = {found.code: found for found in (*_BY_CAUSE, *_BY_STEPS, *_IN_A_RUN)}
