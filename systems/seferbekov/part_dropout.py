"""What training takes out of faces, so that a network does not rely on one part: eyes, nose, mouth, half of the face.

Images are uint8 (h, w, 3) in any colour order. Masks are functions, called only where the answer matters, as it has to
be read from disk: they give uint8 (h, w), how much a fake differs from its original there, zero for real ones.
Landmarks are int (5, 2): x and y of left eye, right eye, nose, left and right corner of the mouth, as
generate_landmarks.py writes them. Nothing here changes what it is given.
"""

from collections.abc import Callable
from functools import partial

import cv2
import numpy as np

Mask = Callable[[], np.ndarray]
CHANGED = int(0.4 * 255)  # mask pixels above this have been changed
_SHOWN = 20  # changed pixels of a fake that must stay, at the least: more than these
_DRAWS = 5
_LINE = 2  # pixels

# An average face in its own units: x in distances of the eyes, to the right of their middle; y in distances from the
# eyes to the mouth, downwards. From ear to ear along the jaw, then back along the brows.
_JAW = ((1.08, 0.05), (1.05, 0.4), (0.99, 0.75), (0.88, 1.08), (0.7, 1.38), (0.42, 1.65))
_BROW = ((0.18, -0.3), (0.36, -0.38), (0.55, -0.42), (0.74, -0.37), (0.9, -0.22))
_OUTLINE = np.array(
    [
        *((-x, y) for x, y in _JAW),
        (0.0, 1.78),
        *reversed(_JAW),
        *reversed(_BROW),
        *((-x, y) for x, y in _BROW),
    ]
)


def drop_parts(
    image: np.ndarray, mask: Mask, landmarks: np.ndarray | None, label: float, draw: np.random.Generator
) -> tuple[np.ndarray, Mask]:
    """The published dropout, of which the first that applies is done: an organ, half of the face, part of the crop.

    Half of the face needs landmarks too: where there are none, its turn passes and nothing is done.
    """
    if landmarks is not None and draw.random() < 0.7:
        return drop_organ(image, landmarks, draw), mask
    if draw.random() < 0.2:
        return (image if landmarks is None else drop_half_face(image, landmarks, draw)), mask
    if draw.random() < 0.1:
        return blackout_random(image, mask, label, draw)
    return image, mask


def drop_organ(image: np.ndarray, landmarks: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """The eyes in a half of the cases, the mouth in a quarter, the nose in an eighth."""
    for drop in (drop_eyes, drop_mouth, drop_nose):
        if draw.random() < 0.5:
            return drop(image, landmarks)
    return image


def drop_eyes(image: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    left, right = landmarks[:2]
    return _drop_line(image, left, right, int(_distance(left, right) // 4))


def drop_nose(image: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    left, right, nose = landmarks[:3]
    return _drop_line(image, nose, (left + right) / 2, int(_distance(left, right) // 4))


def drop_mouth(image: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    left, right = landmarks[3:]
    return _drop_line(image, left, right, int(_distance(left, right) // 3))


def _distance(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.hypot(*(np.asarray(first, float) - second)))


def _drop_line(image: np.ndarray, start: np.ndarray, end: np.ndarray, radius: int) -> np.ndarray:
    """Black within `radius` of the line, counted in steps to neighbours: a dilation by the diamond of that radius."""
    points = np.trunc([start, end]).astype(int)
    reach = radius + _LINE
    left, top = np.maximum(points.min(0) - reach, 0)
    right, bottom = np.minimum(points.max(0) + reach + 1, image.shape[1::-1])
    if left >= right or top >= bottom:
        return image
    outside = np.ones((bottom - top, right - left), np.uint8)
    start, end = ((int(x), int(y)) for x, y in points - (left, top))
    cv2.line(outside, start, end, 0, _LINE)
    if outside.all():
        return image
    image = image.copy()
    # sums of steps along rows and columns are whole numbers here, and exact
    image[top:bottom, left:right][cv2.distanceTransform(outside, cv2.DIST_L1, 3) <= radius] = 0
    return image


def drop_half_face(image: np.ndarray, landmarks: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """Cut the face's outline at its centroid, across or down, and blacken one side of it."""
    half = np.zeros(image.shape[:2], np.uint8)
    cv2.fillPoly(half, [face_outline(landmarks)], 1)
    first, across = draw.random(2) < 0.5
    moments = cv2.moments(half, binaryImage=True)
    if moments["m00"] == 0:
        return image  # the face is outside
    x, y = int(moments["m10"] / moments["m00"]), int(moments["m01"] / moments["m00"])
    if across:
        half[slice(None, y) if first else slice(y, None)] = 0
    else:
        half[:, slice(None, x) if first else slice(x, None)] = 0
    return cv2.copyTo(image, 1 - half)


def face_outline(landmarks: np.ndarray) -> np.ndarray:
    """Jaw and brows as a polygon, int32 (points, 2) of x and y.

    An average face's, turned and scaled to the given one; the published pipeline used dlib's 68 points, whose terms
    forbid commercial use.
    """
    left, right, _, *mouth = np.asarray(landmarks, float)
    eyes = (left + right) / 2
    to_right, down = right - left, sum(mouth) / 2 - eyes
    return np.rint(eyes + _OUTLINE @ np.stack([to_right, down])).astype(np.int32)


def bit_masks(height: int, width: int) -> list[np.ndarray]:
    """Six masks, uint8 (height, width) of 0 and 1: lower, upper, right and left half, and two pairs of quarters that
    touch at a corner."""
    y, x = height // 2, width // 2
    below, right = np.zeros((2, height, width), np.uint8)
    below[y:] = 1
    right[:, x:] = 1
    return [below, 1 - below, right, 1 - right, below ^ right, 1 - (below ^ right)]


def blackout_random(image: np.ndarray, mask: Mask, label: float, draw: np.random.Generator) -> tuple[np.ndarray, Mask]:
    """Keep what one of the six bit masks keeps, of image and mask. A fake must show a change there: five are tried."""
    masks, differs = bit_masks(*image.shape[:2]), mask()
    for _ in range(_DRAWS):
        bits = masks[draw.integers(len(masks))]
        if label < 0.5 or np.count_nonzero((differs > CHANGED) & (bits > 0)) > _SHOWN:
            return cv2.copyTo(image, bits), partial(np.multiply, differs, bits)
    return image, mask


def blackout_by_diff(image: np.ndarray, mask: Mask, label: float, draw: np.random.Generator) -> tuple[np.ndarray, Mask]:
    """Blacken half of the cells of a grid, of image and mask, but not all in which a fake was changed.

    After GridMask (arXiv:2001.04086), which the write-up names. A cell's side is a sixth to a third of the crop's
    shorter one, the grid starts anywhere, and each cell goes with probability 0.5. One cell with more than 20 changed
    pixels, drawn at random, stays; a fake without any is left alone.
    """
    height, width = image.shape[:2]
    side = max(int(min(height, width) / draw.uniform(3, 6)), 1)
    down, along = draw.integers(side, size=2)
    rows, columns = (np.arange(height) + down) // side, (np.arange(width) + along) // side
    differs = mask()
    keep = (draw.random((rows[-1] + 1, columns[-1] + 1)) < 0.5).astype(np.uint8)
    if label > 0.5:
        y, x = np.nonzero(differs > CHANGED)
        changed = np.bincount(rows[y] * keep.shape[1] + columns[x], minlength=keep.size)
        telling = np.flatnonzero(changed > _SHOWN)
        if not telling.size:
            return image, mask
        keep.flat[draw.choice(telling)] = 1
    bits = keep[rows[:, None], columns]
    return cv2.copyTo(image, bits), partial(np.multiply, differs, bits)


def change_padding(image: np.ndarray, part: float) -> np.ndarray:
    """Trim the margin of a crop (h, w, ...), a third of the face's sides, to about 1 / part of them; a view.

    Crops of less than 5 pixels stay as they are.
    """
    if min(image.shape[:2]) < 5:
        return image
    return image[tuple(_trimmed(side, part) for side in image.shape[:2])]


def _trimmed(side: int, part: float) -> slice:
    pad = int(0.6 * side / part)
    return slice(side // 5 - pad, -side // 5 + pad)
