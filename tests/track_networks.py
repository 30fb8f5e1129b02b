"""Small classifiers of NtechLab's, and what they make of noise."""

import copy

import numpy as np
import torch
from torch import nn

from systems.imagenet import SCALE, SHIFT
from systems.ntechlab.models import HEIGHT, ROLES, SEQUENCE, WIDTH, Classifier, create_network


def noise_images(count: int) -> dict[str, np.ndarray]:
    """Some samples for each role, uint8 (count, t, h, w, 3)."""
    draw = np.random.default_rng(0)
    lengths = {role: SEQUENCE if role == "seq" else 1 for role in ROLES}
    return {role: draw.integers(0, 256, (count, lengths[role], HEIGHT, WIDTH, 3), dtype=np.uint8) for role in ROLES}


def networks_for(images: dict[str, np.ndarray]) -> dict[str, nn.Module]:
    """A small network for each role, by statistics that spread the scores of these samples."""
    made = {}
    for seed, role in enumerate(ROLES):
        torch.manual_seed(seed)
        network = create_network(role, "tf_efficientnet_b0_ns")
        for layer in network.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.momentum = 1.0
        x = torch.from_numpy(images[role] * SCALE + SHIFT).flatten(0, 1).permute(0, 3, 1, 2)
        with torch.no_grad():
            network.train()(x)
            network.classifier.weight.div_(network.eval()(x).std())
        made[role] = network
    return made


def scores_of(network: nn.Module, role: str, images: np.ndarray) -> np.ndarray:
    """Probabilities (count, t), by PyTorch on the CPU."""
    classifier = Classifier(copy.deepcopy(network), role)
    return classifier.p_fake(images if role == "seq" else images[:, 0]).reshape(images.shape[:2])
