"""Videos of JPEG pictures, each by itself: one can be unreadable, or have another size than the rest."""

from collections.abc import Collection
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np


def write_pictures(path: Path, frames: list[np.ndarray], *, unreadable: Collection[int] = (), rate: int = 30) -> Path:
    """An MJPEG video of RGB frames of any sizes; the pictures `unreadable` hold zeros."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=rate)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuvj420p"
        for i, frame in enumerate(frames):
            data = cv2.imencode(".jpg", frame[..., ::-1])[1].tobytes()
            packet = av.Packet(bytes(len(data)) if i in unreadable else data)
            packet.stream = stream
            packet.time_base = Fraction(1, rate)
            packet.pts = packet.dts = i
            container.mux(packet)
    return path
