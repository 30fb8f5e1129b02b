"""ImageNet's statistics, by which networks that began there want their images, and the error where its weights can't be
had."""

import numpy as np

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
# uint8 pixels times SCALE plus SHIFT are normalised
SCALE = (1 / (255 * np.array(IMAGENET_STD))).astype(np.float32)
SHIFT = (-np.array(IMAGENET_MEAN) / np.array(IMAGENET_STD)).astype(np.float32)


class PretrainedWeightsError(RuntimeError):
    """Pretrained weights were asked for and could not be had."""
