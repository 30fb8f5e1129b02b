"""A made-up video with a known face, and made-up pictures: whole numbers all the way, so the same on every machine.

The face is the one that scikit-image ships (Eileen Collins, a picture by NASA, in the public domain).
"""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import skimage.data

COUNT, RATE = 22, 15  # frames, and how many a second
WIDTH, HEIGHT = 320, 240
# lossless encoders: the container, and the encoder's options. Every FFmpeg has the first; the second writes what most
# videos are, with pictures in another order than they are shown in
CODECS = {"ffvhuff": ("nut", {}), "libx264": ("mp4", {"qp": "0", "bf": "2", "g": "8"})}
_HEAD = slice(0, 220), slice(120, 340)  # of the picture


def made_frames() -> list[np.ndarray]:
    """Frames in which a face drifts over a background: uint8 RGB (240, 320, 3)."""
    head = skimage.data.astronaut()[_HEAD].astype(np.int64)
    face = ((head[0::2, 0::2] + head[1::2, 0::2] + head[0::2, 1::2] + head[1::2, 1::2] + 2) // 4).astype(np.uint8)
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    background = np.stack([90 + rows // 4, 80 + columns // 5, 100 + (rows + columns) // 8], axis=2).astype(np.uint8)
    frames = []
    for number in range(COUNT):
        frame = background.copy()
        top, left = 50 + number, 80 + 2 * number
        frame[top : top + len(face), left : left + face.shape[1]] = face
        frames.append(frame)
    return frames


def made_planes(frame: np.ndarray) -> np.ndarray:
    """A frame as YUV 4:2:0, limited range, by ITU-R BT.601 in whole numbers: uint8 (360, 320), as PyAV takes it."""
    red, green, blue = (frame[..., channel].astype(np.int64) for channel in range(3))
    luma = (66 * red + 129 * green + 25 * blue + 128) // 256 + 16
    planes = [luma]
    for weights in ((-38, -74, 112), (112, -94, -18)):
        full = sum(weight * channel for weight, channel in zip(weights, (red, green, blue), strict=True))
        quarter = full[0::2, 0::2] + full[1::2, 0::2] + full[0::2, 1::2] + full[1::2, 1::2]
        planes.append(((quarter + 512) // 1024 + 128).reshape(-1, WIDTH))
    return np.concatenate(planes).astype(np.uint8)


def write_made_video(folder: Path, codec: str = "ffvhuff") -> Path:
    """The frames as a video that loses nothing, by one of `CODECS`. Raises av.codec.codec.UnknownCodecError where there
    is no such encoder."""
    container_format, options = CODECS[codec]
    path = folder / f"made.{container_format}"
    with av.open(str(path), "w", format=container_format) as container:
        stream = container.add_stream(codec, rate=RATE, options=options)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.time_base = Fraction(1, RATE)
        for number, frame in enumerate(made_frames()):
            made = av.VideoFrame.from_ndarray(made_planes(frame), format="yuv420p")
            made.pts, made.time_base = number, Fraction(1, RATE)
            container.mux(stream.encode(made))
        container.mux(stream.encode(None))
    return path


def made_pixels(shape: tuple[int, int, int, int]) -> np.ndarray:
    """A made-up clip, uint8 RGB (t, h, w, 3)."""
    frame, row, column, channel = np.ogrid[tuple(slice(length) for length in shape)]
    wave = row * column // 16 + 7 * column + 5 * row + 29 * frame + 61 * channel
    return np.abs((wave % 511) - 255).astype(np.uint8)
