"""Where things are in the made-up faces, and the functions of places that they are drawn with.

Geometry is in face units: pixels of the crop of scikit-image's astronaut that all faces come from (made_faces.py), x to
the right and y down. That face is nearly symmetrical about MIDDLE.
"""

from dataclasses import dataclass

import numpy as np

MIDDLE = 119.5
FACE_HEIGHT = 109.0  # of MTCNN's box
CENTRE, NECK, NOSE, MOUTH, CHIN = ((MIDDLE, y) for y in (120, 172, 128, 142, 177))
EYES = ((MIDDLE - 21, 102.5), (MIDDLE + 21, 102.5))

Point = tuple[float, float]
Box = tuple[float, float, float, float]  # left, top, right, bottom


@dataclass(frozen=True, kw_only=True)
class Bump:
    """A smooth local displacement: a shift by `shift`, and a stretch about `centre` by `stretch`, both (x, y)."""

    centre: Point
    sigma: Point
    shift: Point = (0.0, 0.0)
    stretch: Point = (0.0, 0.0)

    def at(self, xs: np.ndarray, ys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        x, y = xs - self.centre[0], ys - self.centre[1]
        weight = np.exp(-0.5 * ((x / self.sigma[0]) ** 2 + (y / self.sigma[1]) ** 2))
        return weight * (self.shift[0] + self.stretch[0] * x), weight * (self.shift[1] + self.stretch[1] * y)


def spot(xs: np.ndarray, ys: np.ndarray, centre: Point, sigma: Point) -> np.ndarray:
    return np.exp(-0.5 * (((xs - centre[0]) / sigma[0]) ** 2 + ((ys - centre[1]) / sigma[1]) ** 2))


def smooth_step(values: np.ndarray) -> np.ndarray:
    """0 below 0, 1 above 1, smooth between."""
    values = np.clip(values, 0, 1)
    return values * values * (3 - 2 * values)


def mixed(draw: np.random.Generator, colours: tuple) -> np.ndarray:
    """A colour on the way from one to another."""
    first, second = draw.choice(np.array(colours, np.float64), 2)
    return first + draw.beta(0.5, 0.5) * (second - first)
