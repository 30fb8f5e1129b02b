"""The published sample, step by step, on today's libraries: the baseline of `benchmarks.loader`.

Crops and diffs come from `cv2.imread`, organs are dilated by SciPy, every transform is albumentations' own, and the
image is normalised in floats on the CPU. Left out is half of the face's outline, which takes dlib (and more time than
the rest).
"""

import os
import random

import cv2
import numpy as np
import torch
from scipy.ndimage import binary_dilation

from systems.imagenet import IMAGENET_MEAN, IMAGENET_STD

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # it would ask the network for a newer version, at each import

import albumentations as A


class Recipe:
    """A data root's samples by row: float32 tensors (3, size, size)."""

    def __init__(self, root: str, size: int):
        self.root = root
        self.transforms = transforms(size)

    def sample(self, video: str, file: str, original: str, label: int) -> tuple[torch.Tensor, float, bool]:
        stem = file[:-4]
        image = cv2.imread(os.path.join(self.root, "crops", video, file), cv2.IMREAD_COLOR)
        image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
        mask = np.zeros(image.shape[:2], np.uint8)
        if label:
            diff = cv2.imread(os.path.join(self.root, "diffs", video, f"{stem}_diff.png"), cv2.IMREAD_GRAYSCALE)
            mask = mask if diff is None else diff
        landmarks = os.path.join(self.root, "landmarks", original, f"{stem}.npy")
        if os.path.exists(landmarks) and random.random() < 0.7:
            image = remove_organ(image, np.load(landmarks))
        elif random.random() < 0.2:
            pass  # dlib
        elif random.random() < 0.1:
            image, mask = remove_half(image, mask, label)
        valid = np.count_nonzero(mask[mask > 20]) > 32 or label == 0
        image = self.transforms(image=image, mask=mask)["image"]
        tensor = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
        return tensor, float(np.clip(label, 0.01, 0.99)), valid


def remove_organ(image: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    points = landmarks.astype(int)
    (x1, y1), (x2, y2) = points[:2]
    width = np.hypot(x2 - x1, y2 - y1)
    if random.random() < 0.5:
        return remove_line(image, points[0], points[1], int(width // 4))
    if random.random() < 0.5:
        (x3, y3), (x4, y4) = points[3:]
        return remove_line(image, points[3], points[4], int(np.hypot(x4 - x3, y4 - y3) // 3))
    if random.random() < 0.5:
        return remove_line(image, points[2], np.array([(x1 + x2) // 2, (y1 + y2) // 2]), int(width // 4))
    return image


def remove_line(image: np.ndarray, start: np.ndarray, end: np.ndarray, dilation: int) -> np.ndarray:
    line = np.zeros(image.shape[:2], np.uint8)
    cv2.line(line, tuple(map(int, start)), tuple(map(int, end)), 1, 2)
    image = image.copy()
    image[binary_dilation(line, iterations=dilation)] = 0
    return image


def remove_half(image: np.ndarray, mask: np.ndarray, label: int) -> tuple[np.ndarray, np.ndarray]:
    changed = (mask > 0.4 * 255).astype(np.uint8)
    y, x = (side // 2 for side in mask.shape)
    halves = [np.ones_like(mask) for _ in range(6)]
    halves[0][:y] = halves[1][y:] = halves[2][:, :x] = halves[3][:, x:] = 0
    halves[4][:y, :x] = halves[4][y:, x:] = halves[5][:y, x:] = halves[5][y:, :x] = 0
    for _ in range(5):
        bits = random.choice(halves)
        if label < 0.5 or np.count_nonzero(changed * bits) > 20:
            return image * bits[..., None], mask * bits
    return image, mask


class IsotropicResize(A.ImageOnlyTransform):
    def __init__(self, max_side: int, interpolation_down: int, interpolation_up: int):
        super().__init__(p=1)
        self.max_side = max_side
        self.interpolation_down = interpolation_down
        self.interpolation_up = interpolation_up

    def apply(self, img: np.ndarray, **params: object) -> np.ndarray:
        height, width = img.shape[:2]
        if max(width, height) == self.max_side:
            return img
        scale = self.max_side / max(width, height)
        size = (self.max_side, int(height * scale)) if width > height else (int(width * scale), self.max_side)
        interpolation = self.interpolation_up if scale > 1 else self.interpolation_down
        return cv2.resize(img, size, interpolation=interpolation)


def transforms(size: int) -> A.Compose:
    return A.Compose(
        [
            A.ImageCompression(quality_range=(60, 100), p=0.5),
            A.GaussNoise(std_range=(10**0.5 / 255, 50**0.5 / 255), p=0.1),
            A.GaussianBlur(blur_limit=3, p=0.05),
            A.HorizontalFlip(),
            A.OneOf(
                [
                    IsotropicResize(size, cv2.INTER_AREA, cv2.INTER_CUBIC),
                    IsotropicResize(size, cv2.INTER_AREA, cv2.INTER_LINEAR),
                    IsotropicResize(size, cv2.INTER_LINEAR, cv2.INTER_LINEAR),
                ],
                p=1,
            ),
            A.PadIfNeeded(size, size, border_mode=cv2.BORDER_CONSTANT),
            A.OneOf([A.RandomBrightnessContrast(), A.FancyPCA(), A.HueSaturationValue()], p=0.7),
            A.ToGray(p=0.2),
            A.ShiftScaleRotate(shift_limit=0.1, scale_limit=0.2, rotate_limit=10, border_mode=cv2.BORDER_CONSTANT),
            A.Normalize(mean=IMAGENET_MEAN, std=IMAGENET_STD),
        ],
        is_check_shapes=False,
    )
