"""Made-up face swaps: someone else's inner face over a person's."""

import numpy as np

from preprocessing.made_faces import Person
from preprocessing.made_geometry import MIDDLE, smooth_step
from preprocessing.made_layers import Layer
from preprocessing.made_scenes import Actor, Scene

_SWAP_BOX = (56.0, 54.0, 184.0, 190.0)


class Swap:
    """Another person's inner face, as a face swap has it: smaller, so blurred, roughly matched in colour, unsteady.

    It is put over the face of one actor of a scene, in front of which others may walk. `flicker` is how many times as
    unsteady as usual it is.
    """

    def __init__(self, scene: Scene, actor: Actor, seed: int, video: int, fake: int, flicker: int = 1):
        draw = np.random.default_rng((seed, 2, video, fake))
        self._scene = scene
        self._actor = actor
        self._flicker = flicker
        self._seed = (seed, 4, video, fake)
        donor, person = Person(draw), actor.person
        mask = _SwapMask(draw)
        fit = _fit(person.landmarks(), donor.landmarks())  # as swaps do: the donor's landmarks onto the target's
        strength, offset = draw.uniform(0.8, 0.97), draw.normal(0, 2, 3) + draw.normal(0, 3)

        def paint(xs: np.ndarray, ys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            target, _ = person.draw(xs, ys)
            image, _ = donor.draw(*np.tensordot(fit[:, :2], np.stack([xs, ys]), 1) + fit[:, 2, None, None])
            alpha = mask.draw(xs, ys)
            return _matched(image, target, alpha > 0.5, strength) + offset, alpha

        self._layer = Layer(_SWAP_BOX, draw.uniform(0.38, 0.52) * actor.scale, paint, oversampling=3)

    def paste(self, frame: np.ndarray, index: int) -> np.ndarray:
        """Put the swapped face into a real frame, RGB uint8 (height, width, 3), in place, and return it."""
        draw = np.random.default_rng((*self._seed, index))
        pose = self._actor.pose(index)
        pose[:, 2] += draw.normal(0, 0.25 * self._flicker * self._actor.scale, 2)
        strength = 0.012 * self._flicker
        tint = self._scene.brightness(index) * (1 + draw.normal(0, strength, 3) + draw.normal(0, strength))
        light, expression = self._scene.light(index), self._actor.expression(index)
        hidden = self._scene.hidden(self._actor, index)
        behind = hidden > 0
        real = frame[behind]
        self._layer.show(frame, pose, light, expression, tint, opacity=draw.uniform(0.9, 1.0))
        share = hidden[behind, None].astype(np.float32) / 255
        frame[behind] = np.rint(frame[behind] + share * (real.astype(np.float32) - frame[behind]))
        return frame


class _SwapMask:
    """Where the swapped face covers the other: a soft ellipse over eyes, nose and mouth."""

    def __init__(self, draw: np.random.Generator):
        self._centre = np.array([MIDDLE, 121]) + draw.normal(0, 1.5, 2)
        self._size = (draw.uniform(35, 41), draw.uniform(38, 45))
        self._edge = draw.uniform(0.10, 0.22)  # of its size

    def draw(self, xs: np.ndarray, ys: np.ndarray) -> np.ndarray:
        """Opacity, 0 to 1, at places in face units."""
        radius = np.hypot((xs - self._centre[0]) / self._size[0], (ys - self._centre[1]) / self._size[1])
        return smooth_step((1 + self._edge - radius) / (2 * self._edge))


def _matched(image: np.ndarray, target: np.ndarray, inside: np.ndarray, strength: float) -> np.ndarray:
    """An image whose mean and spread of each channel come near to the target's, as face swaps match colours."""
    mean, goal = image[inside].mean(axis=0), target[inside].mean(axis=0)
    ratio = target[inside].std(axis=0) / image[inside].std(axis=0)
    return (image - mean) * ratio**strength + mean + strength * (goal - mean)


def _fit(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The affine map (2, 3) that takes points (n, 2) nearest to others."""
    homogeneous = np.column_stack([source, np.ones(len(source))])
    return np.linalg.lstsq(homogeneous, target, rcond=None)[0].T
