"""The calculus of signal propagation: floats and callables in, frozen results out; NumPy and SciPy alone.

Names load on first use: what is imported with all of them takes longer than a question asked of one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from steadygrad.lazy_names import lazy_names

if TYPE_CHECKING:
    from .activations import NAMES as NAMES
    from .activations import Activation as Activation
    from .activations import ClosedForms as ClosedForms
    from .activations import activation as activation
    from .batch_norm import batch_norm_gradient_factor as batch_norm_gradient_factor
    from .clipping import GradientNorm as GradientNorm
    from .clipping import gradient_norm as gradient_norm
    from .correlation_map import correlation_map as correlation_map
    from .correlation_map import derivative_gap_map as derivative_gap_map
    from .correlation_map import derivative_square_correlation as derivative_square_correlation
    from .correlation_map import gap_map as gap_map
    from .correlation_map import square_correlation as square_correlation
    from .curvature import curvature as curvature
    from .dead_units import BornDead as BornDead
    from .dead_units import born_dead as born_dead
    from .dead_units import dead_after_step as dead_after_step
    from .dead_units import dead_unit_probability as dead_unit_probability
    from .dead_units import he_gain as he_gain
    from .dead_units import recovery_steps as recovery_steps
    from .depth_scale import Convergence as Convergence
    from .depth_scale import CorrelationFixedPoint as CorrelationFixedPoint
    from .depth_scale import convergence as convergence
    from .depth_scale import correlation_fixed_points as correlation_fixed_points
    from .depth_scale import iterate_gap as iterate_gap
    from .depth_scale import trainable_depth as trainable_depth
    from .depth_scale import variance_convergence as variance_convergence
    from .edge_of_chaos import CriticalPoint as CriticalPoint
    from .edge_of_chaos import EdgeCurve as EdgeCurve
    from .edge_of_chaos import EdgeOfChaos as EdgeOfChaos
    from .edge_of_chaos import Phase as Phase
    from .edge_of_chaos import edge_of_chaos as edge_of_chaos
    from .edge_of_chaos import edge_of_chaos_curve as edge_of_chaos_curve
    from .edge_of_chaos import phase as phase
    from .finite_width import LogLaw as LogLaw
    from .finite_width import depth_laws as depth_laws
    from .finite_width import layer_law as layer_law
    from .finite_width import log_mean_square as log_mean_square
    from .finite_width import norm_moments as norm_moments
    from .finite_width import relu_log_law as relu_log_law
    from .floating_point import FORMATS as FORMATS
    from .floating_point import FloatFormat as FloatFormat
    from .floating_point import float_format as float_format
    from .gain import Gain as Gain
    from .gain import gain as gain
    from .gain import stability as stability
    from .gated import GATES as GATES
    from .gated import gated_gain as gated_gain
    from .gated import gated_gap_map as gated_gap_map
    from .gated import gated_moments as gated_moments
    from .gaussian import gaussian_mean as gaussian_mean
    from .half_precision import HalfPrecision as HalfPrecision
    from .half_precision import LayerRange as LayerRange
    from .half_precision import half_precision as half_precision
    from .initializers import INITIALIZERS as INITIALIZERS
    from .initializers import Initializer as Initializer
    from .initializers import forward_and_backward as forward_and_backward
    from .initializers import initializer as initializer
    from .jacobian import Density as Density
    from .jacobian import Isometry as Isometry
    from .jacobian import Spectrum as Spectrum
    from .jacobian import dynamical_isometry as dynamical_isometry
    from .jacobian import jacobian_density as jacobian_density
    from .jacobian import jacobian_spectrum as jacobian_spectrum
    from .mlp import mlp as mlp
    from .moments import Moments as Moments
    from .moments import moments as moments
    from .recommend import Recommendation as Recommendation
    from .recommend import recommend as recommend
    from .residual import ResidualStream as ResidualStream
    from .residual import bounded_branch_scale as bounded_branch_scale
    from .residual import residual_stream as residual_stream
    from .softmax_at_init import LogitLimits as LogitLimits
    from .softmax_at_init import SoftmaxAtInit as SoftmaxAtInit
    from .softmax_at_init import logit_limits as logit_limits
    from .softmax_at_init import softmax_at_init as softmax_at_init
    from .softmax_at_init import top_gap_exceeds as top_gap_exceeds
    from .transforms import Transformed as Transformed
    from .transforms import deep_kernel_shaping as deep_kernel_shaping
    from .transforms import tailored_relu_slope as tailored_relu_slope
    from .transforms import tailored_smooth as tailored_smooth
    from .variance_map import FixedPoint as FixedPoint
    from .variance_map import FixedPoints as FixedPoints
    from .variance_map import decay_length as decay_length
    from .variance_map import fixed_points as fixed_points
    from .variance_map import variance_map as variance_map

__all__ = lazy_names(
    __name__,
    {
        "activations": ("NAMES", "Activation", "ClosedForms", "activation"),
        "batch_norm": ("batch_norm_gradient_factor",),
        "clipping": ("GradientNorm", "gradient_norm"),
        "correlation_map": (
            "correlation_map",
            "derivative_gap_map",
            "derivative_square_correlation",
            "gap_map",
            "square_correlation",
        ),
        "curvature": ("curvature",),
        "dead_units": (
            "BornDead",
            "born_dead",
            "dead_after_step",
            "dead_unit_probability",
            "he_gain",
            "recovery_steps",
        ),
        "depth_scale": (
            "Convergence",
            "CorrelationFixedPoint",
            "convergence",
            "correlation_fixed_points",
            "iterate_gap",
            "trainable_depth",
            "variance_convergence",
        ),
        "edge_of_chaos": (
            "CriticalPoint",
            "EdgeCurve",
            "EdgeOfChaos",
            "Phase",
            "edge_of_chaos",
            "edge_of_chaos_curve",
            "phase",
        ),
        "finite_width": ("LogLaw", "depth_laws", "layer_law", "log_mean_square", "norm_moments", "relu_log_law"),
        "floating_point": ("FORMATS", "FloatFormat", "float_format"),
        "gain": ("Gain", "gain", "stability"),
        "gated": ("GATES", "gated_gain", "gated_gap_map", "gated_moments"),
        "gaussian": ("gaussian_mean",),
        "half_precision": ("HalfPrecision", "LayerRange", "half_precision"),
        "initializers": ("INITIALIZERS", "Initializer", "forward_and_backward", "initializer"),
        "jacobian": ("Density", "Isometry", "Spectrum", "dynamical_isometry", "jacobian_density", "jacobian_spectrum"),
        "mlp": ("mlp",),
        "moments": ("Moments", "moments"),
        "recommend": ("Recommendation", "recommend"),
        "residual": ("ResidualStream", "bounded_branch_scale", "residual_stream"),
        "softmax_at_init": ("LogitLimits", "SoftmaxAtInit", "logit_limits", "softmax_at_init", "top_gap_exceeds"),
        "transforms": ("Transformed", "deep_kernel_shaping", "tailored_relu_slope", "tailored_smooth"),
        "variance_map": ("FixedPoint", "FixedPoints", "decay_length", "fixed_points", "variance_map"),
    },
)
