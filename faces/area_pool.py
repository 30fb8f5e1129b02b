"""Area averaging for MTCNN by integral images: the windows of torch's adaptive average pooling, summed in integers.

facenet-pytorch scales images by `interpolate(mode="area")`, which averages over windows with whole-pixel edges:
output i covers input floor(i * n / m) to ceil((i + 1) * n / m). A sum over such a window is four look-ups in a table of
cumulative sums, whatever its size. The tables are int32 and may wrap: a window's sum comes out right all the same while
it is below 2**31 (8 megapixels of white).

Both classes hold some images and give the same numbers: one on the CPU with NumPy and OpenCV, the other, for images of
one size, on any torch device. `sizes` are their (height, width).
"""

from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np
import torch
from torch.nn import functional as F


class NumpyImages:
    """Images (uint8, (h, w, 3), of any sizes) on the CPU."""

    def __init__(self, images: Sequence[np.ndarray]):
        self.tables = [cv2.integral(image, sdepth=cv2.CV_32S) for image in images]
        self.sizes = [image.shape[:2] for image in images]

    def pool(self, number: int, height: int, width: int) -> np.ndarray:
        """Image `number` scaled to (1, height, width, 3), float32 in 0 to 255."""
        table = self.tables[number]
        top, bottom, left, right, share = _whole_image(*self.sizes[number], height, width)
        rows = table[bottom]
        rows -= table[top]
        sums = np.take(rows, right, axis=1)
        sums -= np.take(rows, left, axis=1)
        means = sums.astype(np.float32)
        means *= share
        return means[None]

    def pool_boxes(self, numbers: np.ndarray, boxes: np.ndarray, size: int) -> np.ndarray:
        """Boxes scaled to (n, size, size, 3), float32 in 0 to 255.

        `numbers` says which image each box lies in; `boxes` is int (n, 4): x1, y1, x2, y2 inside the image, x2 and y2
        just outside the box.
        """
        pooled = np.empty((len(boxes), size, size, 3), np.float32)
        for number in np.unique(numbers):
            mine = numbers == number
            table = torch.from_numpy(self.tables[number])[None]  # torch gathers rows of three faster than NumPy
            pooled[mine] = _pool_boxes(table, np.zeros(mine.sum()), boxes[mine], size).numpy()
        return pooled


class TorchImages:
    """Images (uint8, (h, w, 3), of one size) on a torch device: the same as NumpyImages, for all images at once."""

    def __init__(self, images: Sequence[np.ndarray], device: torch.device):
        self.sizes = [image.shape[:2] for image in images]
        pixels = torch.from_numpy(np.stack(images)).to(device)
        sums = pixels.cumsum(1, dtype=torch.int32).cumsum(2, dtype=torch.int32)
        self.tables = F.pad(sums, (0, 0, 1, 0, 1, 0))
        self.planes = pixels.permute(0, 3, 1, 2).float().contiguous()

    def pool_all(self, height: int, width: int) -> torch.Tensor:
        """Every image scaled to (n, height, width, 3), float32 in 0 to 255."""
        return F.interpolate(self.planes, size=(height, width), mode="area").permute(0, 2, 3, 1)

    def pool_boxes(self, numbers: np.ndarray, boxes: np.ndarray, size: int) -> torch.Tensor:
        """As NumpyImages.pool_boxes."""
        return _pool_boxes(self.tables, numbers, boxes, size)


@lru_cache(maxsize=256)  # about ten scales for each size of video
def _whole_image(from_height: int, from_width: int, height: int, width: int) -> tuple[np.ndarray, ...]:
    """Edges of the windows over a whole image, and one over the windows' pixel counts, (height, width, 1)."""
    top, bottom = _edges(0, from_height, height)
    left, right = _edges(0, from_width, width)
    share_y, share_x = ((1 / (last - first)).astype(np.float32) for first, last in ((top, bottom), (left, right)))
    return top, bottom, left, right, (share_y[:, None] * share_x)[..., None]


def _edges(start, length, parts: int) -> tuple[np.ndarray, np.ndarray]:
    """First and one-past-last input positions of each of `parts` windows over `length` positions from `start`."""
    i = np.arange(parts)
    return start + i * length // parts, start - (-(i + 1) * length // parts)


def _pool_boxes(tables: torch.Tensor, numbers: np.ndarray, boxes: np.ndarray, size: int) -> torch.Tensor:
    """Area averages (n, size, size, 3) of boxes of the images behind `tables`, int32 (images, h + 1, w + 1, 3)."""
    _, rows, columns, _ = tables.shape
    boxes = boxes.astype(np.int64)
    left, right = _edges(boxes[:, 0:1], boxes[:, 2:3] - boxes[:, 0:1], size)
    top, bottom = _edges(boxes[:, 1:2], boxes[:, 3:4] - boxes[:, 1:2], size)
    first_row = numbers.astype(np.int64)[:, None] * rows
    edges = [left, right, (first_row + top) * columns, (first_row + bottom) * columns]
    left, right, top, bottom = (torch.from_numpy(edge).to(tables.device) for edge in edges)
    flat = tables.reshape(-1, 3)

    def corner(rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
        return flat.index_select(0, (rows[:, :, None] + columns[:, None, :]).reshape(-1))

    sums = corner(bottom, right) - corner(top, right) - corner(bottom, left) + corner(top, left)
    counts = ((bottom - top) // columns)[:, :, None] * (right - left)[:, None, :]
    return sums.reshape(-1, size, size, 3).float() / counts[..., None].float()
