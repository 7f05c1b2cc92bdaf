"""How a parameter is filled: recipes that know their deviation, their words and their code in plain torch."""

from .asymmetric import Asymmetric as Asymmetric
from .blocks import Blocks as Blocks
from .constant import Constant as Constant
from .identity import Identity as Identity
from .independent import DISTRIBUTIONS as DISTRIBUTIONS
from .independent import Distribution as Distribution
from .independent import Normal as Normal
from .independent import TruncatedNormal as TruncatedNormal
from .independent import Uniform as Uniform
from .independent import independent as independent
from .looks_linear import LooksLinear as LooksLinear
from .orthogonal import DeltaOrthogonal as DeltaOrthogonal
from .orthogonal import Orthogonal as Orthogonal
from .recipe import Independent as Independent
from .recipe import Recipe as Recipe
from .sparse import Sparse as Sparse
