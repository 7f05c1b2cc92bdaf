"""What rules look at, a type each; collected once, and only where a selected rule asks for it."""

from .collector import Collector as Collector
from .collector import Evidence as Evidence
from .collector import Unavailable as Unavailable
from .flow import Flow as Flow
from .flow import Stage as Stage
from .half_gradients import HalfGradients as HalfGradients
from .layer_gains import LayerGain as LayerGain
from .layer_gains import LayerGains as LayerGains
from .loss_direction import LossDirection as LossDirection
from .measured import Measured as Measured
from .nonfinite_origin import NonfiniteOrigin as NonfiniteOrigin
from .optimized import Optimized as Optimized
from .predicted import Predicted as Predicted
from .residual_stream import ResidualStreams as ResidualStreams
from .scanned import NonfiniteBatch as NonfiniteBatch
from .scanned import Scanned as Scanned
from .stepped import Stepped as Stepped
from .traced import Traced as Traced
