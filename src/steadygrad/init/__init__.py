"""Initializers, in place, on fans, for a layer or all layers of a module; and the plan for a whole module."""

from .asymmetric import randomized_asymmetric_ as randomized_asymmetric_
from .asymmetric import sparse_ as sparse_
from .constants import constant_ as constant_
from .constants import zeros_ as zeros_
from .forget_gate import forget_bias_ as forget_bias_
from .he import he_normal_ as he_normal_
from .he import he_uniform_ as he_uniform_
from .lecun import lecun_normal_ as lecun_normal_
from .lecun import lecun_uniform_ as lecun_uniform_
from .orthogonal import delta_orthogonal_ as delta_orthogonal_
from .orthogonal import identity_ as identity_
from .orthogonal import looks_linear_ as looks_linear_
from .orthogonal import orthogonal_ as orthogonal_
from .plan import Plan as Plan
from .plan import Planned as Planned
from .plan import plan as plan
from .truncated import truncated_normal_ as truncated_normal_
from .variance_scaling import variance_scaling_ as variance_scaling_
from .xavier import xavier_normal_ as xavier_normal_
from .xavier import xavier_uniform_ as xavier_uniform_
