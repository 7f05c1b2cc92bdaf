"""The softmax family, stable and bounded: NumPy arrays and torch tensors alike."""

from .entropy import entropy as entropy
from .kl_divergence import kl_divergence as kl_divergence
from .logsumexp import logsumexp as logsumexp
from .sigmoid import log1mexp as log1mexp
from .sigmoid import log_sigmoid as log_sigmoid
from .sigmoid import sigmoid as sigmoid
from .sigmoid import softplus as softplus
from .softmax import log_softmax as log_softmax
from .softmax import softmax as softmax
