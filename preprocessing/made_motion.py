"""How made-up people move: they sway, talk and blink; they walk past each other, or leave and come back."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from preprocessing.made_geometry import smooth_step

MOVEMENTS = ("still", "cross", "leave")


class Motion:
    """Smooth curves over frame numbers, the same however many frames are made."""

    def __init__(self, draw: np.random.Generator):
        self.x = _Curve(draw, 0.0, 0.05, 90)  # of the frame's shorter side
        self.y = _Curve(draw, 0.0, 0.02, 70)
        self.angle = _Curve(draw, draw.normal(0, 0.03), 0.07, 80)
        self.scale = _Curve(draw, 1.0, 0.03, 120)
        self.yaw = _Curve(draw, draw.normal(0, 2.0), 4.5, 75)
        self.nod = _Curve(draw, draw.normal(0, 1.0), 2.5, 60)
        self.mouth = _Curve(draw, draw.uniform(0.1, 0.7), 0.45, 11)
        self.squint = _Curve(draw, 0.0, 0.15, 40)
        self.light = _Curve(draw, draw.uniform(0.3, 0.7), 0.3, 150)
        self.brightness = _Curve(draw, draw.uniform(0.9, 1.1), 0.07, 100)
        self._blink_speed, self._blink_phase = math.pi / draw.uniform(60, 130), draw.uniform(0, math.pi)

    def blink(self, index: int) -> float:
        """The eyes shut, not wholly, for some five frames every few seconds: MTCNN wants to see them."""
        return 0.7 * math.sin(self._blink_speed * index + self._blink_phase) ** 200


class _Curve:
    """A smooth function of time about `base` that strays by `amount` at most, with periods near `period` frames."""

    def __init__(self, draw: np.random.Generator, base: float, amount: float, period: float):
        self._base = base
        weights = draw.uniform(0.5, 1, 3)
        self._weights = amount * weights / weights.sum()
        self._speeds = 2 * math.pi / (period * draw.uniform(0.6, 1.7, 3))
        self._phases = draw.uniform(0, 2 * math.pi, 3)

    def __call__(self, index: int) -> float:
        return self._base + float(self._weights @ np.sin(self._speeds * index + self._phases))


@dataclass(frozen=True)
class Walk:
    """How far to the right of where they stood someone is, by legs: begin and end, frame numbers, and pixels."""

    legs: tuple[tuple[float, float, float], ...] = ()

    def at(self, index: int) -> float:
        return sum(far * float(smooth_step((index - begin) / (end - begin))) for begin, end, far in self.legs)


def draw_walks(
    draw: np.random.Generator,
    movement: str,
    stands: Sequence[float],
    reaches: Sequence[float],
    frames: int,
    width: int,
) -> list[Walk]:
    """The walk of each of the people, who stand at `stands`, from the left, and reach that far to either side, in
    pixels of a frame `width` wide. `movement` is one of MOVEMENTS:

    still   nobody walks
    cross   two who stand side by side change places: the nearer one hides the other in passing
    leave   the one at an end leaves the picture on that side, and comes back
    """
    walks = [Walk() for _ in stands]
    if movement == "cross":
        first = int(draw.integers(len(stands) - 1))
        begin, length = frames * draw.uniform(0.15, 0.35), frames * draw.uniform(0.3, 0.45)
        far = stands[first + 1] - stands[first]
        walks[first] = Walk(((begin, begin + length, far),))
        walks[first + 1] = Walk(((begin, begin + length, -far),))
    elif movement == "leave":
        left = bool(draw.integers(2))
        who = 0 if left else len(stands) - 1
        far = -(stands[who] + reaches[who]) if left else width - stands[who] + reaches[who]
        times = frames * np.array([draw.uniform(a, b) for a, b in ((0.1, 0.2), (0.35, 0.42), (0.55, 0.65), (0.8, 0.9))])
        out, gone, back, home = times.tolist()
        walks[who] = Walk(((out, gone, far), (back, home, -far)))
    return walks
