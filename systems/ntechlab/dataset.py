"""Training samples: the same frames of an original's track and of its fake's, compressed and augmented alike.

Input: what extract_track_crops.py leaves, two folders for each line of `track_pairs.txt`,

    ROOT/<part>/<video>.mp4_S_X_Y/0.png ... 49.png

All that is random about a sample follows from seed, epoch and its number, in whatever process and order it is made.
"""

import os
import random
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import av
import cv2
import numpy as np
import torch
from torch.utils.data import Dataset

from faces.images import read_image
from runtime.errors import InputError, ItemError
from systems.ntechlab.augmentation import augment, draw_augmentations, normalize
from systems.ntechlab.compression import PIX_FMT, PIX_FMTS, compress, draw_compression, frame_numbers
from systems.ntechlab.face_images import IMAGES
from systems.ntechlab.models import HEIGHT, ROLES, WIDTH
from systems.sample_loading import first_readable

SAMPLED_FRAMES = {"large_crop": range(9, 38, 4), "re": range(9, 38, 4), "seq": range(19, 32, 2)}  # of a track's 50
_NAME = re.compile(r"(0|[1-9][0-9]*)\.png")
_REMEDY = "run extract_track_crops.py --overwrite"
_INCOMPLETE = "so these are not the folders of track_pairs.txt, or they are not complete; run extract_track_crops.py"


class TrackImages(Sequence):
    """`0.png`, `1.png`, ... of a folder as RGB uint8 (h, w, 3), each read when it is asked for.

    There may be fewer than 50, where the video ended. Raises ItemError where there is none, or a number is missing
    between others; an image that is missing, cut or damaged raises it when it is asked for.
    """

    def __init__(self, folder: str | os.PathLike):
        self._folder = os.fspath(folder)
        try:
            names = os.listdir(folder)
        except OSError as error:
            raise ItemError(f"{self._folder}: can't be opened ({error.strerror}); {_REMEDY}") from error
        numbers = {int(match[1]) for match in map(_NAME.fullmatch, names) if match}
        missing = next((number for number in range(max(numbers, default=0) + 1) if number not in numbers), None)
        if missing is not None:
            raise ItemError(f"{self._folder}: has no {missing}.png; {_REMEDY}, or remove its line of track_pairs.txt")
        self._count = len(numbers)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, number: int) -> np.ndarray:
        path = os.path.join(self._folder, f"{number}.png")
        try:
            return cv2.cvtColor(read_image(path), cv2.COLOR_BGR2RGB)
        except ItemError as error:
            raise ItemError(f"{path}: can't be read, or is damaged; {_REMEDY}") from error


class TrackPairDataset(Dataset):
    """Pairs of track folders as samples of one of `models.ROLES`: a dict of

    - real, fake: float32 RGB (frames, 3, 224, 192), normalised; 8 frames of a frame model, 7 of a clip
    - row: the number of the pair, which is a later one than asked for where that can't be read
    - errors: a line for each pair that could not be read

    `pairs` are (original's folder, fake's folder) below `root`. `pix_fmt` is what compressed frames are stored in:
    "yuv444p" as published, or "yuv420p" as in videos that are shared.

    Making one sets OpenCV to one thread in this process, so that worker processes forked from it have no other.
    Raises InputError for an unknown role or pixel format, and where there is no pair.
    """

    def __init__(
        self,
        pairs: Sequence[tuple[str, str]],
        *,
        root: str | os.PathLike,
        role: str,
        seed: int = 0,
        epoch: int = 0,
        pix_fmt: str = PIX_FMT,
    ):
        if role not in ROLES:
            raise InputError(f"unknown role {role!r}; use one of {', '.join(ROLES)}")
        if pix_fmt not in PIX_FMTS:
            raise InputError(f"unknown pixel format {pix_fmt!r}; use one of {', '.join(PIX_FMTS)}")
        if not pairs:
            raise InputError(f"{os.fspath(root)}: no pair of tracks to train on; run extract_track_crops.py")
        self.pairs = pairs
        self.role = role
        self._root = os.fspath(root)
        self._seed, self._epoch = seed, epoch
        self._pix_fmt = pix_fmt
        cv2.setNumThreads(1)

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Raises UnreadableSamples where 20 pairs from this one on, or all, are broken."""

        def sample(number: int) -> dict[str, Any]:
            draw = random.Random(f"{self._seed} {self._epoch} {index}")
            real, fake = self.prepare(*self.pairs[number], draw)
            return {"real": real, "fake": fake}

        return first_readable(index, len(self.pairs), sample, place=self._root, remedy=_INCOMPLETE)

    def prepare(self, real: str, fake: str, draw: random.Random) -> tuple[torch.Tensor, torch.Tensor]:
        """The images of two folders, (frames, 3, 224, 192) each. Raises ItemError where one of them can't be used."""
        noise = torch.Generator().manual_seed(draw.getrandbits(63))
        tracks = self.read(real, fake, draw)
        augmentations = draw_augmentations(self.role, len(SAMPLED_FRAMES[self.role]), draw)
        real_images, fake_images = (augment(track, self.role, augmentations, noise) for track in tracks)
        return real_images, fake_images

    def read(self, real: str, fake: str, draw: random.Random) -> list[list[np.ndarray]]:
        """The sampled frames of both folders, RGB uint8 (h, w, 3), compressed with the same parameters or not at all.

        Raises ItemError as `prepare` does.
        """
        frames = SAMPLED_FRAMES[self.role]
        tracks = [TrackImages(os.path.join(self._root, folder)) for folder in (real, fake)]
        compression = draw_compression(draw)
        if compression is None:
            return [[track[number] for number in frame_numbers(frames, len(track))] for track in tracks]
        size = compression.size(*tracks[0][0].shape[:2])
        try:
            return [compress(track, compression, size, frames, pix_fmt=self._pix_fmt) for track in tracks]
        except av.error.FFmpegError as error:
            raise ItemError(
                f"{os.path.join(self._root, real)}: can't be compressed to {size[1]}x{size[0]} pixels "
                f"({error.strerror}); remove its line of track_pairs.txt"
            ) from error


class HeldOutTrack(NamedTuple):
    """A track folder below the data root's tracks, of `video`, whose `label` is 1 for a fake."""

    video: str
    label: int
    folder: str


class TrackDataset(Dataset):
    """Track folders as a model sees them in a validation, without compression and augmentation: a dict of `images`
    float32 RGB (frames, 3, 224, 192), normalised, and `row` and `errors` as of `TrackPairDataset`."""

    def __init__(self, tracks: Sequence[HeldOutTrack], *, root: str | os.PathLike, role: str):
        self.tracks = tracks
        self._root = os.fspath(root)
        self._role = role
        cv2.setNumThreads(1)

    def __len__(self) -> int:
        return len(self.tracks)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Raises UnreadableSamples where 20 tracks from this one on, or all, are broken."""
        return first_readable(index, len(self.tracks), self.read, place=self._root, remedy=_INCOMPLETE)

    def read(self, number: int) -> dict[str, torch.Tensor]:
        """Raises ItemError where the track can't be read."""
        track = TrackImages(os.path.join(self._root, self.tracks[number].folder))
        frames = frame_numbers(SAMPLED_FRAMES[self._role], len(track))
        images = torch.empty((len(frames), 3, HEIGHT, WIDTH))
        for frame, output in zip(frames, images, strict=True):
            normalize(IMAGES[self._role](track[frame]), output.numpy())
        return {"images": images}
