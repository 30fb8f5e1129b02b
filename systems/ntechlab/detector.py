"""Which detector finds the faces: DSFD, as published, where its file of weights is there, else MTCNN.

Light to import: what finds faces is loaded where it is used.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from runtime.errors import InputError
from systems.ntechlab.detections import Detections

DETECTORS = ("dsfd", "mtcnn")
DSFD_FILE = "WIDERFace_DSFD_RES152.fp16.pth"
MTCNN_THRESHOLDS = (0.6, 0.7, 0.7)  # facenet-pytorch's own: the tracker sorts out false alarms, which don't last
_REMEDY = "use fewer --workers, or end what else runs on it"

Detect = Callable[[Sequence[np.ndarray]], list[Detections]]


@dataclass(frozen=True, kw_only=True)
class DetectorChoice:
    """The detector `name`, one of DETECTORS; `dsfd` is the file of DSFD's weights, whether it is there or not."""

    name: str
    dsfd: str

    def settings(self) -> dict[str, Any]:
        """What its detections depend on. Raises CheckpointError where DSFD's file can't be read."""
        if self.name == "mtcnn":
            return {"detector": "mtcnn"}
        from systems.checkpoints import file_digest  # PyTorch takes seconds to import

        return {"detector": "dsfd", "dsfd": file_digest(self.dsfd)}


def choose_detector(asked: str | None, weights_dir: str | os.PathLike) -> DetectorChoice:
    """The detector `asked` for, or DSFD where its file is in `weights_dir`. Raises InputError where DSFD is asked for
    without it."""
    dsfd = os.path.join(weights_dir, DSFD_FILE)
    there = os.path.isfile(dsfd)
    if asked == "dsfd" and not there:
        raise InputError(f"--detector dsfd: there is no {dsfd}; put the file there, or use --detector mtcnn")
    return DetectorChoice(name=asked or ("dsfd" if there else "mtcnn"), dsfd=dsfd)


def training_detector(choice: DetectorChoice, device: str, local_rank: int) -> tuple[Detect, int]:
    """What finds faces for training, in a process that works on one core beside others, and how many frames to give it
    at a time: uint8 RGB (h, w, 3).

    DSFD searches frames scaled to an area of 512 x 512, as published, MTCNN such of half their size. Raises
    CheckpointError where DSFD's file can't be used, ChoiceError, DeviceError and `resolve_device`'s errors.
    """
    if choice.name == "mtcnn":
        from faces.face_detector import FacenetDetector

        found = FacenetDetector.of_a_worker(device, local_rank, thresholds=MTCNN_THRESHOLDS)
        return found.detect, found.best_batch
    import torch

    from engines.device import resolve_device
    from engines.gpu import failures_are_told
    from systems.ntechlab.dsfd import DsfdDetector

    torch.set_num_threads(1)
    with failures_are_told(_REMEDY):
        return DsfdDetector(choice.dsfd, resolve_device(device, local_rank)).detect_at_area, 1
