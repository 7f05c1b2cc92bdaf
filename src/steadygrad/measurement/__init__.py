"""Evidence from real tensors: one forward and backward of a model, and what the data hold."""

from .first_nonfinite import FirstNonfinite as FirstNonfinite
from .measure import measure as measure
from .observation import Call as Call
from .observation import Observation as Observation
from .observe import observe as observe
