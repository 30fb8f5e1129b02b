"""What made-up videos show besides faces: clothes, the room behind, the sensor's noise."""

import cv2
import numpy as np

from preprocessing.made_geometry import MIDDLE, mixed, smooth_step

_CLOTHES = ((40, 46, 60), (120, 40, 44), (52, 84, 66), (190, 186, 178), (70, 96, 140), (150, 120, 70), (60, 60, 62))


def draw_clothes(draw: np.random.Generator, xs: np.ndarray, ys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Shoulders with a round collar, at places in face units: RGB (h, w, 3) and opacity (h, w), 0 to 1."""
    out = np.abs(xs - MIDDLE)
    slope = draw.uniform(0.35, 0.5)
    collar = 177 + 13 * (1 - (out / 41) ** 2)
    top = np.where(out < 41, collar, 177 + slope * (out - 41) + np.maximum(out - 110, 0) ** 2 / 25)
    colour = mixed(draw, _CLOTHES) * draw.uniform(0.8, 1.2)
    folds = np.sin(xs * 0.06 + ys * 0.05 + 2 * np.sin(ys * 0.04 + draw.uniform(0, 6)))
    stripes = (np.sin(ys * draw.uniform(0.3, 0.8)) > 0.3) * draw.choice([0.0, 0.0, 0.35])
    seam = np.exp(-0.5 * ((ys - top - 4) / 0.8) ** 2)
    shade = (1 + 0.08 * folds) * (1 - stripes) * (1 - 0.25 * seam)
    return colour * shade[..., None], smooth_step((ys - top) / 1.5 + 0.5)


def draw_room(draw: np.random.Generator, width: int, height: int) -> np.ndarray:
    """A blurred room behind the head: a wall, some things on it, a little texture. RGB float32 (h, w, 3), 0 to 255."""
    wall = draw.uniform(70, 190) * (1 + draw.normal(0, 0.05, 3))
    patches = wall + draw.normal(0, 14, (5, 8, 1)) + draw.normal(0, 2, (5, 8, 3))
    room = cv2.resize(patches.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    for _ in range(draw.integers(3, 9)):
        centre = draw.uniform(0, 1, 2) * (width, height)
        half = draw.uniform(0.04, 0.25, 2) * height
        colour = draw.uniform(30, 200) * (1 + draw.normal(0, 0.1, 3))
        corners = [(int(x), int(y)) for x, y in (centre - half, centre + half)]
        cv2.rectangle(room, *corners, [float(value) for value in colour], -1)
    room = cv2.GaussianBlur(room, (0, 0), draw.uniform(0.004, 0.015) * height)
    rough = cv2.GaussianBlur(draw.normal(0, 1, (height, width)).astype(np.float32), (0, 0), 1.5)
    return room + draw.uniform(3, 14) * rough[..., None]


def draw_noise(draw: np.random.Generator, width: int, height: int) -> np.ndarray:
    """The sensor's, about 128: uint8 (height + 64, width + 64, 3). Frames take windows of it at changing places."""
    shape = (height + 64, width + 64)
    grey = draw.standard_normal(shape, np.float32)[..., None]
    colour = draw.standard_normal((*shape, 3), np.float32)
    strength = draw.uniform(1.5, 3.0)
    return np.clip(np.rint(128 + strength * (0.8 * grey + 0.5 * colour)), 0, 255).astype(np.uint8)
