"""Training samples of The Medics' models: consecutive frames of a face clip, or frames of a mini video.

All that is random about a sample follows from seed, epoch and its number, in whatever process and order it is made.
"""

import os
from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset

from systems.medics.augmentation import ClipAugmentation, flip_frame, validation_frame
from systems.medics.buckets import clip_window, generator_of
from systems.medics.clip_files import clip_length, read_clip
from systems.medics.clip_lists import Clip
from systems.medics.clips import SIZE
from systems.medics.models import ModelSpec
from systems.sample_loading import first_readable

FRAMES_2D = 32  # of a mini video that a validation looks at

Make = Callable[[str, ModelSpec, np.random.Generator], np.ndarray]


class ClipDataset(Dataset):
    """Clips as samples of a model: a dict of

    - clip: uint8 RGB (t, size, size, 3), what `make` gives for a file, the model and a sample's generator
    - is_fake: bool
    - row: the number of the clip, which is a later one than asked for where that can't be read
    - errors: a line for each clip that could not be read

    Making one sets OpenCV to one thread in this process, so that worker processes forked from it have no other.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        *,
        root: str | os.PathLike,
        spec: ModelSpec,
        make: Make,
        seed: int = 0,
        epoch: int = 0,
    ):
        self.clips = clips
        self.spec = spec
        self._root = os.fspath(root)
        self._make = make
        self._seed, self._epoch = seed, epoch
        cv2.setNumThreads(1)

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Raises UnreadableSamples where 20 clips from this one on, or all, are broken."""

        def sample(number: int) -> dict[str, Any]:
            clip = self.clips[number]
            draw = generator_of(self._seed, self._epoch, index)
            pixels = self._make(os.path.join(self._root, clip.file), self.spec, draw)
            return {"clip": torch.from_numpy(pixels), "is_fake": torch.tensor(bool(clip.label))}

        remedy = (
            "so these are not the clips of this data root, or they are damaged; run SYSTEM=medics preprocess_data.sh"
        )
        return first_readable(index, len(self.clips), sample, place=self._root, remedy=remedy)


def training_clip(path: str, spec: ModelSpec, draw: np.random.Generator) -> np.ndarray:
    """What a 3D model is trained on: uint8 RGB (t, size, size, 3), from a random start, augmented. Raises ItemError."""
    frames = _window(path, spec.frames, draw)
    draws = ClipAugmentation.of(spec).draw(*frames.shape[1:3], draw)
    return np.stack([draws.apply(frame) for frame in frames])


def validation_clip(path: str, spec: ModelSpec, draw: np.random.Generator) -> np.ndarray:
    """The same from the clip's beginning, without augmentation."""
    return np.stack([validation_frame(frame, spec.size) for frame in _window(path, spec.frames, None)])


def training_frame(path: str, spec: ModelSpec, draw: np.random.Generator) -> np.ndarray:
    """What the 2D model is trained on: a frame of a mini video, uint8 RGB (1, 256, 256, 3), flipped by chance. Raises
    ItemError."""
    (frame,) = read_clip(path, int(draw.integers(clip_length(path))), 1, any_size=True)
    return flip_frame(frame, draw)[None]


def validation_frames(path: str, spec: ModelSpec, draw: np.random.Generator) -> np.ndarray:
    """The first 32 frames of a mini video, uint8 RGB (32, 256, 256, 3). Raises ItemError."""
    frames = _window(path, FRAMES_2D, None, any_size=True)
    return np.stack([cv2.resize(frame, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC) for frame in frames])


def _window(path: str, frames: int, draw: np.random.Generator | None, *, any_size: bool = False) -> np.ndarray:
    """`frames` of a file in sequence, uint8 RGB (frames, h, w, 3), as `clip_window` chooses them. Raises ItemError."""
    window = clip_window(clip_length(path), frames, draw)
    first, last = int(window.min()), int(window.max())
    return read_clip(path, first, last - first + 1, any_size=any_size)[window - first]
