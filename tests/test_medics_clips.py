"""The Medics' clips and mini videos: boxes to components, plans and pictures, worked out by hand."""

import numpy as np
import pytest

from systems.medics import mini_videos, squares, volumes
from systems.medics.clips import cut_clips, cut_face, plan_clips
from systems.medics.mini_videos import cut_mini_videos, draw_start, plan_mini_videos

FACE = [[40, 40, 80, 80]]  # at half size; the frame has 640x480 pixels


def plan(boxes, frame_count=150, exact=False):
    return plan_clips(boxes, frame_count=frame_count, width=640, height=480, exact=exact)


def geometry(plans):
    return [(each.chunk, each.face, each.frames, each.rows, each.cols) for each in plans]


def test_boxes_become_cells():
    boxes = [[42, 46, 90, 94], [-18.3, -1, 39.7, 41]]
    assert volumes.cell_boxes(boxes, 4, np.round).tolist() == [[10, 12, 22, 24], [0, 0, 10, 10]]
    assert volumes.cell_boxes(boxes, 4, np.trunc).tolist() == [[10, 11, 22, 23], [0, 0, 9, 10]]
    assert volumes.cell_boxes(None, 4, np.round).shape == (0, 4)


@pytest.mark.parametrize("boxes", [[[1, 2, 3]], [1, 2, 3, 4], [[0, 0, np.nan, 1]]])
def test_boxes_of_another_shape(boxes):
    with pytest.raises(ValueError, match=r"give finite numbers \(n, 4\)"):
        volumes.cell_boxes(boxes, 4, np.round)


def test_one_missing_row_is_filled_by_what_its_neighbours_share():
    volume = np.zeros((6, 1, 4), bool)
    volume[0, 0, :3] = volume[2, 0, 1:] = True  # 1 is missing, and 3, 4 and 5
    volumes.fill_missing_rows(volume)
    assert volume[:, 0].astype(int).tolist() == [[1, 1, 1, 0], [0, 1, 1, 0], [0, 1, 1, 1], *[[0, 0, 0, 0]] * 3]


def test_components_touch_at_corners_and_come_in_reading_order():
    volume = np.zeros((2, 4, 4), bool)
    volume[0, 0, 3] = volume[0, 1, 0] = volume[1, 2, 1] = True
    first, second = volumes.components_of(volume)
    assert first.bounds == (slice(0, 1), slice(0, 1), slice(3, 4))
    assert second.bounds == (slice(0, 2), slice(1, 3), slice(0, 2)) and second.rows == range(2)
    assert second.mask.astype(int).tolist() == [[[1, 0], [0, 0]], [[0, 0], [0, 1]]]


def test_a_clip_for_each_chunk():
    plans = plan([FACE] * 30, frame_count=338)
    assert geometry(plans) == [(chunk, 0, (0, 149), (80, 152), (80, 152)) for chunk in (0, 1)]
    assert plans[1].video_frames == range(150, 299) and plans[1].file_name("a.mp4") == "a.mp4_1_0.mp4"
    assert plan([FACE] * 14, frame_count=149) == []


def test_exact_clips_lose_nothing():
    assert geometry(plan([FACE] * 15, exact=True)) == [(0, 0, (0, 150), (80, 159), (80, 159))]
    leaving = [[[300, 200, 340, 260]]] * 15
    assert geometry(plan(leaving, exact=True)) == [(0, 0, (0, 150), (400, 479), (600, 639))]
    assert plan([FACE] * 3 + [None] * 12, exact=True) == []  # 30 frames, but not 4 rows


def test_no_face_for_30_frames_makes_two_clips():
    boxes = [FACE] * 5 + [None] * 3 + [FACE] * 7
    assert geometry(plan(boxes)) == [(0, 0, (0, 49), (80, 152), (80, 152)), (0, 1, (80, 149), (80, 152), (80, 152))]


def test_faces_that_touch_merge():
    boxes = [[[40, 40, 80, 80], [80, 60, 120, 100]]] * 15
    assert geometry(plan(boxes)) == [(0, 0, (0, 149), (80, 192), (80, 232))]


def test_a_cut_face_is_padded_and_truncated():
    frame = np.full((100, 120, 3), 201, np.uint8)
    face = cut_face(frame, (10, 73), (40, 71))  # 64 rows, 32 columns
    assert face.shape == (256, 256, 3) and face.dtype == np.uint8
    assert (face[:, :126] == 201).all() and (face[:, 130:] == 0).all()
    assert face[0, 127, 0] == 125  # 201 * 5 / 8 = 125.6
    assert cut_face(frame, (0, 99), (100, 696)).shape == (256, 256, 3)  # beyond the right edge
    with pytest.raises(ValueError, match="outside a frame of 120x100"):
        cut_face(frame, (0, 9), (120, 130))


def test_pictures_of_256_pixels_stay():
    frame = np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8)
    np.testing.assert_array_equal(cut_face(frame, (8, 263), (16, 271)), frame[8:264, 16:272])


def test_clips_are_cut_frame_after_frame():
    plans = plan([[*FACE, [200, 40, 240, 80]]] * 4 + [[[200, 40, 240, 80]]] * 11)
    frames = ((index, np.full((480, 640, 3), index, np.uint8)) for index in range(150))
    cut = [(face.face, int(picture[0, 0, 0])) for face, picture in cut_clips(plans, frames)]
    assert cut == [(face, index) for index in range(149) for face in (0, 1) if face or index < 39]


def test_first_and_last_cell_in_reading_order():
    volume = np.zeros((1, 5, 6), bool)
    volume[0, 1, 3] = volume[0, 2, 2:5] = volume[0, 3, 2] = True
    (component,) = volumes.components_of(volume)
    assert squares.first_and_last_cells(component).tolist() == [[3, 1, 2, 3]]


def test_squares_repeat_each_row_unless_exact():
    row_boxes = np.array([[10, 10, 30, 30], [28, 10, 48, 30]])
    published = squares.squares_of(row_boxes, width=100, height=100)
    assert published.shape == (10, 4) and squares.side_of(row_boxes) == 24
    assert published[[0, 4, 9]].tolist() == [[8, 8, 32, 32], [16, 8, 40, 32], [26, 8, 50, 32]]
    exact = squares.squares_of(row_boxes, width=100, height=100, exact=True)
    assert exact.shape == (20, 4)
    assert exact[[0, 5, 10, 19], 0].tolist() == [8, 17, 26, 26]


def test_squares_stay_in_the_frame():
    row_boxes = np.array([[0, 70, 20, 90], [0, 70, 20, 90]])
    assert squares.squares_of(row_boxes, width=100, height=90)[0].tolist() == [0, 66, 24, 90]
    assert squares.squares_of(row_boxes, width=100, height=20)[0].tolist() == [0, 0, 24, 20]  # larger than the frame


def mini(boxes, start, exact=False):
    return plan_mini_videos(boxes, start=start, width=640, height=480, exact=exact)


def test_a_mini_video_follows_a_face():
    (planned,) = mini([FACE] * 30, 37)
    # cells 10 to 19 of 80 across are pixels 77 to 157 (9.5 * 639 / 79 = 76.8), of 60 down 78 to 158
    assert planned.side == 96 and planned.squares.tolist() == [[69, 70, 165, 166]] * 50
    assert planned.video_frames == range(37, 87) and planned.file_name(7, "abc.mp4") == "07_abc_0.mp4"


def test_rows_without_the_face_take_the_nearest_box():
    moved = [[140, 40, 180, 80]]
    (planned,) = mini([None, None] + [FACE] * 8, 20)
    assert planned.rows_with_face == range(2, 10) and (planned.squares == planned.squares[0]).all()
    assert [each.face for each in mini([FACE] * 6 + [None] * 2 + [moved] * 12, 0)] == [0]
    assert [each.face for each in mini([FACE] * 6 + [None] * 2 + [moved] * 12, 90)] == [1]
    assert mini([FACE] * 6 + [None] * 2 + [moved] * 12, 40) == []
    assert mini([None] * 30, 0) == []


def test_late_starts_give_fewer_frames_unless_exact():
    assert len(mini([FACE] * 30, 249)[0].squares) == 41
    assert len(mini([FACE] * 30, 249, exact=True)[0].squares) == 50


def test_only_the_first_two_faces_have_mini_videos():
    row = [[10, 10, 50, 50], [100, 10, 140, 50], [200, 10, 240, 50]]
    assert [each.face for each in mini([row] * 30, 0)] == [0, 1]


def test_pictures_of_mini_videos_shrink_to_256():
    for side, expected in ((200, 200), (300, 256)):
        planned = mini_videos.MiniVideoPlan(
            face=0, start=3, side=side, squares=np.array([[10, 5, 10 + side, 5 + side]]), rows_with_face=range(1)
        )
        frame = np.random.default_rng(0).integers(0, 256, (400, 400, 3), dtype=np.uint8)
        ((_, picture),) = cut_mini_videos([planned], [(2, frame), (3, frame), (4, frame)])
        assert picture.shape == (expected, expected, 3)
        np.testing.assert_array_equal(
            picture[[0, 0, -1, -1], [0, -1, 0, -1]], frame[[5, 5, 4 + side, 4 + side], [10, 9 + side, 10, 9 + side]]
        )  # corners are aligned


def test_starts_leave_50_frames():
    starts = [draw_start(338, np.random.default_rng(seed)) for seed in range(300)]
    assert 0 <= min(starts) < 10 and 240 < max(starts) < 250
    assert draw_start(45, np.random.default_rng(0)) == 0
    assert starts[:2] == [draw_start(338, np.random.default_rng(seed)) for seed in range(2)]


def test_boxes_that_lie_outside_the_frame():
    outside, above = [[330, 40, 370, 80]], [[40, -50, 80, -10]]
    for exact in (False, True):
        assert plan([outside] * 15, exact=exact) == plan([above] * 15, exact=exact) == []
    assert mini([outside] * 30, 0) == mini([above] * 30, 0) == []


def test_no_rows_and_no_pixels():
    assert plan([]) == mini([], 0) == []
    assert plan_mini_videos([FACE] * 30, start=0, width=6, height=480) == []
