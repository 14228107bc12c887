"""Registry of metrics by name; `cyclegan.figures` has the labels of their figures."""

from __future__ import annotations

from cyclegan.evaluation.metrics.class_share import ClassShare
from cyclegan.evaluation.metrics.cycle import IdentityChange, RoundTrip
from cyclegan.evaluation.metrics.fid_kid import FeatureDistances
from cyclegan.evaluation.metrics.label_maps import LabelMaps
from cyclegan.evaluation.metrics.lpips import PerceptualDistance
from cyclegan.evaluation.metrics.metric import Metric
from cyclegan.evaluation.metrics.output_statistics import (
    CheckerboardEnergy,
    Diversity,
    LuminanceCorrelation,
    NearestTraining,
    TargetShare,
)
from cyclegan.evaluation.metrics.paired import PairedMetrics
from cyclegan.evaluation.metrics.perceptual import DistanceFromTruth, PerceptualChange

METRICS: dict[str, type[Metric]] = {
    "fid-kid": FeatureDistances,
    "diversity": Diversity,
    "target-share": TargetShare,
    "classes": ClassShare,
    "nearest": NearestTraining,
    "luminance-correlation": LuminanceCorrelation,
    "checkerboard": CheckerboardEnergy,
    "cycle": RoundTrip,
    "identity": IdentityChange,
    "identity-perceptual": PerceptualChange,
    "paired": PairedMetrics,
    "perceptual": DistanceFromTruth,
    "lpips": PerceptualDistance,
    "label-maps": LabelMaps,
}
