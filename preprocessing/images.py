"""Crops on disk: names, formats, and reading that notices damage. Images are RGB uint8 (h, w, 3) in memory."""

import os
import re
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from runtime.errors import ItemError

# run lengths of differences to the line above: smaller than OpenCV's default here, and read a fifth faster
ENCODINGS = {
    "png": [
        *(cv2.IMWRITE_PNG_COMPRESSION, 1),
        *(cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE),
        *(cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP),
    ],
    "jpg": [cv2.IMWRITE_JPEG_QUALITY, 95],
    "webp": [cv2.IMWRITE_WEBP_QUALITY, 95],
}
ACTORS = 2  # faces of a frame, largest first, that are trained on: the published pipeline's limit
_NAME = re.compile(r"(\d+)_(\d+)\.(?:png|jpg|webp)")
_PNG_START = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True, kw_only=True, order=True)
class Crop:
    """A crop's file name, `<frame>_<actor>.<format>`; the actor is the index of its box, largest first."""

    frame: int
    actor: int
    name: str

    @property
    def stem(self) -> str:
        return f"{self.frame}_{self.actor}"


def list_crops(folder: str | os.PathLike) -> list[Crop]:
    """The crops of one video of the first two actors, by frame and actor. Raises ItemError where there is no folder."""
    try:
        names = os.listdir(folder)
    except OSError as error:
        raise ItemError(f"{os.fspath(folder)}: no crops ({error.strerror}); run extract_crops.py") from error
    found = [Crop(frame=int(m[1]), actor=int(m[2]), name=m[0]) for m in map(_NAME.fullmatch, names) if m]
    return sorted(crop for crop in found if crop.actor < ACTORS)


def read_image(path: str | os.PathLike) -> np.ndarray:
    """An image file as BGR uint8 (h, w, 3), as OpenCV has it. Raises ItemError where it is cut or damaged."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise ItemError(f"{os.fspath(path)}: can't be opened ({error.strerror})") from error
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if _is_whole(data) else None
    if image is None:
        raise ItemError(f"{os.fspath(path)}: is cut or damaged; run extract_crops.py --overwrite")
    return image


def encode_image(image: np.ndarray, extension: str) -> bytes:
    """A BGR or grey uint8 image as the bytes of a file."""
    return cv2.imencode(f".{extension}", image, ENCODINGS[extension])[1].tobytes()


def _is_whole(data: bytes) -> bool:
    """False for an empty file, and for a PNG that is cut or whose checksums are wrong, at which libpng would print."""
    if not data.startswith(_PNG_START):
        return len(data) > 0
    position = len(_PNG_START)
    while position + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, position)
        kind = data[position + 4 : position + 8]
        end = position + 8 + length
        if end + 4 > len(data) or zlib.crc32(data[position + 4 : end]) != struct.unpack_from(">I", data, end)[0]:
            return False
        if kind == b"IEND":
            return True
        position = end + 4
    return False
