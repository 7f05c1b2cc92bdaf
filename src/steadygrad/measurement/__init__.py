"""Evidence from real tensors: one forward and backward of a model, and what the data hold."""

from .first_nonfinite import FirstNonfinite as FirstNonfinite
from .measure import measure as measure
from .observation import Call as Call
from .observation import Observation as Observation
from .observe import observe as observe
from .operations import LeafCall as LeafCall
from .operations import Operation as Operation
from .operations import Operations as Operations
from .operations import operations as operations
from .virtual_steps import VirtualSteps as VirtualSteps
from .virtual_steps import virtual_steps as virtual_steps
