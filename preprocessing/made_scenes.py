"""Made-up scenes: one to four people in a room, any frame of which can be drawn."""

import math
from collections.abc import Iterator

import cv2
import numpy as np

from preprocessing.made_faces import Person
from preprocessing.made_geometry import CENTRE, FACE_HEIGHT, NECK, Box
from preprocessing.made_layers import Expression, Layer, lit_pair
from preprocessing.made_motion import Motion, Walk, draw_walks
from preprocessing.made_rooms import draw_clothes, draw_noise, draw_room

MOST_PEOPLE = 4
_HEAD_BOX = (-6.0, -14.0, 246.0, 212.0)  # left, top, right, bottom of what is kept of a morphed head
_HAIR_BOX = (10.0, 10.0, 230.0, 260.0)
_BODY_BOX = (-100.0, 160.0, 340.0, 330.0)
_FACE_BOX = (76.0, 66.0, 163.0, 175.0)  # MTCNN's, on average
_LARGEST = 0.55  # the height of a face, of the frame's shorter side
_ELBOW_ROOM = 190.0  # the width that each of several people has, in the face units of the largest of them
_REACH = 200.0  # from the middle of a body to where it ends on either side
_SWAY = 15.0  # how far a body goes up and down at most
_LEAST_SEEN = 0.5  # the share of a face that must be seen for it to have a box


class Scene:
    """People in one room: draws any of its frames.

    `frames` is how long the video is, and matters where people walk by `movement`, one of made_motion.MOVEMENTS.
    """

    def __init__(
        self, seed: int, video: int, *, frames: int, width: int, height: int, people: int = 1, movement: str = "still"
    ):
        draw = np.random.default_rng((seed, 1, video))
        self._size = (width, height)
        self.actors = [Actor(draw, number, people, self._size) for number in range(people)]
        self._move = self.actors[0].move
        self._room = lit_pair(draw_room(draw, width, height), np.linspace(-1, 1, width), 0.16)
        for actor in self.actors:
            actor.dress(draw)
        self._noise = draw_noise(draw, width, height)
        self._back_to_front = sorted(self.actors, key=lambda actor: actor.scale)  # the larger are nearer
        stands, reaches = ([getattr(actor, name) for actor in self.actors] for name in ("stand", "reach"))
        walks = draw_walks(np.random.default_rng((seed, 6, video)), movement, stands, reaches, frames, width)
        for actor, walk in zip(self.actors, walks, strict=True):
            actor.walk = walk

    def render(self, index: int) -> np.ndarray:
        """Frame `index`, RGB uint8 (height, width, 3)."""
        light = self.light(index)
        frame = cv2.addWeighted(self._room[0], 1 - light, self._room[1], light, 0)
        for actor in self._back_to_front:
            actor.show(frame, index, light)
        top, left = np.random.default_rng((index, 3)).integers(0, 64, 2)
        noise = self._noise[top : top + self._size[1], left : left + self._size[0]]
        return cv2.addWeighted(frame, self.brightness(index), noise, 1, -128)

    def light(self, index: int) -> float:
        """Where the light comes from: 0 is left, 1 is right."""
        return self._move.light(index)

    def brightness(self, index: int) -> float:
        """Of the whole frame: a factor."""
        return self._move.brightness(index)

    def face_boxes(self, index: int) -> dict[int, tuple[int, int, int, int]]:
        """The faces of frame `index` that are seen for the better part, x1, y1, x2, y2 in pixels, by the number of the
        actor. A box may lie outside the frame in part."""
        return {
            self.actors.index(actor): box
            for actor, hidden in self._front_to_back(index)
            if _seen(box := actor.face_box(index), hidden) >= _LEAST_SEEN
        }

    def hidden(self, actor: "Actor", index: int) -> np.ndarray:
        """Where those in front of an actor hide what is behind them at frame `index`: uint8 (height, width), to 255."""
        return next(mask for other, mask in self._front_to_back(index) if other is actor)

    def _front_to_back(self, index: int) -> Iterator[tuple["Actor", np.ndarray]]:
        """Each actor, and what those in front of it hide, uint8 (height, width), which the next step changes."""
        mask = np.zeros((self._size[1], self._size[0], 3), np.uint8)
        for actor in reversed(self._back_to_front):
            yield actor, mask[..., 0]
            if actor is not self._back_to_front[0]:
                actor.cover(mask, index)


class Actor:
    """One person of a scene: where they stand, how they move, and what they are drawn with.

    `number` counts from the left. `scale` is in frame pixels to a face unit; `stand`, where the middle of the face is
    but for how it moves, and `reach`, the half of the width that body and head can take, are in pixels.
    """

    def __init__(self, draw: np.random.Generator, number: int, people: int, size: tuple[int, int]):
        self.person = Person(draw)
        shorter = min(size)
        crowd = min(size[0] / people / _ELBOW_ROOM / (_LARGEST * shorter / FACE_HEIGHT), 1.0)  # of full scenes
        self.scale = draw.uniform(0.46, _LARGEST) * shorter / FACE_HEIGHT * crowd
        self.move = Motion(draw)
        self.walk = Walk()
        place = np.array([(number + draw.uniform(0.4, 0.6)) / people, draw.uniform(0.5, 0.54)])
        self._place = place * np.array(size)
        self._sway = shorter * crowd
        self._height = size[1]

    def dress(self, draw: np.random.Generator) -> None:
        """Draw hair, head and clothes, which takes time: once, before anything is shown."""
        fine, coarse = min(1.2 * self.scale, 5.0), min(self.scale, 3.0)  # the head's is warped twice
        self._hair = Layer(_HAIR_BOX, coarse, self.person.draw_long_hair) if draw.random() < 0.45 else None
        self._head = Layer(_HEAD_BOX, fine, self.person.draw)
        floor = CENTRE[1] + (self._height - self._place[1]) / self.scale + _SWAY
        body = (*_BODY_BOX[:3], max(_BODY_BOX[3], floor))
        self._body = Layer(body, coarse, lambda xs, ys: draw_clothes(draw, xs, ys))

    @property
    def stand(self) -> float:
        return self._place[0]

    @property
    def reach(self) -> float:
        return _REACH * self.scale

    def show(self, frame: np.ndarray, index: int, light: float) -> None:
        """Put the person into a frame, RGB uint8 (height, width, 3), in place."""
        for layer, pose, expression in self._layers(index):
            layer.show(frame, pose, light, expression)

    def cover(self, mask: np.ndarray, index: int) -> None:
        """Draw the person's outline, white, into `mask`, uint8 (height, width, 3), in place."""
        for layer, pose, expression in self._layers(index):
            layer.cover(mask, pose, expression)

    def _layers(self, index: int) -> list[tuple[Layer, np.ndarray, Expression | None]]:
        hair = [(self._hair, self.pose(index, follow=0.95), None)] if self._hair else []
        head = (self._head, self.pose(index), self.expression(index))
        return [*hair, head, (self._body, self.pose(index, follow=0.8), None)]

    def pose(self, index: int, follow: float = 1.0) -> np.ndarray:
        """The map from face units to pixels of frame `index`, float64 (2, 3). The body follows the head by a part."""
        move = self.move
        angle = move.angle(index) * (1.0 if follow == 1 else 0.2)
        scale = self.scale * move.scale(index)
        turn = scale * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        shift = np.array([move.x(index), move.y(index)]) * follow
        neck = self._place + shift * self._sway + self.scale * (np.array(NECK) - CENTRE) + (self.walk.at(index), 0.0)
        return np.column_stack([turn, neck - turn @ NECK])

    def expression(self, index: int) -> Expression:
        """What the face does at frame `index`."""
        move = self.move
        eyes = move.squint(index) + move.blink(index)
        return Expression(yaw=move.yaw(index), nod=move.nod(index), mouth=move.mouth(index), eyes=eyes)

    def face_box(self, index: int) -> tuple[int, int, int, int]:
        """Where the face is at frame `index`, as MTCNN frames it: x1, y1, x2, y2 in pixels."""
        pose = self.pose(index)
        left, top, right, bottom = _FACE_BOX
        scale = math.hypot(*pose[:, 0])
        half = scale * np.array([right - left, bottom - top]) / 2
        middle = pose @ ((left + right) / 2, (top + bottom) / 2, 1)
        x1, y1, x2, y2 = np.rint([*(middle - half), *(middle + half)]).astype(int).tolist()
        return x1, y1, x2, y2


def _seen(box: Box, hidden: np.ndarray) -> float:
    """The share of a box that is in the picture and not hidden, 0 to 1."""
    x1, y1, x2, y2 = box
    inside = hidden[max(y1, 0) : max(y2, 0), max(x1, 0) : max(x2, 0)]
    return (255 - inside.astype(np.float32)).sum() / 255 / ((x2 - x1) * (y2 - y1))
