"""MTCNN's arithmetic on boxes, for many images at once: torch fp32 on the CPU, step by step as in facenet-pytorch's
`detect_face`, so that boxes are its boxes to the bit.

Images are told apart by `numbers`, int64 (n,), ascending, one for each box. A call for all of them instead of one for
each matters more than it looks: every small call to PyTorch gives Python's lock away and has to wait to get it back
while other threads work, milliseconds each time.
"""

import numpy as np
import torch
from facenet_pytorch.models.utils.detect_face import nms_numpy, rerec
from torchvision.ops import nms

CELL, STRIDE = 12, 2  # PNet's window, and from one to the next
_EXACT = 2**24  # whole numbers below it are exact in fp32
_TOGETHER = 1024  # boxes to a call of suppression, whose work grows with their square


def proposals(candidates: np.ndarray, threshold: float) -> tuple[torch.Tensor, np.ndarray]:
    """The boxes (n, 5) that PNet proposes, corners and score, and their numbers, from its cells (see
    `DenseProposals.candidates`): suppressed within each scale, then over all scales, moved, made square."""
    rows = torch.from_numpy(candidates)
    score = torch.sigmoid(rows[:, 4])  # the softmax over two classes
    passed = score >= threshold
    rows, score = rows[passed], score[passed]
    scale, cell = rows[:, 1:2], rows[:, 2:4] * STRIDE + 1
    corners = [(cell / scale).floor(), ((cell + (CELL - 1)) / scale).floor()]
    boxes = torch.cat([*corners, score[:, None], rows[:, 5:]], dim=1)
    numbers, scales = rows[:, 0].numpy().astype(np.int64), rows[:, 1].numpy()
    changes = (numbers[1:] != numbers[:-1]) | (scales[1:] != scales[:-1])
    kept = suppress_whole(boxes, np.concatenate([[0], np.cumsum(changes)])[: len(boxes)], 0.5)
    boxes, numbers = boxes[kept], numbers[kept]
    kept = suppress_whole(boxes, numbers, 0.7)
    boxes, numbers = boxes[kept], numbers[kept]
    size = boxes[:, 2:4] - boxes[:, :2]
    corners = boxes[:, :4] + boxes[:, 5:9] * torch.cat([size, size], dim=1)
    return rerec(torch.cat([corners, boxes[:, 4:5]], dim=1)), numbers


def suppress_whole(boxes: torch.Tensor, groups: np.ndarray, threshold: float) -> np.ndarray:
    """Which boxes (n, 5 or more; corners are whole numbers, not negative; then the score) are left, int64: group by
    group, the best first. `groups` (n,) ascend.

    Groups are moved apart, so that one call does many of them. That is exact: the corners stay whole numbers.
    """
    if not len(boxes):
        return np.zeros(0, np.int64)
    span = int(boxes[:, 2].max()) + 1
    starts = np.concatenate([[0], np.flatnonzero(np.diff(groups)) + 1, [len(groups)]])
    kept, first = [], 0
    while first < len(starts) - 1:
        last = max(first + 1, int(np.searchsorted(starts, starts[first] + _TOGETHER, side="right")) - 1)
        last = max(first + 1, min(last, first + _EXACT // span))
        rows = slice(starts[first], starts[last])
        places = np.repeat(np.arange(last - first), np.diff(starts[first : last + 1]))
        corners = boxes[rows, :4].clone()
        corners[:, 0::2] += torch.from_numpy(places * span).float()[:, None]
        best = nms(corners, boxes[rows, 4], threshold).numpy()
        kept.append(starts[first] + best[np.argsort(places[best], kind="stable")])
        first = last
    return np.concatenate(kept)


def suppress_each(boxes: torch.Tensor, numbers: np.ndarray, threshold: float) -> np.ndarray:
    """As `suppress_whole`, for boxes (n, 5) with any corners."""
    kept = [np.zeros(0, np.int64)]
    for start, stop in _runs(numbers):
        if stop - start == 1:
            kept.append(np.array([start]))
        else:
            kept.append(start + nms(boxes[start:stop, :4], boxes[start:stop, 4], threshold).numpy())
    return np.concatenate(kept)


def suppress_contained(boxes: torch.Tensor, numbers: np.ndarray, threshold: float) -> np.ndarray:
    """As `suppress_each`, by the share of the smaller of two boxes: facenet-pytorch's last step."""
    kept = [np.zeros(0, np.int64)]
    for start, stop in _runs(numbers):
        mine = boxes[start:stop].numpy()
        kept.append(start + nms_numpy(mine[:, :4], mine[:, 4], threshold, "Min").astype(np.int64))
    return np.concatenate(kept)


def _runs(numbers: np.ndarray) -> list[tuple[int, int]]:
    """(start, stop) of each run of equal numbers."""
    if not len(numbers):
        return []
    edges = np.flatnonzero(np.diff(numbers)) + 1
    return list(zip([0, *edges.tolist()], [*edges.tolist(), len(numbers)], strict=True))


def windows_of(boxes: torch.Tensor, heights: np.ndarray, widths: np.ndarray) -> np.ndarray:
    """Whole-pixel windows int32 (n, 4), x1, y1, x2, y2, of boxes, clipped to their images, whose sides are (n,):
    facenet-pytorch's `pad`, from 0."""
    windows = boxes[:, :4].trunc().int().numpy()
    windows[:, :2] = np.maximum(windows[:, :2], 1) - 1
    windows[:, 2] = np.minimum(windows[:, 2], widths)
    windows[:, 3] = np.minimum(windows[:, 3], heights)
    return windows


def hold_pixels(windows: np.ndarray) -> np.ndarray:
    """Which windows hold a pixel of the image. facenet-pytorch leaves the others out of the batch but not out of the
    list, and fails on the whole image."""
    return (windows[:, 2] > windows[:, 0]) & (windows[:, 3] > windows[:, 1])
