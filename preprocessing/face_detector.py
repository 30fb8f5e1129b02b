"""The one face detector: MTCNN as facenet-pytorch runs it, box for box, several times faster.

    detector = FacenetDetector(thresholds=(0.7, 0.8, 0.8))
    for faces in detector.detect(frames):
        print(faces.bboxes, faces.scores)

What makes it faster and leaves the boxes as they are: area pooling by integral images (`area_pool.py`), Pillow's
half-size resize without Pillow (`resize.py`), the networks on other engines (`mtcnn.py`,
`native_mtcnn.py`, `cuda_mtcnn.py`), batches over frames.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from facenet_pytorch.models.utils.detect_face import bbreg, nms_numpy, rerec
from torchvision.ops import nms

from preprocessing.area_pool import NumpyImages, TorchImages
from preprocessing.cuda_mtcnn import GpuImages, on_gpu
from preprocessing.mtcnn import Networks, Pyramid
from preprocessing.native_mtcnn import NativeNetworks
from preprocessing.resize import resize_rgb
from runtime.device import resolve_device
from runtime.engines import choose_engine
from runtime.gpu import failures_are_told, in_halves

MIN_FACE_SIZE = 20
FACTOR = 0.709
_CELL, _STRIDE = 12, 2  # PNet's window, and from one to the next
_CERTAIN = 0.99
_REMEDY = "use fewer --workers, or end what else runs on it"

Images = NumpyImages | TorchImages | GpuImages


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
    half, above 1900 a third. `engine` is one of `runtime.engines.ENGINES`. `threads` is how many threads may call
    `detect` at once, each working on one core. `any_size` is for images that come in ever other sizes, as crops do.
    `best_batch` is how many frames to give at a time. Raises ChoiceError for an engine that can't be had here.
    """

    def __init__(
        self,
        *,
        thresholds: Sequence[float] = (0.85, 0.95, 0.95),
        scale: str = "half",
        device: torch.device | str = "cpu",
        engine: str = "auto",
        threads: int = 1,
        any_size: bool = False,
    ):
        if scale not in SCALES:
            raise ValueError(f"scale {scale!r}: use one of {', '.join(SCALES)}")
        self.device = torch.device(device)
        self.thresholds = tuple(thresholds)
        self.scale = scale
        self.best_batch = 8 if self.device.type == "cpu" else 32
        self.engine = choose_engine(engine, self.device)
        if self.device.type == "cuda":
            self._networks = on_gpu(self.device, self.engine)
        elif self.engine == "native":
            self._networks = NativeNetworks()
        else:
            self._networks = Networks(self.device, self.engine, threads, any_size)

    @classmethod
    def of_a_worker(cls, device: str, local_rank: int, **kwargs) -> "FacenetDetector":
        """The detector of a process that works on one core beside others. Raises ChoiceError, as `resolve_device`, and
        DeviceError."""
        torch.set_num_threads(1)
        with failures_are_told(_REMEDY):
            return cls(device=resolve_device(device, local_rank), **kwargs)

    def detect(self, frames: Sequence[np.ndarray]) -> list[Faces]:
        """Find the faces of each frame. `frames` are uint8 RGB (h, w, 3).

        Raises DeviceError where a GPU has too little memory for one frame, or fails.
        """
        return self._detect(frames, _pyramid)

    def detect_largest(self, crops: Sequence[np.ndarray]) -> list[Faces]:
        """As `detect`, for crops that one face fills, of which only that face matters: the first one is the same.

        Small faces are searched only where no large one is found for certain; their windows make up nine tenths of the
        work. A window a third of the face's size can hardly take its place: it would have to grow by its regression to
        the face's own box, or lie in it and look more like a face than the face does.
        """
        found = self._detect(crops, _large_scales)
        unsure = [i for i, (faces, crop) in enumerate(zip(found, crops, strict=True)) if not _fills(faces, crop)]
        for number, faces in zip(unsure, self.detect([crops[i] for i in unsure]), strict=True):
            found[number] = faces
        return found

    def _detect(self, frames: Sequence[np.ndarray], pyramid: Pyramid) -> list[Faces]:
        found: dict[int, Faces] = {}
        images, factors = {}, {}
        for number, frame in enumerate(frames):
            height, width = frame.shape[:2]
            small_width, small_height, factors[number] = SCALES[self.scale](width, height)
            if min(small_width, small_height) < MIN_FACE_SIZE:
                found[number] = _no_faces()
            else:
                images[number] = resize_rgb(frame, small_width, small_height)
        groups: dict[Hashable, list[int]] = {}
        for number, image in images.items():
            groups.setdefault(self._networks.together(*image.shape[:2], pyramid), []).append(number)
        for numbers in groups.values():
            cascades = in_halves(partial(self._cascade, pyramid=pyramid), [images[n] for n in numbers], _REMEDY)
            for number, faces in zip(numbers, cascades, strict=True):
                found[number] = _scaled(faces, factors[number])
        return [found[number] for number in range(len(frames))]

    def _cascade(self, images: Sequence[np.ndarray], pyramid: Pyramid) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Boxes with scores (n, 5) and landmarks (n, 5, 2) for each image, in its pixels. Box arithmetic is torch fp32
        on the CPU, step by step as in facenet-pytorch's `detect_face`; suppression is for each image by itself."""
        loaded = self._networks.load(images)
        boxes = self._propose(loaded, pyramid)
        boxes = self._refine(loaded, boxes)
        return self._finish(loaded, boxes)

    def _propose(self, loaded: Images, pyramid: Pyramid) -> list[torch.Tensor]:
        found = self._networks.candidates(loaded, pyramid, self.thresholds[0])
        return [self._boxes_of(by_scale) for by_scale in found]

    def _boxes_of(self, by_scale: list[np.ndarray]) -> torch.Tensor:
        """The proposals (n, 5) of one image from its candidates at each scale, (x, y, scale, logit, regression)."""
        kept = [torch.zeros(0, 9)]
        for rows in map(torch.from_numpy, by_scale):
            score = torch.sigmoid(rows[:, 3])  # the softmax over two classes
            passed = score >= self.thresholds[0]
            rows, score = rows[passed], score[passed]
            cell, scale = rows[:, :2] * _STRIDE + 1, rows[:, 2:3]
            corners = [(cell / scale).floor(), ((cell + (_CELL - 1)) / scale).floor()]
            boxes = torch.cat([*corners, score[:, None], rows[:, 4:]], dim=1)
            kept.append(boxes[nms(boxes[:, :4], score, 0.5)] if len(boxes) > 1 else boxes)
        return _after_proposals(torch.cat(kept))

    def _refine(self, loaded: Images, boxes: list[torch.Tensor]) -> list[torch.Tensor]:
        refined = []
        for candidates, outputs in self._outputs(loaded, boxes, 24):
            score, regression = outputs
            passed = score > self.thresholds[1]
            kept = torch.cat([candidates[passed, :4], score[passed, None]], dim=1)
            pick = nms(kept[:, :4], kept[:, 4], 0.7)
            refined.append(rerec(bbreg(kept[pick], regression[passed][pick])))
        return refined

    def _finish(self, loaded: Images, boxes: list[torch.Tensor]) -> list[tuple]:
        finished = []
        for candidates, outputs in self._outputs(loaded, boxes, 48):
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

    def _outputs(self, loaded: Images, boxes: list[torch.Tensor], size: int):
        """Run a refining network over the boxes of all images at once; give each image its boxes and outputs."""
        windows = [_windows(each, *image) for each, image in zip(boxes, loaded.sizes, strict=True)]
        inside = [_inside(each) for each in windows]
        boxes = [each[torch.from_numpy(mask)] for each, mask in zip(boxes, inside, strict=True)]
        counts = [len(each) for each in boxes]
        if sum(counts):
            numbers = np.repeat(np.arange(len(boxes)), counts)
            windows = np.concatenate([each[mask] for each, mask in zip(windows, inside, strict=True)])
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


def _large_scales(side: int) -> list[float]:
    """The scales at which PNet's window is at least a fifth of the side: a third of a face that fills a crop."""
    return [scale for scale in _pyramid(side) if _CELL / scale >= side / 5]


def _fills(faces: Faces, crop: np.ndarray) -> bool:
    """True where the largest face is certain and over a third of the crop's shorter side."""
    if not len(faces.bboxes) or faces.scores[0] < _CERTAIN:
        return False
    x1, y1, x2, y2 = faces.bboxes[0]
    return min(x2 - x1, y2 - y1) > min(crop.shape[:2]) / 3


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


def _inside(windows: np.ndarray) -> np.ndarray:
    """Which windows hold a pixel of the image. facenet-pytorch leaves the others out of the batch but not out of the
    list, and fails on the whole image."""
    return (windows[:, 2] > windows[:, 0]) & (windows[:, 3] > windows[:, 1])


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
