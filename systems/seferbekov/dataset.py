"""Samples for the classifier: a crop with parts taken out, augmented, and its label.

Input: what preprocess_data.sh leaves in a data root,

    DATA_ROOT/<crops_dir>/<video>/<frame>_<actor>.png        the crop
    DATA_ROOT/landmarks/<original>/<frame>_<actor>.npy       of its original; may be missing
    DATA_ROOT/diffs/<video>/<frame>_<actor>_diff.png         of a fake; may be missing

All that is random about a sample follows from seed, epoch and its number, in whatever process and order it is made.
"""

import io
import os
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset

from faces.images import read_image
from runtime import limits
from runtime.errors import ItemError
from runtime.files import read_file
from systems.sample_loading import first_readable
from systems.seferbekov.folds import Row
from systems.seferbekov.part_dropout import Mask, blackout_by_diff, change_padding, drop_parts
from systems.seferbekov.transforms import split, training_transforms, validation_transforms

_FAR = 1 << 15  # pixels: as generate_landmarks.py writes them
_DIFFERS, _LEAST_DIFFERENT = 20, 32  # a fake is valid with more mask pixels than these that are above that


@dataclass(frozen=True, kw_only=True)
class CropFiles:
    """What lies on disk of a row."""

    image: np.ndarray  # RGB uint8 (h, w, 3)
    landmarks: np.ndarray | None  # int (5, 2), where they were asked for and are there
    diff: str | None  # the file's path, of a fake

    def mask(self) -> np.ndarray:
        """How much a fake differs from its original, uint8 (h, w); zeros where that is not known.

        Reads the diff, which few samples need. Raises ItemError where it is broken.
        """
        mask = read_diff(self.diff) if self.diff else None
        size = self.image.shape[:2]
        return mask if mask is not None and mask.shape == size else np.zeros(size, np.uint8)


class ClassifierDataset(Dataset):
    """Rows as samples: a dict of

    - image: uint8 RGB (3, size, size), not normalised
    - label: float32 (1,), 1 is fake; in training at least `label_smoothing` away from 0 and 1
    - valid: bool, with `only_changed` false for a fake that (as far as is known) shows no change
    - row: the number of the row, which is a later one than asked for where that can't be read
    - errors: a line for each row that could not be read

    `hardcore` takes parts of faces out, in training; `padding_part` above 3 trims margins; `diff_dropout` is the
    probability of the write-up's blackout by the diff mask, in training.

    Making one sets OpenCV to one thread in this process, so that worker processes forked from it have no other.
    """

    def __init__(
        self,
        rows: Sequence[Row],
        *,
        data_dir: str | os.PathLike,
        crops_dir: str = "crops",
        size: int,
        training: bool,
        seed: int = 0,
        epoch: int = 0,
        label_smoothing: float = 0.01,
        hardcore: bool = True,
        padding_part: float = 3,
        diff_dropout: float = 0.0,
        only_changed: bool = False,
    ):
        self.rows = rows
        self.training = training
        self.transforms = training_transforms(size) if training else validation_transforms(size)
        self._data_dir = os.fspath(data_dir)
        self._crops_dir = crops_dir
        self._seed, self._epoch = seed, epoch
        self._label_smoothing = label_smoothing if training else 0.0
        self._hardcore = hardcore and training
        self._padding_part = padding_part
        self._diff_dropout = diff_dropout if training else 0.0
        self._only_changed = only_changed
        cv2.setNumThreads(1)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Raises UnreadableSamples where 20 rows from this one on, or all, are broken."""

        def sample(number: int) -> dict[str, Any]:
            draw = np.random.default_rng((self._seed, self._epoch, index))
            return self.prepare(self.read(self.rows[number]), self.rows[number].label, draw)

        return first_readable(
            index,
            len(self.rows),
            sample,
            place=self._data_dir,
            remedy="so this is not the data of the folds table, or it is not complete; run preprocess_data.sh",
        )

    def read(self, row: Row) -> CropFiles:
        """Raises ItemError where the crop is missing, or it or its landmarks are broken."""
        stem = os.path.splitext(row.file)[0]
        image = read_image(os.path.join(self._data_dir, self._crops_dir, row.video, row.file))
        landmarks = diff = None
        if self._hardcore:
            folder = os.path.join(self._data_dir, "landmarks", row.original or row.video)
            landmarks = read_landmarks(os.path.join(folder, f"{stem}.npy"))
        if row.label:
            diff = os.path.join(self._data_dir, "diffs", row.video, f"{stem}_diff.png")
        return CropFiles(image=cv2.cvtColor(image, cv2.COLOR_BGR2RGB), landmarks=landmarks, diff=diff)

    def prepare(self, files: CropFiles, label: int, draw: np.random.Generator) -> dict[str, Any]:
        """Image, label and `valid` of a sample. Raises ItemError where the diff is needed and broken."""
        image, mask = self.drop(files, label, draw)
        if self.training:
            self.transforms.set_random_state(draw, random.Random(int(draw.integers(2**63))))
        target = min(max(label, self._label_smoothing), 1 - self._label_smoothing)
        return {
            "image": torch.from_numpy(split(self.transforms(image=image)["image"])),
            "label": torch.tensor([target], dtype=torch.float32),
            "valid": label == 0 or not self._only_changed or shows_change(mask()),
        }

    def drop(self, files: CropFiles, label: int, draw: np.random.Generator) -> tuple[np.ndarray, Mask]:
        """Image and mask without the parts that are taken out of them. Raises ItemError as `prepare` does."""
        image, mask = files.image, files.mask
        if self._hardcore:
            image, mask = drop_parts(image, mask, files.landmarks, label, draw)
        if self._diff_dropout and draw.random() < self._diff_dropout:
            image, mask = blackout_by_diff(image, mask, label, draw)
        if self._padding_part > 3:
            return change_padding(image, self._padding_part), lambda: change_padding(mask(), self._padding_part)
        return image, mask


def shows_change(mask: np.ndarray) -> bool:
    return bool(np.count_nonzero(mask > _DIFFERS) > _LEAST_DIFFERENT)


def read_diff(path: str) -> np.ndarray | None:
    """How much a fake's crop differs from its original's, uint8 (h, w); None without a file. Raises ItemError."""
    if not os.path.exists(path):
        return None
    try:
        return cv2.extractChannel(read_image(path), 0)  # it is grey
    except ItemError as error:
        raise ItemError(f"{path}: can't be read, or is damaged; run generate_diffs.py --overwrite") from error


def read_landmarks(path: str) -> np.ndarray | None:
    """Eyes, nose and corners of the mouth in a crop, int (5, 2); None without a file. Raises ItemError."""
    if not os.path.exists(path):
        return None
    try:
        landmarks = np.load(io.BytesIO(read_file(path, limits.LANDMARKS)), allow_pickle=False)
    except Exception as error:  # NumPy's reader fails in many ways on what is no array
        raise ItemError(f"{path}: can't be read, or is damaged; run generate_landmarks.py --overwrite") from error
    if (
        not isinstance(landmarks, np.ndarray)
        or landmarks.shape != (5, 2)
        or landmarks.dtype.kind != "i"
        or (abs(landmarks) >= _FAR).any()
    ):
        raise ItemError(f"{path}: is not five points of whole numbers; run generate_landmarks.py --overwrite")
    return landmarks.astype(int)  # differences of int16 would do, sums would not
