"""Made-up people: the face that scikit-image ships, with other shapes, skins and hair."""

import math

import cv2
import numpy as np
import skimage.data

from preprocessing.made_geometry import CENTRE, CHIN, EYES, MIDDLE, MOUTH, NOSE, Bump, Point, mixed, smooth_step, spot

_CROP = (slice(0, 220), slice(106, 346))
_LANDMARKS = np.array([*EYES, NOSE, (MIDDLE - 21, 140.5), (MIDDLE + 21, 140.5), CHIN])
_HEAD_OUTLINE = (
    "83,32 61,46 51,58 48,72 51,95 58,108 66,118 67,124 71,130 77,133 78,143 81,155 81,173 83,178 90,184 127,190 "
    "145,186 147,177 151,163 157,149 160,136 168,134 171,129 181,121 189,109 194,93 194,82 190,67 186,54 177,41 "
    "164,30 149,22 136,18 127,17 118,18 107,22 94,26 87,30"
)
_SKIN_OUTLINE = (
    "80,76 94,79 114,79 128,81 147,84 161,88 164,106 167,122 171,130 160,136 157,149 151,163 147,177 145,188 127,192 "
    "90,186 81,178 80,155 76,133 70,130 67,122 75,118 77,90"
)
_SKIN_TONES = ((238, 205, 184), (226, 184, 155), (208, 162, 126), (176, 128, 96), (140, 99, 75), (112, 78, 60))
_HAIR_COLOURS = ((34, 30, 30), (66, 48, 36), (104, 70, 46), (168, 132, 88), (112, 110, 108), (140, 78, 44))


class Person:
    """The face with another shape and other colours, drawn at any place and size."""

    def __init__(self, draw: np.random.Generator):
        self._bumps = _draw_shape(draw)
        self._ripples = draw.uniform(-1, 1, (6, 4)) * (0.055, 0.055, math.pi, 1.0)
        image, alpha = _source()
        self._hair_colour = mixed(draw, _HAIR_COLOURS) * draw.uniform(0.8, 1.2)
        self._hair_size = draw.uniform((60, 50), (76, 120))
        image = _coloured(draw, image, self._hair_colour)
        if draw.random() < 0.5:
            image, alpha = image[:, ::-1], alpha[:, ::-1]
        self._image = np.ascontiguousarray(image.clip(0, 255), np.float32)
        self._alpha = np.ascontiguousarray(alpha)
        self._grain = draw.normal(0, 1, (512, 512)).astype(np.float32)
        self._grain_strength = draw.uniform(2.0, 4.5)

    def draw(self, xs: np.ndarray, ys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The head at places in face units, (h, w) each: RGB (h, w, 3) and opacity (h, w), 0 to 1; float32."""
        dx, dy = self._displacement(xs, ys)
        xs, ys = np.float32(xs + dx), np.float32(ys + dy)
        ys = np.where(ys > 180, 180 + 0.3 * (ys - 180), ys)  # more neck than the spacesuit leaves to be seen
        image = cv2.remap(self._image, xs, ys, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        alpha = cv2.remap(self._alpha, xs, ys, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
        blurred = cv2.GaussianBlur(image, (0, 0), 2)
        grain = cv2.remap(self._grain, xs * 2.2 % 511, ys * 2.2 % 511, cv2.INTER_LINEAR)  # pores
        return image + 0.7 * (image - blurred) + self._grain_strength * grain[..., None], alpha

    def draw_long_hair(self, xs: np.ndarray, ys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The hair that falls behind the head, as `draw`."""
        width, length = self._hair_size
        out = np.abs(xs - MIDDLE) / (width + 4 * np.sin(0.06 * ys))
        down = (ys - 105) / np.where(ys < 105, 62, length)
        strands = np.float32(xs + 3 * np.sin(0.05 * ys + 0.03 * xs) + 60), np.float32(ys * 0.05 + 1)
        streaks = cv2.remap(cv2.GaussianBlur(self._grain, (0, 0), 1), *strands, cv2.INTER_LINEAR)
        shade = 0.6 * np.exp(0.5 * streaks - 0.25 * down.clip(0, 1))
        return self._hair_colour * shade[..., None], smooth_step((1 - out**6 - np.abs(down) ** 3) * 6)

    def landmarks(self) -> np.ndarray:
        """Where eyes, nose, corners of the mouth and chin have come to lie, float64 (6, 2), in face units."""
        points = _LANDMARKS.copy()
        for _ in range(8):  # the displacement is known at the place it leads to: its inverse is found by iteration
            points = _LANDMARKS - np.stack(self._displacement(*points.T), axis=1)
        return points

    def _displacement(self, xs: np.ndarray, ys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """From where the pixel at a place is taken, relative to it."""
        dx, dy = np.zeros_like(xs), np.zeros_like(ys)
        for bump in self._bumps:
            x, y = bump.at(xs, ys)
            dx, dy = dx + x, dy + y
        for u, v, phase, height in self._ripples:
            wave = np.sin(u * xs + v * ys + phase)
            dx, dy = dx + 0.9 * height * wave, dy - 0.9 * height * wave
        return dx, dy


def _draw_shape(draw: np.random.Generator) -> list[Bump]:
    """What makes a face another one: wider or narrower, eyes further apart, a longer nose, a broader jaw..."""

    def spread(x: float, y: float = 0.0) -> Point:
        return draw.uniform(-x, x), draw.uniform(-y, y)

    apart, up = spread(3.0, 2.5)
    eye = spread(0.18, 0.22)
    brow = draw.uniform(-2.5, 2.5)
    corner, smile = spread(3.0, 2.5)
    bumps = [
        Bump(centre=CENTRE, sigma=(70, 85), stretch=spread(0.14, 0.06)),
        Bump(centre=NOSE, sigma=(9, 9), shift=(0, draw.uniform(-3.5, 3.5)), stretch=spread(0.3)),
        Bump(centre=(MIDDLE, 115), sigma=(7, 12), stretch=spread(0.3)),
        Bump(centre=MOUTH, sigma=(20, 10), shift=(0, draw.uniform(-2, 2)), stretch=(0, draw.uniform(-0.1, 0.5))),
        Bump(centre=(MIDDLE, 163), sigma=(42, 20), stretch=spread(0.22)),
        Bump(centre=CHIN, sigma=(30, 18), shift=(0, draw.uniform(-6, 5))),
        Bump(centre=(MIDDLE, 80), sigma=(40, 12), shift=(0, draw.uniform(-5, 5))),
        Bump(centre=(MIDDLE, 30), sigma=(70, 30), shift=(0, draw.uniform(-4, 10)), stretch=spread(0.15)),
    ]
    for side, (x, y) in zip((-1, 1), EYES, strict=True):
        bumps += [
            Bump(centre=(x, y), sigma=(13, 8), shift=(side * apart, up), stretch=eye),
            Bump(centre=(x + side * 2, y - 11), sigma=(13, 4), shift=(0, brow)),
            Bump(centre=(MIDDLE + side * 21, 141), sigma=(8, 6), shift=(side * corner, smile)),
            Bump(centre=(MIDDLE + side * 65, 95), sigma=(22, 40), shift=(side * draw.uniform(-8, 12), 0)),  # hair
        ]
    return bumps


def _source() -> tuple[np.ndarray, np.ndarray]:
    """The head as it comes: RGB float32 (220, 240, 3) and opacity float32 (220, 240), 0 to 1."""
    image = np.ascontiguousarray(skimage.data.astronaut()[_CROP])
    return image.astype(np.float32), _filled(_HEAD_OUTLINE, inset=1.5, blur=0.8)


def _filled(outline: str, inset: float, blur: float) -> np.ndarray:
    """Opacity of the crop's pixels inside a polygon "x,y x,y ...", float32 (h, w), 0 to 1, with a soft edge."""
    points = np.array([pair.split(",") for pair in outline.split()], np.float32)
    mask = np.zeros([4 * (part.stop - part.start) for part in _CROP], np.uint8)
    cv2.fillPoly(mask, [np.int32(4 * points + 2)], 255)
    mask = cv2.erode(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (int(8 * inset) + 1,) * 2))
    mask = cv2.resize(mask, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    return cv2.GaussianBlur(mask.astype(np.float32) / 255, (0, 0), blur)


def _coloured(draw: np.random.Generator, image: np.ndarray, hair_colour: np.ndarray) -> np.ndarray:
    """The head with other colours of skin, hair, brows and lips, and perhaps a beard. RGB float32 (h, w, 3)."""
    height, width = image.shape[:2]
    xs, ys = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    skin = _filled(_SKIN_OUTLINE, inset=0, blur=1.5)
    mouth = spot(xs, ys, (118, 143), (19, 7))
    features = np.maximum(mouth, sum(spot(xs, ys, eye, (9, 4)) for eye in EYES))

    usual = image[(skin > 0.9) & (features < 0.3)].mean(axis=0)
    tone = mixed(draw, _SKIN_TONES) * draw.uniform(0.975, 1.025, 3)
    toned = tone * (image / usual) ** draw.uniform(0.9, 1.25)
    toned += 0.55 * features[..., None] * (image - toned)  # teeth and eyes are as white in dark faces

    hair = hair_colour * (image.mean(axis=2, keepdims=True) / 105) ** draw.uniform(0.6, 1.1)

    brows = sum(spot(xs, ys, (x, 91), (11, 2.5)) for x, _ in EYES) * draw.uniform(0, 0.5)
    beard = spot(xs, ys, (MIDDLE, 156), (40, 13)) * smooth_step((180 - ys) / 8) * (1 - mouth)
    beard = beard * (draw.random() < 0.35) * draw.uniform(0.35, 0.6)
    dark = np.maximum(brows, beard)[..., None]
    toned += dark * (0.7 * hair_colour - toned)
    lips = spot(xs, ys, (118, 143), (17, 5)) * draw.uniform(0, 0.12)
    toned *= 1 - lips[..., None] * (0, 1, 0.8)
    result = hair + skin[..., None] * (toned - hair)
    excess = np.maximum(result - 190, 0)
    return np.float32(result - excess + 60 * (1 - np.exp(-excess / 60)))  # light skin and hair keep their shades
