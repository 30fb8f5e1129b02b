"""The one face detector: MTCNN as facenet-pytorch runs it, box for box, several times faster.

    detector = FacenetDetector(thresholds=(0.7, 0.8, 0.8))
    for faces in detector.detect(frames):
        print(faces.bboxes, faces.scores)

What makes it faster and leaves the boxes as they are: area pooling by integral images (`area_pool.py`), Pillow's
half-size resize without Pillow (`resize.py`), the networks on other engines (`mtcnn.py`,
`cuda_mtcnn.py`), batches over frames, also of boxes (`mtcnn_boxes.py`).
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from facenet_pytorch.models.utils.detect_face import bbreg, rerec

from engines.choice import choose_engine
from engines.device import resolve_device
from engines.gpu import failures_are_told, in_halves
from faces.area_pool import NumpyImages, TorchImages
from faces.cuda_mtcnn import GpuImages, on_gpu
from faces.mtcnn import NativeNetworks, Networks, Pyramid
from faces.mtcnn_boxes import (
    CELL,
    hold_pixels,
    proposals,
    suppress_contained,
    suppress_each,
    windows_of,
)
from faces.resize import resize_rgb

MIN_FACE_SIZE = 20
FACTOR = 0.709
ENGINES = ("native", "avx512", "openvino", "torch")  # those that run it
_LIBRARIES = {"native": "mtcnn", "avx512": "mtcnn_avx512"}  # of our kernels for a CPU
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
    half, above 1900 a third. `engine` is auto or one of ENGINES. `threads` is how many threads may call
    `detect` at once, each working on one core. `any_size` is for images that come in ever other sizes, as crops do.
    `factor` is from one scale of the search to the next. Without `largest_first` faces come in the networks' own order.
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
        factor: float = FACTOR,
        largest_first: bool = True,
    ):
        if scale not in SCALES:
            raise ValueError(f"scale {scale!r}: use one of {', '.join(SCALES)}")
        self.device = torch.device(device)
        self.thresholds = tuple(thresholds)
        self.scale = scale
        self._factor, self._largest_first = factor, largest_first
        self.best_batch = 8 if self.device.type == "cpu" else 32
        self.engine = choose_engine(engine, self.device, ENGINES)
        if self.device.type == "cuda":
            self._networks = on_gpu(self.device, self.engine)
        elif self.engine in _LIBRARIES:
            self._networks = NativeNetworks(_LIBRARIES[self.engine])
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
        return self._detect(frames, partial(_pyramid, factor=self._factor))

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
                found[number] = _scaled(faces, factors[number], largest_first=self._largest_first)
        return [found[number] for number in range(len(frames))]

    def _cascade(self, images: Sequence[np.ndarray], pyramid: Pyramid) -> list[tuple[np.ndarray, np.ndarray]]:
        """Boxes with scores (n, 5) and landmarks (n, 5, 2) for each image, in its pixels."""
        loaded = self._networks.load(images)
        cells = self._networks.candidates(loaded, pyramid, self.thresholds[0])
        boxes, numbers = self._refine(loaded, *proposals(cells, self.thresholds[0]))
        boxes, landmarks, numbers = self._finish(loaded, boxes, numbers)
        edges = np.searchsorted(numbers, np.arange(1, len(images)))
        return list(zip(np.split(boxes, edges), np.split(landmarks, edges), strict=True))

    def _refine(self, loaded: Images, boxes: torch.Tensor, numbers: np.ndarray) -> tuple[torch.Tensor, np.ndarray]:
        boxes, numbers, regression = self._passed(loaded, boxes, numbers, 24)
        pick = suppress_each(boxes, numbers, 0.7)
        return rerec(bbreg(boxes[pick], regression[pick])), numbers[pick]

    def _finish(
        self, loaded: Images, boxes: torch.Tensor, numbers: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        boxes, numbers, regression, points = self._passed(loaded, boxes, numbers, 48)
        size_x, size_y = (boxes[:, 2:4] - boxes[:, :2] + 1).split(1, dim=1)
        x, y = size_x * points[:, :5] + boxes[:, 0:1] - 1, size_y * points[:, 5:] + boxes[:, 1:2] - 1
        boxes = bbreg(boxes, regression)
        pick = suppress_contained(boxes, numbers, 0.7)
        return boxes[pick].numpy(), torch.stack([x, y], dim=2)[pick].numpy(), numbers[pick]

    def _passed(self, loaded: Images, boxes: torch.Tensor, numbers: np.ndarray, size: int) -> tuple:
        """The boxes of which a refining network is sure, with its score, their numbers and its other outputs."""
        sides = np.array(loaded.sizes, np.int64).reshape(-1, 2)
        windows = windows_of(boxes, *sides[numbers].T)
        inside = hold_pixels(windows)
        boxes, numbers, windows = boxes[torch.from_numpy(inside)], numbers[inside], windows[inside]
        if len(boxes):
            outputs = [torch.from_numpy(output) for output in self._networks.refine(loaded, numbers, windows, size)]
        else:
            outputs = [torch.zeros(0), torch.zeros(0, 4), torch.zeros(0, 10)][: 2 if size == 24 else 3]
        passed = outputs[0] > self.thresholds[1 if size == 24 else 2]
        boxes = torch.cat([boxes[passed, :4], outputs[0][passed, None]], dim=1)
        return boxes, numbers[passed.numpy()], *(output[passed] for output in outputs[1:])


def _pyramid(side: int, factor: float = FACTOR) -> list[float]:
    scales = []
    scale = CELL / MIN_FACE_SIZE
    side = side * scale
    while side >= CELL:
        scales.append(scale)
        scale *= factor
        side *= factor
    return scales


def _large_scales(side: int) -> list[float]:
    """The scales at which PNet's window is at least a fifth of the side: a third of a face that fills a crop."""
    return [scale for scale in _pyramid(side) if CELL / scale >= side / 5]


def _fills(faces: Faces, crop: np.ndarray) -> bool:
    """True where the largest face is certain and over a third of the crop's shorter side."""
    if not len(faces.bboxes) or faces.scores[0] < _CERTAIN:
        return False
    x1, y1, x2, y2 = faces.bboxes[0]
    return min(x2 - x1, y2 - y1) > min(crop.shape[:2]) / 3


def _scaled(found: tuple[np.ndarray, np.ndarray], factor: float, *, largest_first: bool) -> Faces:
    """In pixels of the full frame; largest first as facenet-pytorch's `select_largest` orders them."""
    boxes, landmarks = found
    if largest_first:
        order = np.argsort((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))[::-1]
        boxes, landmarks = boxes[order], landmarks[order]
    factor = np.float32(factor)
    return Faces(bboxes=boxes[:, :4] * factor, scores=boxes[:, 4], landmarks=landmarks * factor)


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
