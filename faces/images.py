"""Crops on disk: names, formats, and reading that notices damage. Images are BGR uint8 (h, w, 3) in memory."""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np

from faces import png
from faces.picture_size import picture_size
from runtime import limits
from runtime.errors import ItemError
from runtime.files import read_file


def _encode_lossy(image: np.ndarray, *, extension: str, quality: int) -> bytes:
    return cv2.imencode(extension, image, [quality, 95])[1].tobytes()


ENCODINGS: dict[str, Callable[[np.ndarray], bytes]] = {
    "png": png.encode,
    "jpg": partial(_encode_lossy, extension=".jpg", quality=cv2.IMWRITE_JPEG_QUALITY),
    "webp": partial(_encode_lossy, extension=".webp", quality=cv2.IMWRITE_WEBP_QUALITY),
}
ACTORS = 2  # faces of a frame, largest first, that are trained on: the published pipeline's limit
_NAME = re.compile(r"(\d+)_(\d+)\.(?:png|jpg|webp)")


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
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries]  # what is no file is told of by who reads it
    except OSError as error:
        raise ItemError(f"{os.fspath(folder)}: no crops ({error.strerror}); run extract_crops.py") from error
    found = [Crop(frame=int(m[1]), actor=int(m[2]), name=m[0]) for m in map(_NAME.fullmatch, names) if m]
    return sorted(crop for crop in found if crop.actor < ACTORS)


def read_image(path: str | os.PathLike) -> np.ndarray:
    """An image file as BGR uint8 (h, w, 3), as OpenCV has it. Raises ItemError where it is cut or damaged, or claims
    more pixels than a picture may have."""
    try:
        data = read_file(path, limits.PICTURE)
    except OSError as error:
        raise ItemError(f"{os.fspath(path)}: can't be opened ({error.strerror})") from error
    width, height = picture_size(data) or (0, 0)
    if width * height > limits.PICTURE_PIXELS:
        raise ItemError(
            f"{os.fspath(path)}: is said to have {width}x{height} pixels, more than the {limits.PICTURE_PIXELS} that a "
            "picture may have; remove it, and run extract_crops.py --overwrite"
        )
    image = _decode(data) if width * height else None
    if image is None:
        raise ItemError(f"{os.fspath(path)}: is cut or damaged; run extract_crops.py --overwrite")
    return image


def encode_image(image: np.ndarray, extension: str) -> bytes:
    """A BGR or grey uint8 image as the bytes of a file."""
    return ENCODINGS[extension](image)


def _decode(data: bytes) -> np.ndarray | None:
    """None for what is no image, and for a PNG that is cut or has a wrong checksum, at which libpng would print."""
    if data.startswith(png.START):
        chunks = png.read_chunks(data)
        if chunks is None or sum(kind == b"IHDR" for kind, _ in chunks) > 1:  # only the first one was looked at
            return None
        image = png.decode(chunks)
        if image is not None:
            return image
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        return None
