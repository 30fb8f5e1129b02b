"""The one face detector: MTCNN as facenet-pytorch runs it, box for box, several times faster.

    detector = FacenetDetector(thresholds=(0.7, 0.8, 0.8))
    for faces in detector.detect(frames):
        print(faces.bboxes, faces.scores)

What makes it faster and leaves the boxes as they are: area pooling by integral images (`area_pool.py`), Pillow's
half-size resize without Pillow (`resize.py`), the networks on another engine (`mtcnn.py`), batches over frames.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from facenet_pytorch.models.utils.detect_face import bbreg, generateBoundingBox, nms_numpy, rerec
from torchvision.ops import nms

from preprocessing.mtcnn import Networks
from preprocessing.resize import resize_rgb
from runtime import openvino_engine

MIN_FACE_SIZE = 20
FACTOR = 0.709
_CELL = 12  # PNet's window
ENGINES = ("auto", "torch", "openvino")


@dataclass(frozen=True, kw_only=True)
class Faces:
    """The faces of one frame, largest first, in pixels of the frame that was given.

    bboxes: float32 (n, 4), x1, y1, x2, y2, which may lie outside the frame; scores: float32 (n,), 0 to 1;
    landmarks: float32 (n, 5, 2), x and y of left eye, right eye, nose, left and right corner of the mouth.
    """

    bboxes: np.ndarray
    scores: np.ndarray
    landmarks: np.ndarray


class FacenetDetector:
    """MTCNN(margin=0, min_face_size=20, factor=0.709) of facenet-pytorch with the thresholds given.

    `scale` says at what size frames are searched: "half" (width // 2 by height // 2, what the released pipeline does
    everywhere), "full", or "auto", the write-up's rule by the wider side: below 300 pixels 2x, to 1000 as it is, above
    half, above 1900 a third. `engine` is "torch", "openvino" (CPU only), or "auto", which takes OpenVINO on a CPU where
    it is installed. `threads` is how many threads may call `detect` at once, each working on one core.
    """

    def __init__(
        self,
        *,
        thresholds: Sequence[float] = (0.85, 0.95, 0.95),
        scale: str = "half",
        device: torch.device | str = "cpu",
        engine: str = "auto",
        threads: int = 1,
    ):
        if scale not in SCALES:
            raise ValueError(f"scale {scale!r}: use one of {', '.join(SCALES)}")
        if engine not in ENGINES:
            raise ValueError(f"engine {engine!r}: use one of {', '.join(ENGINES)}")
        self.device = torch.device(device)
        self.thresholds = tuple(thresholds)
        self.scale = scale
        if engine == "auto":
            engine = "openvino" if self.device.type == "cpu" and openvino_engine.is_installed() else "torch"
        self.engine = engine
        self._networks = Networks(self.device, engine, threads)

    def detect(self, frames: Sequence[np.ndarray]) -> list[Faces]:
        """Find the faces of each frame. `frames` are uint8 RGB (h, w, 3), all of one size."""
        if not len(frames):
            return []
        height, width = frames[0].shape[:2]
        small_width, small_height, factor = SCALES[self.scale](width, height)
        if min(small_width, small_height) * _CELL / MIN_FACE_SIZE < _CELL:
            return [_no_faces() for _ in frames]
        images = [resize_rgb(frame, small_width, small_height) for frame in frames]
        return [_scaled(found, factor) for found in self._cascade(images)]

    def _cascade(self, images: list[np.ndarray]) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Boxes with scores (n, 5) and landmarks (n, 5, 2) for each image, in its pixels. Box arithmetic is torch fp32
        on the CPU, step by step as in facenet-pytorch's `detect_face`; suppression is for each image by itself."""
        height, width = images[0].shape[:2]
        loaded = self._networks.load(images)
        boxes = self._propose(loaded, len(images), height, width)
        boxes = self._refine(loaded, boxes, height, width)
        return self._finish(loaded, boxes, height, width)

    def _propose(self, loaded, count: int, height: int, width: int) -> list[torch.Tensor]:
        found = [[] for _ in range(count)]
        for scale in _pyramid(min(height, width)):
            maps = self._networks.propose(loaded, int(height * scale + 1), int(width * scale + 1))
            maps = torch.from_numpy(maps).permute(3, 0, 1, 2)
            probability = torch.sigmoid(maps[1] - maps[0])  # the softmax over two classes
            candidates, numbers = generateBoundingBox(maps[2:].transpose(0, 1), probability, scale, self.thresholds[0])
            for number in numbers.unique().tolist():
                mine = candidates[numbers == number]
                found[number].append(mine[nms(mine[:, :4], mine[:, 4], 0.5)])
        return [_after_proposals(torch.cat(parts)) if parts else torch.zeros(0, 5) for parts in found]

    def _refine(self, loaded, boxes: list[torch.Tensor], height: int, width: int) -> list[torch.Tensor]:
        refined = []
        for candidates, outputs in self._outputs(loaded, boxes, height, width, 24):
            score, regression = outputs
            passed = score > self.thresholds[1]
            kept = torch.cat([candidates[passed, :4], score[passed, None]], dim=1)
            pick = nms(kept[:, :4], kept[:, 4], 0.7)
            refined.append(rerec(bbreg(kept[pick], regression[passed][pick])))
        return refined

    def _finish(self, loaded, boxes: list[torch.Tensor], height: int, width: int) -> list[tuple]:
        finished = []
        for candidates, outputs in self._outputs(loaded, boxes, height, width, 48):
            score, regression, points = outputs
            passed = score > self.thresholds[2]
            kept = torch.cat([candidates[passed, :4], score[passed, None]], dim=1)
            points = points[passed]
            size_x, size_y = (kept[:, 2:4] - kept[:, :2] + 1).split(1, dim=1)
            points = torch.stack(
                [size_x * points[:, :5] + kept[:, 0:1] - 1, size_y * points[:, 5:] + kept[:, 1:2] - 1], dim=2
            )
            kept = bbreg(kept, regression[passed])
            pick = nms_numpy(kept[:, :4].numpy(), kept[:, 4].numpy(), 0.7, "Min")
            order = pick[:, 0] if pick.ndim > 1 else pick  # an empty result comes with two dimensions
            finished.append((kept[order.astype(np.int64)], points[order.astype(np.int64)]))
        return finished

    def _outputs(self, loaded, boxes: list[torch.Tensor], height: int, width: int, size: int):
        """Run a refining network over the boxes of all images at once; give each image its boxes and outputs."""
        boxes = [candidates[_inside(candidates, height, width)] for candidates in boxes]
        counts = [len(candidates) for candidates in boxes]
        if sum(counts):
            numbers = np.repeat(np.arange(len(boxes)), counts)
            windows = _windows(torch.cat(boxes), height, width)
            outputs = [torch.from_numpy(output) for output in self._networks.refine(loaded, numbers, windows, size)]
        else:
            outputs = [torch.zeros(0), torch.zeros(0, 4), torch.zeros(0, 10)][: 2 if size == 24 else 3]
        return zip(boxes, zip(*(output.split(counts) for output in outputs), strict=True), strict=True)


def _pyramid(side: int) -> list[float]:
    scales = []
    scale = _CELL / MIN_FACE_SIZE
    side = side * scale
    while side >= _CELL:
        scales.append(scale)
        scale *= FACTOR
        side *= FACTOR
    return scales


def _after_proposals(boxes: torch.Tensor) -> torch.Tensor:
    """Suppression over all scales, regression, and squares: (n, 9) to (n, 5)."""
    boxes = boxes[nms(boxes[:, :4], boxes[:, 4], 0.7)]
    size = boxes[:, 2:4] - boxes[:, :2]
    corners = boxes[:, :4] + boxes[:, 5:9] * torch.cat([size, size], dim=1)
    return rerec(torch.cat([corners, boxes[:, 4:5]], dim=1))


def _windows(boxes: torch.Tensor, height: int, width: int) -> np.ndarray:
    """Whole-pixel windows (x1, y1, x2, y2) of boxes, clipped to the image: facenet-pytorch's `pad`, from 0."""
    windows = boxes[:, :4].trunc().int().numpy()
    windows[:, :2] = np.maximum(windows[:, :2], 1) - 1
    windows[:, 2] = np.minimum(windows[:, 2], width)
    windows[:, 3] = np.minimum(windows[:, 3], height)
    return windows


def _inside(boxes: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Which boxes have a pixel inside the image. facenet-pytorch leaves the others out of the batch but not out of the
    list, and fails on the whole image."""
    windows = _windows(boxes, height, width)
    return torch.from_numpy((windows[:, 2] > windows[:, 0]) & (windows[:, 3] > windows[:, 1]))


def _scaled(found: tuple[torch.Tensor, torch.Tensor], factor: float) -> Faces:
    """Largest first, as facenet-pytorch's `select_largest` orders them, in pixels of the full frame."""
    boxes, landmarks = (part.numpy() for part in found)
    order = np.argsort((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))[::-1]
    factor = np.float32(factor)
    return Faces(bboxes=boxes[order, :4] * factor, scores=boxes[order, 4], landmarks=landmarks[order] * factor)


def _no_faces() -> Faces:
    return Faces(
        bboxes=np.zeros((0, 4), np.float32), scores=np.zeros(0, np.float32), landmarks=np.zeros((0, 5, 2), np.float32)
    )


def _half(width: int, height: int) -> tuple[int, int, float]:
    return width // 2, height // 2, 2.0


def _full(width: int, height: int) -> tuple[int, int, float]:
    return width, height, 1.0


def _by_resolution(width: int, height: int) -> tuple[int, int, float]:
    wider = max(width, height)
    scale = 2.0 if wider < 300 else 1.0 if wider <= 1000 else 0.5 if wider <= 1900 else 0.33
    return int(width * scale), int(height * scale), 1 / scale


SCALES = {"half": _half, "full": _full, "auto": _by_resolution}
