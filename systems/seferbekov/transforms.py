"""The published augmentation, of RGB uint8 images (h, w, 3), with albumentations 2.

The pipeline was written for albumentations 1.0, whose names now mean other distributions or have gone. What 1.0 drew:

    1.0, with its defaults                          here
    ImageCompression(60, 100), p 0.5                A.ImageCompression("jpeg", (60, 100)); as there, RGB is coded as BGR
    GaussNoise(var_limit=(10, 50)), p 0.1           Noise: std = sqrt(var), uniform in var, each channel, truncated
    GaussianBlur(blur_limit=3), p 0.05              Blur: 3x3 kernel of 1, 2, 1 (what OpenCV makes of sigma 0)
    HorizontalFlip, p 0.5                           A.HorizontalFlip
    OneOf three IsotropicResize                     A.OneOf of IsotropicResize, a third each
    PadIfNeeded(size, size), constant               A.PadIfNeeded, position "center", fill 0
    RandomBrightnessContrast 0.2, 0.2 } OneOf       BrightnessContrast: v * U(0.8, 1.2) + 255 * U(-0.2, 0.2), truncated
    FancyPCA(alpha=0.1)               } p 0.7,      PcaShift: one draw of N(0, 0.1), a constant added to each channel
    HueSaturationValue(20, 30, 20)    } a third     HueSaturation: of OpenCV's H (0 to 179), S and V, uniform
    ToGray, p 0.2                     } each        Gray: OpenCV's grey, three times
    ShiftScaleRotate(0.1, 0.2, 10), p 0.5           ShiftScaleRotate: about the centre, one scale, linear, black border

A.GaussNoise and A.GaussianBlur of 2.0 draw std and sigma from a range, A.FancyPCA draws for each component and scales
pixels instead of shifting them, A.ShiftScaleRotate scales each side by itself; those that mean the same are slower.
Images are not normalised here: they stay uint8 until they are on the device.
"""

import math
import os
from typing import Any

import cv2
import numpy as np

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # it would ask the network for a newer version, at each import

import albumentations as A


def training_transforms(size: int) -> A.Compose:
    """RGB uint8 (h, w, 3) to RGB uint8 (size, size, 3). Draws come from what `set_random_state` was given."""
    resizes = [
        IsotropicResize(size, cv2.INTER_AREA, cv2.INTER_CUBIC),
        IsotropicResize(size, cv2.INTER_AREA, cv2.INTER_LINEAR),
        IsotropicResize(size, cv2.INTER_LINEAR, cv2.INTER_LINEAR),
    ]
    return A.Compose(
        [
            A.ImageCompression("jpeg", (60, 100), p=0.5),
            Noise((10, 50), p=0.1),
            Blur(p=0.05),
            A.HorizontalFlip(p=0.5),
            A.OneOf(resizes, p=1),
            _pad(size),
            A.OneOf([BrightnessContrast(0.2, 0.2), PcaShift(0.1), HueSaturation(20, 30, 20)], p=0.7),
            Gray(p=0.2),
            ShiftScaleRotate(0.1, 0.2, 10, p=0.5),
        ],
        is_check_shapes=False,
    )


def validation_transforms(size: int) -> A.Compose:
    """RGB uint8 (h, w, 3) to RGB uint8 (size, size, 3), as inference does it; nothing is random."""
    return A.Compose([IsotropicResize(size, cv2.INTER_AREA, cv2.INTER_CUBIC), _pad(size)], is_check_shapes=False)


def _pad(size: int) -> A.PadIfNeeded:
    return A.PadIfNeeded(size, size, position="center", border_mode=cv2.BORDER_CONSTANT, fill=0)


class IsotropicResize(A.ImageOnlyTransform):
    """Scale so that the longer side is `max_side`; the other side is truncated to whole pixels, at least 1."""

    def __init__(self, max_side: int, interpolation_down: int, interpolation_up: int, p: float = 1.0):
        super().__init__(p=p)
        self.max_side = max_side
        self.interpolation_down = interpolation_down
        self.interpolation_up = interpolation_up

    def apply(self, img: np.ndarray, **params: Any) -> np.ndarray:
        height, width = img.shape[:2]
        longest = max(width, height)
        if longest == self.max_side:
            return img
        scale = self.max_side / longest
        width, height = (self.max_side, height * scale) if width > height else (width * scale, self.max_side)
        interpolation = self.interpolation_up if scale > 1 else self.interpolation_down
        size = max(int(width), 1), max(int(height), 1)
        if interpolation == cv2.INTER_AREA and longest % self.max_side:
            # OpenCV computes in floats, faster where it is given them; whole pixels only it adds up as integers
            return cv2.convertScaleAbs(cv2.resize(np.float32(img), size, interpolation=interpolation))
        return cv2.resize(img, size, interpolation=interpolation)


class Noise(A.ImageOnlyTransform):
    """Gaussian noise of each value, its variance drawn from `var_limit`."""

    def __init__(self, var_limit: tuple[float, float], p: float = 0.5):
        super().__init__(p=p)
        self.var_limit = var_limit

    def get_params(self) -> dict[str, Any]:
        return {"std": math.sqrt(self.py_random.uniform(*self.var_limit)), "seed": self.py_random.getrandbits(31)}

    def apply(self, img: np.ndarray, std: float, seed: int, **params: Any) -> np.ndarray:
        noise = np.empty((img.shape[0], img.shape[1] * img.shape[2]), np.int16)
        cv2.setRNGSeed(seed)
        # rounded half a level lower: what is left when the sum is truncated, as it was
        cv2.randn(noise, -0.5, std)
        return cv2.add(img, noise.reshape(img.shape), dtype=cv2.CV_8U)


class Blur(A.ImageOnlyTransform):
    """A 3x3 Gaussian blur."""

    def apply(self, img: np.ndarray, **params: Any) -> np.ndarray:
        return cv2.GaussianBlur(img, (3, 3), 0)


class BrightnessContrast(A.ImageOnlyTransform):
    """Values times 1 + contrast, plus 255 times brightness; each drawn from plus or minus its limit."""

    def __init__(self, brightness_limit: float, contrast_limit: float, p: float = 0.5):
        super().__init__(p=p)
        self.brightness_limit = brightness_limit
        self.contrast_limit = contrast_limit

    def get_params(self) -> dict[str, Any]:
        return {
            "alpha": 1 + self.py_random.uniform(-self.contrast_limit, self.contrast_limit),
            "beta": 255 * self.py_random.uniform(-self.brightness_limit, self.brightness_limit),
        }

    def apply(self, img: np.ndarray, alpha: float, beta: float, **params: Any) -> np.ndarray:
        return cv2.LUT(img, np.clip(_LEVELS * alpha + beta, 0, 255).astype(np.uint8))


class PcaShift(A.ImageOnlyTransform):
    """Colours shifted along their principal components, by eigenvalues times one draw of N(0, alpha)."""

    def __init__(self, alpha: float, p: float = 0.5):
        super().__init__(p=p)
        self.alpha = alpha

    def get_params(self) -> dict[str, Any]:
        return {"amount": self.py_random.gauss(0, self.alpha)}

    def apply(self, img: np.ndarray, amount: float, **params: Any) -> np.ndarray:
        # a shifted value truncated is the value shifted by the truncated shift, cut at 0 and 255
        shift = np.floor(255 * amount * principal_shift(img))
        return cv2.add(img, (*shift.tolist(), 0.0))


def principal_shift(img: np.ndarray) -> np.ndarray:
    """What albumentations 1.0 adds to each channel for a draw of 1: float64 (3,), in units of the whole range.

    It multiplied the eigenvalues of the colours' covariance with the transposed matrix of eigenvectors, largest first.
    """
    planes = split(img)
    count, sums = img.shape[0] * img.shape[1], np.array(cv2.sumElems(img)[:3])
    squares = [cv2.norm(plane, cv2.NORM_L2SQR) for plane in planes]
    # sums of whole numbers, so exact: 2 a b = a^2 + b^2 - (a - b)^2
    products = np.diag(squares)
    for i, j in ((0, 1), (0, 2), (1, 2)):
        between = cv2.norm(planes[i], planes[j], cv2.NORM_L2SQR)
        products[i, j] = products[j, i] = (squares[i] + squares[j] - between) / 2
    covariance = (products - np.outer(sums, sums) / count) / max(count - 1, 1) / 255**2
    values, vectors = np.linalg.eigh(covariance)
    return vectors[:, ::-1].T @ values[::-1]


def split(img: np.ndarray) -> np.ndarray:
    """Channels first: contiguous uint8 (3, h, w). OpenCV is four times as fast when it is given where to."""
    planes = np.empty((img.shape[2], *img.shape[:2]), img.dtype)
    cv2.split(img, list(planes))
    return planes


class HueSaturation(A.ImageOnlyTransform):
    """Hue, saturation and value moved by up to these limits, in OpenCV's units for uint8."""

    def __init__(self, hue_limit: float, saturation_limit: float, value_limit: float, p: float = 0.5):
        super().__init__(p=p)
        self.hue_limit = hue_limit
        self.saturation_limit = saturation_limit
        self.value_limit = value_limit

    def get_params(self) -> dict[str, Any]:
        limits = {"hue": self.hue_limit, "saturation": self.saturation_limit, "value": self.value_limit}
        return {name: self.py_random.uniform(-limit, limit) for name, limit in limits.items()}

    def apply(self, img: np.ndarray, hue: float, saturation: float, value: float, **params: Any) -> np.ndarray:
        hsv = cv2.cvtColor(img, cv2.COLOR_RGB2HSV)
        hues = cv2.LUT(cv2.extractChannel(hsv, 0), np.mod(_LEVELS + hue, 180).astype(np.uint8))
        # as in PcaShift
        hsv = cv2.add(hsv, (0.0, math.floor(saturation), math.floor(value), 0.0))
        return cv2.cvtColor(cv2.insertChannel(hues, hsv, 0), cv2.COLOR_HSV2RGB)


class Gray(A.ImageOnlyTransform):
    """Grey in three equal channels."""

    def apply(self, img: np.ndarray, **params: Any) -> np.ndarray:
        return cv2.cvtColor(cv2.cvtColor(img, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)


class ShiftScaleRotate(A.ImageOnlyTransform):
    """Turned and scaled about the centre, then shifted; limits are parts of the sides, a part of the scale, degrees."""

    def __init__(self, shift_limit: float, scale_limit: float, rotate_limit: float, p: float = 0.5):
        super().__init__(p=p)
        self.shift_limit = shift_limit
        self.scale_limit = scale_limit
        self.rotate_limit = rotate_limit

    def get_params(self) -> dict[str, Any]:
        uniform = self.py_random.uniform
        return {
            "angle": uniform(-self.rotate_limit, self.rotate_limit),
            "scale": 1 + uniform(-self.scale_limit, self.scale_limit),
            "x": uniform(-self.shift_limit, self.shift_limit),
            "y": uniform(-self.shift_limit, self.shift_limit),
        }

    def apply(self, img: np.ndarray, angle: float, scale: float, x: float, y: float, **params: Any) -> np.ndarray:
        height, width = img.shape[:2]
        matrix = cv2.getRotationMatrix2D((width / 2, height / 2), angle, scale)
        matrix[:, 2] += x * width, y * height
        # OpenCV warps four channels in half the time of three
        warped = cv2.warpAffine(cv2.cvtColor(img, cv2.COLOR_RGB2RGBA), matrix, (width, height), flags=cv2.INTER_LINEAR)
        return cv2.cvtColor(warped, cv2.COLOR_RGBA2RGB)


_LEVELS = np.arange(256, dtype=np.float32)
