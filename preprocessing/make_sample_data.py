"""Make a small data root in the format of the Deepfake Detection Challenge from one face that scikit-image ships.

    python preprocessing/make_sample_data.py --root-dir sample_data

Input: none, and no network. Output, on one machine the same to the byte for the same flags:

    sample_data/dfdc_train_part_<k>/<id>.mp4         H.264, 30 frames a second
    sample_data/dfdc_train_part_<k>/metadata.json    {"<id>.mp4": {"label": "REAL", "split": "train", "original": null},
                                                      "<id>.mp4": {"label": "FAKE", ..., "original": "<id>.mp4"}, ...}

Every real video shows that face with another shape, skin, hair, room and motion. Every fake has the inner face of one
more such person pasted over its original's. It is enough to try the pipeline, not to train a detector that is of use.
A run that was stopped goes on with the part where it stopped.
"""

import argparse
import json
import math
import os
import shlex
import string
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np
import skimage.data
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the project, from wherever this is run

from runtime import limits
from runtime.command import positive, run_command, whole, worker_count
from runtime.cores import available_cores
from runtime.errors import InputError, OutputError, UserError, printable
from runtime.files import make_folder, read_text, remove_leftovers, whole_file, write_json
from runtime.ranks import Ranks
from runtime.workers import Crash, WorkerPool

_RATE = 30
_METADATA = "metadata.json"
_SETTINGS = ".sample_data.json"
_REMEDY = "mend that and run this again: it goes on"
_SIZES = (160, 4096)  # smaller ones leave MTCNN too little of the face; larger ones take gigabytes
# more threads, and x264's macroblock tree on CPUs with AVX-512, would make the bytes vary from run to run
_ENCODER = {"crf": "20", "preset": "veryfast", "threads": "1", "mbtree": "0"}

# Geometry is in face units: pixels of the crop of astronaut() below, whose face is nearly symmetrical about _MIDDLE
_CROP = (slice(0, 220), slice(106, 346))
_MIDDLE = 119.5
_FACE_HEIGHT = 109.0  # of MTCNN's box
_CENTRE, _NECK, _NOSE, _MOUTH, _CHIN = ((_MIDDLE, y) for y in (120, 172, 128, 142, 177))
_EYES = ((_MIDDLE - 21, 102.5), (_MIDDLE + 21, 102.5))
_LANDMARKS = np.array([*_EYES, _NOSE, (_MIDDLE - 21, 140.5), (_MIDDLE + 21, 140.5), _CHIN])
_HEAD_BOX = (-6.0, -14.0, 246.0, 212.0)  # left, top, right, bottom of what is kept of a morphed head
_HAIR_BOX = (10.0, 10.0, 230.0, 260.0)
_BODY_BOX = (-100.0, 160.0, 340.0, 330.0)
_SWAP_BOX = (56.0, 54.0, 184.0, 190.0)
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
_CLOTHES = ((40, 46, 60), (120, 40, 44), (52, 84, 66), (190, 186, 178), (70, 96, 140), (150, 120, 70), (60, 60, 62))

Point = tuple[float, float]


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Make a small data root in the format of the DFDC")
    arg = parser.add_argument
    arg("--root-dir", required=True, metavar="DIR", help="where to make it; parts that are there stay")
    arg("--parts", type=positive, default=2, metavar="N", help="part folders (default: 2)")
    arg("--originals", type=positive, default=4, metavar="N", help="real videos of each part (default: 4)")
    arg("--fakes", type=whole(0), default=1, metavar="N", help="fakes of each real video (default: 1)")
    arg("--frames", type=positive, default=60, metavar="N", help=f"of each video, {_RATE} a second (default: 60)")
    arg("--width", type=_size, default=640, metavar="PIXELS", help="of the videos (default: 640)")
    arg("--height", type=_size, default=360, metavar="PIXELS", help="of the videos (default: 360)")
    arg("--flicker", type=positive, default=1, metavar="N", help="times as unsteady fakes as usual (default: 1)")
    arg("--seed", type=whole(0), default=0, metavar="N", help="another one gives other people and ids (default: 0)")
    arg("--workers", type=worker_count, default=available_cores(), metavar="N", help="processes (default: CPU cores)")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    return run_command(make, parse_args(argv))


def make(args: argparse.Namespace, ranks: Ranks) -> int:
    if ranks.rank:
        return 0  # one process makes it
    if not args.root_dir:
        raise InputError("--root-dir: is empty; name a folder to make")
    settings = {name: value for name, value in vars(args).items() if name not in ("root_dir", "workers")}
    made = make_data_root(args.root_dir, **settings, workers=args.workers)
    real = args.parts * args.originals
    print(printable(f"{real} real videos and {len(made) - real} fakes in {args.parts} parts: {args.root_dir}"))
    print(printable(f"next: ./preprocess_data.sh {shlex.quote(args.root_dir)}"))
    return 0


def make_data_root(
    root: str | os.PathLike,
    *,
    parts: int,
    originals: int,
    fakes: int,
    frames: int,
    width: int,
    height: int,
    seed: int,
    flicker: int = 1,
    workers: int = 1,
) -> list[Path]:
    """Write a data root and return the paths of its videos. Parts that are there from the same settings stay.

    `originals` counts the real videos of each part, `fakes` the fakes of each real video, `frames` the frames of each;
    `width` and `height` are even, `flicker` is how many times as unsteady as usual fakes are. Raises InputError, before
    anything is made, where a part is there that other settings made, and OutputError where something can't be written.
    """
    folders = [Path(root, f"dfdc_train_part_{part}") for part in range(parts)]
    size = {"frames": frames, "width": width, "height": height}
    settings = {"parts": parts, "originals": originals, "fakes": fakes, "seed": seed, **size}
    settings |= {"flicker": flicker} if flicker != 1 else {}
    _keep_settings(Path(root, _SETTINGS), settings, folders)
    names = iter(_draw_names(parts * originals * (1 + fakes), seed))
    made = []
    with tqdm(total=parts * originals * (1 + fakes), desc="videos", unit="video") as bar:
        for part, folder in enumerate(folders):
            films, metadata = [], {}
            for video in range(part * originals, (part + 1) * originals):
                original = None
                for fake in range(1 + fakes):  # 0 is the real one
                    name = next(names)
                    films.append(_Film(path=folder / name, seed=seed, video=video, fake=fake, flicker=flicker, **size))
                    metadata[name] = {"label": "FAKE" if fake else "REAL", "split": "train", "original": original}
                    original = original or name
            made += [film.path for film in films]
            if (folder / _METADATA).exists():
                bar.update(len(films))
                continue
            _make_folder(folder, Path(root))
            for film in films:
                remove_leftovers(film.path)
            for _ in _render_all(films, workers):
                bar.update()
            _write_json(folder / _METADATA, metadata, Path(root))
    return made


def _keep_settings(path: Path, settings: dict, folders: list[Path]) -> None:
    """Write down what the parts are made with. Raises InputError where one is there that something else made."""
    there = [folder / _METADATA for folder in folders if os.path.lexists(folder / _METADATA)]
    try:
        same = json.loads(read_text(path, limits.CONFIG)) == settings
    except (OSError, ValueError, RecursionError):
        same = False
    if there and not same:
        raise InputError(f"{there[0]} is there already, not from these settings; name another folder, or remove it")
    if not same:
        _make_folder(path.parent, path.parent)
        _write_json(path, settings, path.parent)


@dataclass(frozen=True, kw_only=True)
class _Film:
    """A video to be written. `fake` 0 is the real one."""

    path: Path
    seed: int
    video: int
    fake: int
    flicker: int
    frames: int
    width: int
    height: int


def _render_all(films: list[_Film], workers: int) -> Iterator[Path]:
    if workers == 1:
        yield from map(_render, films)
        return
    for result in WorkerPool(_renderer, workers, preload=["preprocessing.make_sample_data"]).run(films):
        if isinstance(result, Crash):
            raise UserError(f"{result.item.path}: {result.reason}")
        yield result


def _renderer() -> Callable[[_Film], Path]:
    cv2.setNumThreads(1)
    return _render


def _render(film: _Film) -> Path:
    size = {"frames": film.frames, "width": film.width, "height": film.height}
    if film.fake:
        images = fake_frames(film.seed, film.video, film.fake, flicker=film.flicker, **size)
    else:
        images = real_frames(film.seed, film.video, **size)
    return _write_video(film.path, images, film.width, film.height)


def real_frames(seed: int, video: int, *, frames: int, width: int, height: int) -> Iterator[np.ndarray]:
    """The frames of a real video, RGB uint8 (height, width, 3). `video` counts from 0: each shows another person."""
    scene = _Scene(seed, video, width, height)
    return (scene.render(index) for index in range(frames))


def fake_frames(
    seed: int, video: int, fake: int, *, frames: int, width: int, height: int, flicker: int = 1
) -> Iterator[np.ndarray]:
    """The frames of a fake made from real video `video`, RGB uint8 (height, width, 3). Each `fake` is another face.

    Outside the inner face they are equal to those of `real_frames`.
    """
    scene = _Scene(seed, video, width, height)
    swap = _Swap(scene, seed, video, fake, flicker)
    return (swap.paste(scene.render(index), index) for index in range(frames))


@dataclass(frozen=True, kw_only=True)
class _Expression:
    """How far the face is turned and nods, in face units, and shuts mouth and eyes, 1 being as good as shut."""

    yaw: float
    nod: float
    mouth: float
    eyes: float


class _Scene:
    """One person in one room: draws any of its frames."""

    def __init__(self, seed: int, video: int, width: int, height: int):
        draw = np.random.default_rng((seed, 1, video))
        self.person = _Person(draw)
        self.scale = draw.uniform(0.46, 0.55) * min(width, height) / _FACE_HEIGHT  # frame pixels to a face unit
        self._size = (width, height)
        self._move = _Motion(draw)
        self._place = np.array([draw.uniform(0.4, 0.6), draw.uniform(0.5, 0.54)])
        self._room = _lit_pair(_room(draw, width, height), np.linspace(-1, 1, width), 0.16)
        fine, coarse = min(1.2 * self.scale, 5.0), min(self.scale, 3.0)  # the head's is warped twice
        hair = self.person.draw_long_hair
        self._hair = _Layer(_HAIR_BOX, coarse, hair) if draw.random() < 0.45 else None
        self._head = _Layer(_HEAD_BOX, fine, self.person.draw)
        self._body = _Layer(_BODY_BOX, coarse, lambda xs, ys: _clothes(draw, xs, ys))
        self._noise = _noise(draw, width, height)

    def render(self, index: int) -> np.ndarray:
        """Frame `index`, RGB uint8 (height, width, 3)."""
        light = self.light(index)
        frame = cv2.addWeighted(self._room[0], 1 - light, self._room[1], light, 0)
        if self._hair:
            self._hair.show(frame, self.pose(index, follow=0.95), light)
        self._head.show(frame, self.pose(index), light, self.expression(index))
        self._body.show(frame, self.pose(index, follow=0.8), light)
        top, left = np.random.default_rng((index, 3)).integers(0, 64, 2)
        noise = self._noise[top : top + self._size[1], left : left + self._size[0]]
        return cv2.addWeighted(frame, self.brightness(index), noise, 1, -128)

    def pose(self, index: int, follow: float = 1.0) -> np.ndarray:
        """The map from face units to pixels of frame `index`, float64 (2, 3). The body follows the head by a part."""
        move, size = self._move, np.array(self._size)
        angle = move.angle(index) * (1.0 if follow == 1 else 0.2)
        scale = self.scale * move.scale(index)
        turn = scale * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        shift = np.array([move.x(index), move.y(index)]) * follow
        neck = self._place * size + shift * min(size) + self.scale * (np.array(_NECK) - _CENTRE)
        return np.column_stack([turn, neck - turn @ _NECK])

    def expression(self, index: int) -> _Expression:
        """What the face does at frame `index`."""
        move = self._move
        eyes = move.squint(index) + move.blink(index)
        return _Expression(yaw=move.yaw(index), nod=move.nod(index), mouth=move.mouth(index), eyes=eyes)

    def light(self, index: int) -> float:
        """Where the light comes from: 0 is left, 1 is right."""
        return self._move.light(index)

    def brightness(self, index: int) -> float:
        """Of the whole frame: a factor."""
        return self._move.brightness(index)


class _Swap:
    """Another person's inner face, as a face swap has it: smaller, so blurred, roughly matched in colour, unsteady."""

    def __init__(self, scene: _Scene, seed: int, video: int, fake: int, flicker: int = 1):
        draw = np.random.default_rng((seed, 2, video, fake))
        self._scene = scene
        self._flicker = flicker
        self._seed = (seed, 4, video, fake)
        donor = _Person(draw)
        mask = _SwapMask(draw)
        fit = _fit(scene.person.landmarks(), donor.landmarks())  # as swaps do: the donor's landmarks onto the target's
        strength, offset = draw.uniform(0.8, 0.97), draw.normal(0, 2, 3) + draw.normal(0, 3)

        def paint(xs: np.ndarray, ys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            target, _ = scene.person.draw(xs, ys)
            image, _ = donor.draw(*np.tensordot(fit[:, :2], np.stack([xs, ys]), 1) + fit[:, 2, None, None])
            alpha = mask.draw(xs, ys)
            return _matched(image, target, alpha > 0.5, strength) + offset, alpha

        self._layer = _Layer(_SWAP_BOX, draw.uniform(0.38, 0.52) * scene.scale, paint, oversampling=3)

    def paste(self, frame: np.ndarray, index: int) -> np.ndarray:
        """Put the swapped face into a real frame, RGB uint8 (height, width, 3), in place, and return it."""
        draw = np.random.default_rng((*self._seed, index))
        pose = self._scene.pose(index)
        pose[:, 2] += draw.normal(0, 0.25 * self._flicker * self._scene.scale, 2)
        strength = 0.012 * self._flicker
        tint = self._scene.brightness(index) * (1 + draw.normal(0, strength, 3) + draw.normal(0, strength))
        light, expression = self._scene.light(index), self._scene.expression(index)
        self._layer.show(frame, pose, light, expression, tint, opacity=draw.uniform(0.9, 1.0))
        return frame


class _Person:
    """The face with another shape and other colours, drawn at any place and size."""

    def __init__(self, draw: np.random.Generator):
        self._bumps = _draw_shape(draw)
        self._ripples = draw.uniform(-1, 1, (6, 4)) * (0.055, 0.055, math.pi, 1.0)
        image, alpha = _source()
        self._hair_colour = _mixed(draw, _HAIR_COLOURS) * draw.uniform(0.8, 1.2)
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
        out = np.abs(xs - _MIDDLE) / (width + 4 * np.sin(0.06 * ys))
        down = (ys - 105) / np.where(ys < 105, 62, length)
        strands = np.float32(xs + 3 * np.sin(0.05 * ys + 0.03 * xs) + 60), np.float32(ys * 0.05 + 1)
        streaks = cv2.remap(cv2.GaussianBlur(self._grain, (0, 0), 1), *strands, cv2.INTER_LINEAR)
        shade = 0.6 * np.exp(0.5 * streaks - 0.25 * down.clip(0, 1))
        return self._hair_colour * shade[..., None], _smooth_step((1 - out**6 - np.abs(down) ** 3) * 6)

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


@dataclass(frozen=True, kw_only=True)
class _Bump:
    """A smooth local displacement: a shift by `shift`, and a stretch about `centre` by `stretch`, both (x, y)."""

    centre: Point
    sigma: Point
    shift: Point = (0.0, 0.0)
    stretch: Point = (0.0, 0.0)

    def at(self, xs: np.ndarray, ys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        x, y = xs - self.centre[0], ys - self.centre[1]
        weight = np.exp(-0.5 * ((x / self.sigma[0]) ** 2 + (y / self.sigma[1]) ** 2))
        return weight * (self.shift[0] + self.stretch[0] * x), weight * (self.shift[1] + self.stretch[1] * y)


class _Motion:
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


class _Layer:
    """A picture in face units that is put into frames, lit from the left, from the right or between.

    `paint(xs, ys)` returns RGB (h, w, 3), 0 to 255, and opacity (h, w), 0 to 1, at places in face units. `detail` is in
    pixels to a face unit; with `oversampling` it is painted so much larger and averaged.
    """

    def __init__(self, box: tuple[float, float, float, float], detail: float, paint, oversampling: int = 1):
        left, top, right, bottom = box
        width, height = round((right - left) * detail), round((bottom - top) * detail)
        xs, ys = _grid(box, width * oversampling, height * oversampling)
        image, alpha = paint(xs, ys)
        picture = np.dstack([np.clip(image, 0, 255), 255 * alpha]).astype(np.float32)
        picture = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
        picture[..., :3] *= picture[..., 3:] / 255  # premultiplied: no fringe where it is interpolated
        xs, ys = _grid(box, width, height)
        ramp = np.tanh((xs - _MIDDLE) / 60)
        self._lit = _lit_pair(picture, ramp, 0.3)
        x_detail, y_detail = width / (right - left), height / (bottom - top)
        self._to_face = np.array([[1 / x_detail, 0, left + 0.5 / x_detail], [0, 1 / y_detail, top + 0.5 / y_detail]])
        self._places = [np.ascontiguousarray(plane) for plane in np.indices((height, width), np.float32)[::-1]]
        turn, mouth, eyes = _gestures(xs, ys)
        self._gestures = [turn * x_detail, turn * y_detail, mouth * y_detail, eyes * y_detail]

    def show(
        self,
        frame: np.ndarray,
        pose: np.ndarray,
        light: float,
        expression: _Expression | None = None,
        tint: np.ndarray | None = None,
        opacity: float = 1.0,
    ) -> None:
        """Put it into `frame`, uint8 (h, w, 3), in place. `tint` is a factor for each channel."""
        picture = cv2.addWeighted(self._lit[0], 1 - light, self._lit[1], light, 0)
        if expression is not None:
            picture = cv2.remap(picture, *self._places_of(expression), cv2.INTER_LINEAR)
        if tint is not None:
            picture = cv2.multiply(picture, (*(tint * opacity), opacity))
        matrix = pose[:, :2] @ self._to_face
        matrix[:, 2] += pose[:, 2]
        _overlay(frame, picture, matrix)

    def _places_of(self, expression: _Expression) -> tuple[np.ndarray, np.ndarray]:
        """From where each pixel is taken, float32 x (h, w) and y (h, w)."""
        xs, ys = self._places
        turn, nod, mouth, eyes = self._gestures
        xs = cv2.scaleAdd(turn, expression.yaw, xs)
        ys = cv2.scaleAdd(nod, expression.nod, ys)
        return xs, cv2.scaleAdd(eyes, expression.eyes, cv2.scaleAdd(mouth, expression.mouth, ys))


class _SwapMask:
    """Where the swapped face covers the other: a soft ellipse over eyes, nose and mouth."""

    def __init__(self, draw: np.random.Generator):
        self._centre = np.array([_MIDDLE, 121]) + draw.normal(0, 1.5, 2)
        self._size = (draw.uniform(35, 41), draw.uniform(38, 45))
        self._edge = draw.uniform(0.10, 0.22)  # of its size

    def draw(self, xs: np.ndarray, ys: np.ndarray) -> np.ndarray:
        """Opacity, 0 to 1, at places in face units."""
        radius = np.hypot((xs - self._centre[0]) / self._size[0], (ys - self._centre[1]) / self._size[1])
        return _smooth_step((1 + self._edge - radius) / (2 * self._edge))


def _gestures(xs: np.ndarray, ys: np.ndarray) -> list[np.ndarray]:
    """How places in the face move, in face units: by turning it (in x, and as much in y by nodding), by shutting the
    mouth (in y), by shutting the eyes (in y). float32 (h, w) each."""
    turn, _ = _Bump(centre=_CENTRE, sigma=(36, 46), shift=(-1, 0)).at(xs, ys)
    _, mouth = _Bump(centre=_MOUTH, sigma=(19, 9), stretch=(0, 1)).at(xs, ys)
    _, jaw = _Bump(centre=(_MIDDLE, 160), sigma=(30, 12), shift=(0, 2)).at(xs, ys)
    eyes = sum(_Bump(centre=eye, sigma=(12, 5), stretch=(0, 1)).at(xs, ys)[1] for eye in _EYES)
    return [np.float32(turn), np.float32(mouth + jaw), np.float32(eyes)]


def _draw_shape(draw: np.random.Generator) -> list[_Bump]:
    """What makes a face another one: wider or narrower, eyes further apart, a longer nose, a broader jaw..."""

    def spread(x: float, y: float = 0.0) -> Point:
        return draw.uniform(-x, x), draw.uniform(-y, y)

    apart, up = spread(3.0, 2.5)
    eye = spread(0.18, 0.22)
    brow = draw.uniform(-2.5, 2.5)
    corner, smile = spread(3.0, 2.5)
    bumps = [
        _Bump(centre=_CENTRE, sigma=(70, 85), stretch=spread(0.14, 0.06)),
        _Bump(centre=_NOSE, sigma=(9, 9), shift=(0, draw.uniform(-3.5, 3.5)), stretch=spread(0.3)),
        _Bump(centre=(_MIDDLE, 115), sigma=(7, 12), stretch=spread(0.3)),
        _Bump(centre=_MOUTH, sigma=(20, 10), shift=(0, draw.uniform(-2, 2)), stretch=(0, draw.uniform(-0.1, 0.5))),
        _Bump(centre=(_MIDDLE, 163), sigma=(42, 20), stretch=spread(0.22)),
        _Bump(centre=_CHIN, sigma=(30, 18), shift=(0, draw.uniform(-6, 5))),
        _Bump(centre=(_MIDDLE, 80), sigma=(40, 12), shift=(0, draw.uniform(-5, 5))),
        _Bump(centre=(_MIDDLE, 30), sigma=(70, 30), shift=(0, draw.uniform(-4, 10)), stretch=spread(0.15)),
    ]
    for side, (x, y) in zip((-1, 1), _EYES, strict=True):
        bumps += [
            _Bump(centre=(x, y), sigma=(13, 8), shift=(side * apart, up), stretch=eye),
            _Bump(centre=(x + side * 2, y - 11), sigma=(13, 4), shift=(0, brow)),
            _Bump(centre=(_MIDDLE + side * 21, 141), sigma=(8, 6), shift=(side * corner, smile)),
            _Bump(centre=(_MIDDLE + side * 65, 95), sigma=(22, 40), shift=(side * draw.uniform(-8, 12), 0)),  # hair
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
    mouth = _spot(xs, ys, (118, 143), (19, 7))
    features = np.maximum(mouth, sum(_spot(xs, ys, eye, (9, 4)) for eye in _EYES))

    usual = image[(skin > 0.9) & (features < 0.3)].mean(axis=0)
    tone = _mixed(draw, _SKIN_TONES) * draw.uniform(0.975, 1.025, 3)
    toned = tone * (image / usual) ** draw.uniform(0.9, 1.25)
    toned += 0.55 * features[..., None] * (image - toned)  # teeth and eyes are as white in dark faces

    hair = hair_colour * (image.mean(axis=2, keepdims=True) / 105) ** draw.uniform(0.6, 1.1)

    brows = sum(_spot(xs, ys, (x, 91), (11, 2.5)) for x, _ in _EYES) * draw.uniform(0, 0.5)
    beard = _spot(xs, ys, (_MIDDLE, 156), (40, 13)) * _smooth_step((180 - ys) / 8) * (1 - mouth)
    beard = beard * (draw.random() < 0.35) * draw.uniform(0.35, 0.6)
    dark = np.maximum(brows, beard)[..., None]
    toned += dark * (0.7 * hair_colour - toned)
    lips = _spot(xs, ys, (118, 143), (17, 5)) * draw.uniform(0, 0.12)
    toned *= 1 - lips[..., None] * (0, 1, 0.8)
    result = hair + skin[..., None] * (toned - hair)
    excess = np.maximum(result - 190, 0)
    return np.float32(result - excess + 60 * (1 - np.exp(-excess / 60)))  # light skin and hair keep their shades


def _clothes(draw: np.random.Generator, xs: np.ndarray, ys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Shoulders with a round collar, at places in face units: RGB (h, w, 3) and opacity (h, w), 0 to 1."""
    out = np.abs(xs - _MIDDLE)
    slope = draw.uniform(0.35, 0.5)
    collar = 177 + 13 * (1 - (out / 41) ** 2)
    top = np.where(out < 41, collar, 177 + slope * (out - 41) + np.maximum(out - 110, 0) ** 2 / 25)
    colour = _mixed(draw, _CLOTHES) * draw.uniform(0.8, 1.2)
    folds = np.sin(xs * 0.06 + ys * 0.05 + 2 * np.sin(ys * 0.04 + draw.uniform(0, 6)))
    stripes = (np.sin(ys * draw.uniform(0.3, 0.8)) > 0.3) * draw.choice([0.0, 0.0, 0.35])
    seam = np.exp(-0.5 * ((ys - top - 4) / 0.8) ** 2)
    shade = (1 + 0.08 * folds) * (1 - stripes) * (1 - 0.25 * seam)
    return colour * shade[..., None], _smooth_step((ys - top) / 1.5 + 0.5)


def _room(draw: np.random.Generator, width: int, height: int) -> np.ndarray:
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


def _noise(draw: np.random.Generator, width: int, height: int) -> np.ndarray:
    """The sensor's, about 128: uint8 (height + 64, width + 64, 3). Frames take windows of it at changing places."""
    shape = (height + 64, width + 64)
    grey = draw.standard_normal(shape, np.float32)[..., None]
    colour = draw.standard_normal((*shape, 3), np.float32)
    strength = draw.uniform(1.5, 3.0)
    return np.clip(np.rint(128 + strength * (0.8 * grey + 0.5 * colour)), 0, 255).astype(np.uint8)


def _lit_pair(picture: np.ndarray, ramp: np.ndarray, strength: float) -> tuple[np.ndarray, np.ndarray]:
    """A picture, (h, w, 3 or 4), lit from the left and from the right, uint8. `ramp` is -1 on the left, 1 on the right.

    Between the two frames are mixed: light that moves, for the price of a sum.
    """
    pair = []
    for side in (-1, 1):
        lit = picture.copy()
        lit[..., :3] *= 1 + side * strength * np.broadcast_to(ramp, picture.shape[:2])[..., None]
        pair.append(np.rint(lit).clip(0, 255).astype(np.uint8))
    return pair[0], pair[1]


def _overlay(frame: np.ndarray, picture: np.ndarray, matrix: np.ndarray) -> None:
    """Put a premultiplied RGBA picture, uint8, into a frame in place, its pixels moved by `matrix`, (2, 3)."""
    height, width = picture.shape[:2]
    corners = matrix @ np.array([(0, 0, 1), (width, 0, 1), (0, height, 1), (width, height, 1)]).T
    left, top = np.maximum(np.floor(corners.min(axis=1)).astype(int), 0)
    right, bottom = np.minimum(np.ceil(corners.max(axis=1)).astype(int) + 1, frame.shape[1::-1])
    if left >= right or top >= bottom:
        return
    matrix = matrix - [[0, 0, left], [0, 0, top]]
    moved = cv2.warpAffine(picture, matrix, (int(right - left), int(bottom - top)), flags=cv2.INTER_LINEAR)
    window = frame[top:bottom, left:right]
    through = cv2.cvtColor(255 - moved[..., 3], cv2.COLOR_GRAY2RGB)
    below = cv2.multiply(window, through, scale=1 / 255)
    cv2.add(below, cv2.cvtColor(moved, cv2.COLOR_RGBA2RGB), dst=below)
    window[...] = below


def _matched(image: np.ndarray, target: np.ndarray, inside: np.ndarray, strength: float) -> np.ndarray:
    """An image whose mean and spread of each channel come near to the target's, as face swaps match colours."""
    mean, goal = image[inside].mean(axis=0), target[inside].mean(axis=0)
    ratio = target[inside].std(axis=0) / image[inside].std(axis=0)
    return (image - mean) * ratio**strength + mean + strength * (goal - mean)


def _fit(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The affine map (2, 3) that takes points (n, 2) nearest to others."""
    homogeneous = np.column_stack([source, np.ones(len(source))])
    return np.linalg.lstsq(homogeneous, target, rcond=None)[0].T


def _grid(box: tuple[float, float, float, float], width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    """Face units, float32 x (h, w) and y (h, w), of the middles of the pixels that cover a box."""
    left, top, right, bottom = box
    xs = left + (np.arange(width, dtype=np.float32) + 0.5) * ((right - left) / width)
    ys = top + (np.arange(height, dtype=np.float32) + 0.5) * ((bottom - top) / height)
    return np.meshgrid(xs, ys)


def _mixed(draw: np.random.Generator, colours: tuple) -> np.ndarray:
    """A colour on the way from one to another."""
    first, second = draw.choice(np.array(colours, np.float64), 2)
    return first + draw.beta(0.5, 0.5) * (second - first)


def _spot(xs: np.ndarray, ys: np.ndarray, centre: Point, sigma: Point) -> np.ndarray:
    return np.exp(-0.5 * (((xs - centre[0]) / sigma[0]) ** 2 + ((ys - centre[1]) / sigma[1]) ** 2))


def _smooth_step(values: np.ndarray) -> np.ndarray:
    """0 below 0, 1 above 1, smooth between."""
    values = np.clip(values, 0, 1)
    return values * values * (3 - 2 * values)


def _draw_names(count: int, seed: int) -> list[str]:
    """File names of ten letters, all different."""
    draw = np.random.default_rng((seed, 0))
    names: dict[str, None] = {}
    while len(names) < count:
        names["".join(draw.choice(list(string.ascii_lowercase), 10)) + ".mp4"] = None
    return list(names)


def _make_folder(folder: Path, root: Path) -> None:
    """A folder below the data root, or that itself, which alone may be a link."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        make_folder(root, *folder.relative_to(root).parts)
    except OSError as error:
        raise OutputError(f"{folder}: can't be made ({error.strerror})") from error


def _write_video(path: Path, frames: Iterator[np.ndarray], width: int, height: int) -> Path:
    """Encode RGB frames one at a time."""
    try:
        _encode(path, frames, width, height)
    except av.error.FFmpegError as error:  # how a full disk comes back through FFmpeg
        raise OutputError(f"{path}: can't be written ({error.strerror}: is the disk full?); {_REMEDY}") from error
    return path


def _encode(path: Path, frames: Iterator[np.ndarray], width: int, height: int) -> None:
    with (
        whole_file(path, _REMEDY, root=path.parents[1]) as temporary,
        open(temporary, "wb") as file,
        av.open(file, "w", format="mp4") as container,
    ):
        stream = container.add_stream("libx264", rate=_RATE, options=_ENCODER)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for image in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))


def _write_json(path: Path, content: dict, root: Path) -> None:
    write_json(path, content, _REMEDY, root=root, indent=1, sort_keys=True)


def _size(text: str) -> int:
    """The type of --width and --height: the encoder takes even sizes only."""
    least, most = _SIZES
    if not text.isdecimal() or int(text) % 2 or not least <= int(text) <= most:
        raise argparse.ArgumentTypeError(f"{text!r} is not an even number from {least} to {most}")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
