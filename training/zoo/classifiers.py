"""The winner's networks by the import path that people know; they live in systems/seferbekov/models.py."""

from systems.imagenet import IMAGENET_MEAN, IMAGENET_STD, PretrainedWeightsError
from systems.seferbekov.models import (
    ENCODERS,
    NETWORKS,
    DeepFakeClassifier,
    DeepFakeClassifierGWAP,
    DeepFakeClassifierSRM,
    GlobalWeightedAveragePool2d,
    create_encoder,
    encoder_features,
)

__all__ = [
    "ENCODERS",
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "NETWORKS",
    "DeepFakeClassifier",
    "DeepFakeClassifierGWAP",
    "DeepFakeClassifierSRM",
    "GlobalWeightedAveragePool2d",
    "PretrainedWeightsError",
    "create_encoder",
    "encoder_features",
]
