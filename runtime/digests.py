"""SHA-256 of whole files."""

import hashlib
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass

from runtime.files import open_file

_CHUNK = 1 << 20  # bytes


@dataclass(frozen=True, kw_only=True)
class Digest:
    """What a file holds: how many bytes, and their SHA-256 (hexadecimal)."""

    bytes: int
    sha256: str


def digest_of(
    path: str | os.PathLike, most: int = sys.maxsize, passing: Callable[[int], object] = lambda count: None
) -> Digest:
    """Of a regular file of at most so many bytes. Raises OSError as `open_file` does. Other threads run meanwhile.

    `passing` is called with how many bytes each part has, and ends it all by an exception.
    """
    digest, size = hashlib.sha256(), 0
    buffer = memoryview(bytearray(_CHUNK))
    with open_file(path, most) as file:
        while count := file.readinto(buffer):
            digest.update(buffer[:count])
            size += count
            passing(count)
    return Digest(bytes=size, sha256=digest.hexdigest())
