"""Small videos and checkpoints for the tests, made from scikit-image's astronaut; seeded, no network."""

import contextlib
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import skimage.data
import torch

from systems.seferbekov.checkpoints import save_model
from systems.seferbekov.models import DeepFakeClassifier

SHARED = Path(__file__).resolve().parents[2] / "shared"
FORMATS = {".avi": "avi", ".mkv": "matroska", ".webm": "webm", ".ts": "mpegts", ".mov": "mov", ".mpg": "mpeg"}
ENCODER = "tf_efficientnet_b0_ns"
SIZE = 64


def face_frames(count: int, width: int = 640, height: int = 360, face: int = 180) -> list[np.ndarray]:
    """RGB frames in which a face drifts over a lit, noisy background."""
    draw = np.random.default_rng(7)
    head = skimage.data.astronaut()[0:220, 120:340]
    head = cv2.resize(head, (face, face), interpolation=cv2.INTER_AREA)
    background = cv2.resize(draw.integers(60, 160, (9, 16, 3), dtype=np.uint8), (width, height))
    frames = []
    for i in range(count):
        frame = background.copy()
        left = int((width - face) * (0.3 + 0.3 * np.sin(i / 9)))
        top = int((height - face) * (0.5 + 0.4 * np.cos(i / 7)))
        frame[top : top + face, left : left + face] = head
        light = 0.9 + 0.1 * np.sin(i / 5)
        frames.append((frame * light).astype(np.uint8))
    return frames


def noise_frames(count: int, width: int = 320, height: int = 192) -> list[np.ndarray]:
    """RGB frames without a face."""
    draw = np.random.default_rng(3)
    return [
        cv2.resize(draw.integers(0, 255, (6, 10, 3), dtype=np.uint8), (width, height), interpolation=cv2.INTER_LINEAR)
        for _ in range(count)
    ]


def write_video(
    path: Path,
    frames: list[np.ndarray],
    *,
    codec: str = "libx264",
    options: dict | None = None,
    timestamps: list[int] | None = None,
    container_options: dict | None = None,
    pix_fmt: str = "yuv420p",
    rate: int = 30,
    color: dict | None = None,
) -> Path:
    """Encode RGB frames; `timestamps` in units of 1/(10 * rate) s make the frame rate variable. `color` sets the
    encoder's tags, such as color_trc."""
    container_format = FORMATS.get(Path(path).suffix.lower(), "mp4")
    opened = av.open(str(path), "w", format=container_format, options=container_options or {})
    with _as_before(), opened as container:
        stream = container.add_stream(codec, rate=rate, options=options or {"crf": "23"})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pix_fmt
        stream.codec_context.time_base = Fraction(
            1, rate if container_format in ("avi", "mpeg") or "mpeg2" in codec else 10 * rate
        )
        for tag, value in (color or {}).items():
            setattr(stream.codec_context, tag, value)
        for i, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            frame.pts = timestamps[i] if timestamps else 10 * i
            frame.time_base = Fraction(1, 10 * rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@contextlib.contextmanager
def _as_before() -> Iterator[None]:
    """Take back the real-time priority that SVT-AV1, run as root, gives the thread that calls it. All that this thread
    starts would have it too, and two threads that spin would keep two cores to themselves."""
    if not hasattr(os, "sched_getscheduler"):
        yield
        return
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, parameters)


def write_audio(path: Path) -> Path:
    """An MP4 with sound and no picture."""
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=44100, layout="mono")
        tone = np.sin(np.arange(44100) / 20).astype(np.float32)[None]
        frame = av.AudioFrame.from_ndarray(tone, format="fltp", layout="mono")
        frame.sample_rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def set_rotation(path: Path, degrees: int) -> None:
    cos, sin = {0: (1, 0), 90: (0, 1), 180: (-1, 0), 270: (0, -1)}[degrees]
    set_display_matrix(path, (cos, sin, -sin, cos))


def set_display_matrix(path: Path, values: tuple[float, float, float, float]) -> None:
    """Write a display matrix (a, b, c, d) into an MP4's first track header (ISO/IEC 14496-12, tkhd)."""
    path = Path(path)
    data = bytearray(path.read_bytes())
    a, b, c, d = (round(value * 65536) for value in values)
    matrix = np.array([a, b, 0, c, d, 0, 0, 0, 1 << 30], ">i4").tobytes()
    header = data.index(b"tkhd")
    start = header + 4 + 40  # version 0: the matrix follows 40 bytes of flags, times, ids and volume
    assert data[header + 4] == 0, "tkhd version 1"
    data[start : start + 36] = matrix
    path.write_bytes(data)


def opencv_frames(path: Path) -> list[np.ndarray]:
    """All frames, RGB, read in sequence by OpenCV: the oracle of the reader."""
    capture = cv2.VideoCapture(str(path))
    frames = []
    while True:
        fine, frame = capture.read()
        if not fine:
            return frames
        frames.append(np.ascontiguousarray(frame[..., ::-1]))


def write_checkpoint(path: Path, seed: int = 0, encoder: str = ENCODER, size: int = SIZE) -> Path:
    """A small classifier with random weights; batch statistics taken from noise and faces spread its scores."""
    torch.manual_seed(seed)
    module = DeepFakeClassifier(encoder)
    for layer in module.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = 1.0
    images = [torch.rand(16, 3, SIZE, SIZE)]
    images += [torch.from_numpy(cv2.resize(f, (SIZE, SIZE))).permute(2, 0, 1)[None] / 255 for f in face_frames(8)]
    with torch.no_grad():
        logits = module.train()((torch.cat(images) - 0.45) / 0.225)
        module.fc.weight.mul_(2 / logits.std())
    save_model(path, module, network="DeepFakeClassifier", encoder=encoder, input_size=size)
    return path
