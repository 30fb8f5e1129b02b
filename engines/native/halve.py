"""RGB images at half their size, but for the two outermost rows and columns as Pillow makes them (`halve.cpp`)."""

import ctypes

import numpy as np

from engines.native.libraries import library


def halve(image: np.ndarray) -> np.ndarray:
    """A uint8 RGB image (2h, 2w, 3) as (h, w, 3). Raises NativeError where the library can't be had, MemoryError."""
    height, width = image.shape[0] // 2, image.shape[1] // 2
    image, result = np.ascontiguousarray(image), np.empty((height, width, 3), np.uint8)
    source, target = (array.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8)) for array in (image, result))
    if library("halve").halve(source, height, width, target):
        raise MemoryError
    return result
