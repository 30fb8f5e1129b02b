"""Crops worked by hand."""

import numpy as np

from faces.crop import crop_face

FRAME = np.arange(100 * 200 * 3, dtype=np.uint32).reshape(100, 200, 3)


def test_margin_of_a_third():
    # 31 wide, 20 high: margins 10 and 6
    np.testing.assert_array_equal(crop_face(FRAME, (50.9, 40.2, 81.7, 60.9)), FRAME[34:66, 40:91])


def test_clipped_to_the_frame():
    np.testing.assert_array_equal(crop_face(FRAME, (-12.5, -3.0, 18.0, 27.0)), FRAME[0:37, 0:28])
    np.testing.assert_array_equal(crop_face(FRAME, (180.0, 80.0, 210.0, 110.0)), FRAME[70:100, 170:200])


def test_outside_or_empty():
    assert crop_face(FRAME, (-50, 10, -20, 40)) is None  # ends 10 pixels left of the frame with its margin
    assert crop_face(FRAME, (10, -90, 40, -60)) is None
    assert crop_face(FRAME, (300, 10, 330, 40)) is None
    assert crop_face(FRAME, (10, 10, 10, 10)) is None
