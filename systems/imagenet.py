"""ImageNet's statistics, by which networks that began there want their images, and the error where its weights can't be
had."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class PretrainedWeightsError(RuntimeError):
    """Pretrained weights were asked for and could not be had."""
