"""NtechLab's published way of doing it, on today's libraries: what benchmarks/ntechlab.py compares with.

Videos are read from their first frame to their last by OpenCV, networks run eagerly in fp32, one after the other, and a
sample of training compresses all images of both tracks by ffmpeg, which reads them from their files, and again to read
what it wrote. Without ffmpeg PyAV stands in for it.
"""

import io
import random
import shutil
import subprocess
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import av
import cv2
import numpy as np
import torch
from facenet_pytorch import MTCNN
from torch.utils.flop_counter import FlopCounterMode

from systems.ntechlab.augmentation import augment, draw_augmentations
from systems.ntechlab.checkpoints import load_classifier
from systems.ntechlab.compression import Compression, draw_compression, frame_numbers
from systems.ntechlab.dataset import SAMPLED_FRAMES
from systems.ntechlab.detections import Detections
from systems.ntechlab.dsfd import DsfdDetector, load_dsfd
from systems.ntechlab.frames import DETECT_EVERY, InputMaker, find_tracks, keep_frames, plan_inputs
from systems.ntechlab.models import HEIGHT, SEQUENCE, WIDTH, Classifier, TemporalExpansion
from systems.ntechlab.strategy import weighted_mean

_BATCH = 16


class Recipe:
    """Videos to scores. `dsfd` is its file; without it facenet-pytorch's MTCNN searches frames of half their size."""

    def __init__(self, checkpoints: Sequence[str], dsfd: str | None, device: torch.device):
        loaded = [load_classifier(path) for path in checkpoints]
        self._classifiers = {each.role: Classifier(each.network, each.role, device) for each in loaded}
        for each in loaded:
            for module in each.network.modules():
                if isinstance(module, TemporalExpansion):
                    module.forward = partial(in_three_dimensions, module)
        self._dsfd = DsfdDetector(dsfd, device) if dsfd else None
        if self._dsfd:
            self._dsfd.network = load_dsfd(dsfd).to(device)  # as PyTorch runs it
        self.images = dict.fromkeys(self._classifiers, 0)  # that were scored, by role; of "seq" clips
        self._mtcnn = MTCNN(margin=0, keep_all=True, thresholds=[0.6, 0.7, 0.7], device=device)

    def predict(self, path: str) -> float:
        capture = cv2.VideoCapture(path)
        count, rate = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)), capture.get(cv2.CAP_PROP_FPS)
        kept = keep_frames(count, rate)
        frames = []
        for index in range(count):
            read, frame = capture.read()
            if read and index % kept.step == 0:
                frames.append(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
        tracks = find_tracks(self._detect(frames[::DETECT_EVERY]))
        height, width = frames[0].shape[:2]
        maker = InputMaker(plan_inputs(tracks, width, height), range(len(frames)))
        inputs: dict[str, list[np.ndarray]] = {role: [] for role in self._classifiers}
        for number in maker.source_frames:
            for each, image in maker.feed(number, frames[number]):
                inputs[each.role].append(image)
        pooled: list[float] = []
        for role, images in inputs.items():
            self.images[role] += len(images)
            batch = 1 if role == "seq" else _BATCH
            for start in range(0, len(images), batch):
                scored = self._classifiers[role].p_fake(np.stack(images[start : start + batch]))
                pooled += scored.ravel().tolist()
        return weighted_mean(pooled)

    def gflop(self, role: str) -> float:
        """Of one image, or one clip, by PyTorch's own count of convolutions and matrix products."""
        clip = (SEQUENCE,) if role == "seq" else ()
        with FlopCounterMode(display=False) as counter:
            self._classifiers[role].p_fake(np.zeros((1, *clip, HEIGHT, WIDTH, 3), np.uint8))
        return counter.get_total_flops() / 1e9

    def _detect(self, frames: list[np.ndarray]) -> list[Detections]:
        if self._dsfd:
            return [
                found for start in range(0, len(frames), _BATCH) for found in self._dsfd.detect(frames[start:][:_BATCH])
            ]
        found = []
        for frame in frames:
            with torch.inference_mode():
                boxes, scores = self._mtcnn.detect(cv2.resize(frame, None, fx=0.5, fy=0.5))
            empty = boxes is None
            found.append(
                Detections(
                    bboxes=np.zeros((0, 4), np.float32) if empty else 2 * np.float32(boxes),
                    scores=np.zeros(0, np.float32) if empty else np.float32(scores),
                )
            )
        return found


def in_three_dimensions(expansion: TemporalExpansion, x: torch.Tensor) -> torch.Tensor:
    """What a sequence model's expansion computes, by the convolution that it has its weights for."""
    clips = x.unflatten(0, (-1, SEQUENCE)).transpose(1, 2)
    return expansion.conv(clips).transpose(1, 2).flatten(0, 1)


def sample(root: Path, pair: tuple[str, str], role: str, draw: random.Random) -> list[torch.Tensor]:
    """A sample of training: both tracks compressed alike, or read, and augmented alike."""
    tracks, compression = [], draw_compression(draw)
    for folder in pair:
        names = sorted((root / folder).glob("*.png"), key=lambda path: int(path.stem))
        if compression is None:
            images = [_read(names[number]) for number in frame_numbers(SAMPLED_FRAMES[role], len(names))]
        else:
            frames = compressed(root / folder, names, compression)
            images = [frames[number] for number in frame_numbers(SAMPLED_FRAMES[role], len(frames))]
        tracks.append(images)
    augmentations = draw_augmentations(role, len(SAMPLED_FRAMES[role]), draw)
    return [augment(images, role, augmentations, torch.Generator()) for images in tracks]


def _read(path: Path) -> np.ndarray:
    return cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)


def compressed(folder: Path, names: Sequence[Path], compression: Compression) -> Sequence[np.ndarray]:
    """All frames, encoded to a stream and decoded again."""
    if shutil.which("ffmpeg") is None:
        return _compressed_by_pyav([_read(path) for path in names], compression)
    height, width = compression.size(*cv2.imread(str(names[0])).shape[:2])
    ffmpeg = ["ffmpeg", "-v", "error"]
    filters = f"fps={compression.fps},scale={width}:{height}"
    encode = ["-framerate", "30", "-i", f"{folder}/%d.png", "-vf", filters, "-c:v", "libx264"]
    encode += ["-crf", str(compression.crf), "-tune", compression.tune, "-f", "h264", "pipe:1"]
    stream = subprocess.run([*ffmpeg, *encode], stdout=subprocess.PIPE, check=True).stdout
    decode = ["-f", "h264", "-i", "pipe:0", "-f", "rawvideo", "-pix_fmt", "rgb24", "pipe:1"]
    pixels = subprocess.run([*ffmpeg, *decode], input=stream, stdout=subprocess.PIPE, check=True).stdout
    return np.frombuffer(pixels, np.uint8).reshape(-1, height, width, 3)


def _compressed_by_pyav(images: list[np.ndarray], compression: Compression) -> list[np.ndarray]:
    """All frames, encoded to a stream and decoded again."""
    height, width = compression.size(*images[0].shape[:2])
    file = io.BytesIO()
    with av.open(file, "w", format="h264") as container:
        options = {"crf": str(compression.crf), "tune": compression.tune}
        stream = container.add_stream("libx264", rate=compression.fps, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv444p"
        for image in images[:: max(round(30 / compression.fps), 1)]:
            scaled = cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(scaled, format="rgb24")))
        container.mux(stream.encode(None))
    file.seek(0)
    with av.open(file, format="h264") as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
