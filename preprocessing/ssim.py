"""Structural similarity (Wang et al., 2004) of two uint8 images: scikit-image's default, several times faster.

With u = a + b and v = a - b, and their sums S over the n = 49 pixels of a window, P = S(u)^2, q = S(v)^2,
A = n S(u^2) - P, B = n S(v^2) - q, and scaled constants added to P and A,

    1 - SSIM = 2 (P B + q A) / ((P + q) (A + B))

which are sums of whole numbers until there. Some rows at a time stay in the processor's cache.
"""

import cv2
import numpy as np

_WINDOW = 7
_EDGE = _WINDOW // 2
_N = _WINDOW**2
_C1 = 2 * _N**2 * (0.01 * 255) ** 2
_C2 = 2 * _N * (_N - 1) * (0.03 * 255) ** 2  # scikit-image divides covariances by n - 1
_ROWS = 48


def difference_mask(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(1 - SSIM) * 255 of two BGR uint8 images (h, w, 3), made grey: uint8 (h, w).

    The same as scikit-image's `structural_similarity` with its defaults (7x7 uniform window, each channel by itself,
    data range 255), truncated to whole numbers. Where SSIM is negative the value is 255: the published pipeline's cast
    to uint8 wrapped there.
    """
    height, width = first.shape[:2]
    padded = [cv2.copyMakeBorder(image, *[_EDGE] * 4, cv2.BORDER_REFLECT) for image in (first, second)]
    mask = np.empty((height, width), np.uint8)
    for row in range(0, height, _ROWS):
        a, b = (image[row : row + _ROWS + 2 * _EDGE] for image in padded)
        difference = _difference(a, b)[_EDGE:-_EDGE, _EDGE:-_EDGE]
        # rounds, so half a level less truncates; cuts at 255
        levels = cv2.convertScaleAbs(difference, alpha=2 * 255, beta=-0.5)
        mask[row : row + _ROWS] = cv2.cvtColor(levels, cv2.COLOR_BGR2GRAY)
    return mask


def _difference(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Half of one minus SSIM: float32, as large as a and b; wrong where the window leaves them."""
    u, v = cv2.add(a, b, dtype=cv2.CV_32F), cv2.subtract(a, b, dtype=cv2.CV_32F)
    p, q = _window_sums(u), _window_sums(v)
    u *= u
    v *= v
    p *= p
    p += np.float32(_C1)
    q *= q
    cap_a = cv2.addWeighted(_window_sums(u), _N, p, -1, _C1 + _C2)
    cap_b = cv2.addWeighted(_window_sums(v), _N, q, -1, 0)
    result = p * cap_b
    p += q
    q *= cap_a
    result += q
    cap_a += cap_b
    p *= cap_a
    result /= p
    return result


def _window_sums(image: np.ndarray) -> np.ndarray:
    return cv2.boxFilter(image, cv2.CV_32F, (_WINDOW, _WINDOW), normalize=False)
