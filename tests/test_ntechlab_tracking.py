"""The IOU tracker, with boxes worked by hand and the published code's tracks."""

import numpy as np
import pytest

from systems.ntechlab.tracking import Track, interpolate, iou, track_faces
from tests.ntechlab import GOLDEN, found, golden, recorded

LEFT, RIGHT = (0, 0, 10, 10), (100, 0, 110, 10)
needs_golden = pytest.mark.skipif(not GOLDEN.is_dir(), reason="no ../shared")


def starts_and_lengths(tracks):
    return [(track.start, len(track.bboxes)) for track in tracks]


def test_iou():
    assert iou(LEFT, LEFT) == 1
    assert iou(LEFT, (5, 0, 15, 10)) == pytest.approx(50 / 150)
    assert iou(LEFT, RIGHT) == 0
    assert iou(LEFT, (10, 0, 20, 10)) == 0  # they touch
    assert iou((0, 0, 0, 0), (0, 0, 0, 0)) == 0


def test_two_faces_side_by_side():
    frames = [found((LEFT, 0.95), (RIGHT, 0.95)), found((RIGHT, 0.95), (LEFT, 0.5))]
    tracks = track_faces(frames)
    assert [track.bboxes for track in tracks] == [[LEFT, LEFT], [RIGHT, RIGHT]]
    assert list(tracks[0].indices) == [0, 1]


def test_a_track_ends_at_its_first_gap():
    frames = [found((LEFT, 0.95)), found(), found((LEFT, 0.95))]
    assert starts_and_lengths(track_faces(frames)) == [(0, 1), (2, 1)]


def test_tracks_come_in_the_order_of_their_ends():
    frames = [found((LEFT, 0.95), (RIGHT, 0.95)), found((LEFT, 0.95)), found((LEFT, 0.95))]
    assert starts_and_lengths(track_faces(frames)) == [(0, 1), (0, 3)]


def test_the_first_of_equal_overlaps_is_taken():
    frames = [found((LEFT, 0.95)), found(((2, 0, 12, 10), 0.95), ((-2, 0, 8, 10), 0.95))]
    tracks = track_faces(frames)
    assert tracks[0].bboxes == [LEFT, (2, 0, 12, 10)] and tracks[1].bboxes == [(-2, 0, 8, 10)]


def test_an_earlier_track_takes_the_detection_of_a_later_one():
    frames = [found((LEFT, 0.95), ((1, 0, 11, 10), 0.95)), found(((1, 0, 11, 10), 0.95))]
    assert starts_and_lengths(track_faces(frames)) == [(0, 1), (0, 2)]


def test_thresholds():
    assert track_faces([found((LEFT, 0.29))] * 2) == []
    assert track_faces([found((LEFT, 0.89))] * 2) == []  # nobody is sure
    assert track_faces([found((LEFT, 0.9))]) == []  # single precision has less than 0.9
    assert starts_and_lengths(track_faces([found((LEFT, 0.3)), found((LEFT, 0.91))])) == [(0, 2)]
    assert track_faces([found((LEFT, 0.95))] * 6, shortest=7) == []
    third = (70 / 13, 0, 200 / 13, 10)  # overlaps by three tenths
    assert starts_and_lengths(track_faces([found((LEFT, 0.95)), found(((5, 0, 15, 10), 0.95))])) == [(0, 2)]
    assert iou(LEFT, third) == pytest.approx(0.3)
    assert starts_and_lengths(track_faces([found((LEFT, 0.95)), found(((5.5, 0, 15.5, 10), 0.95))])) == [(0, 1), (1, 1)]


def test_nothing_found():
    assert track_faces([]) == [] and track_faces([found()] * 3) == []


def test_interpolation():
    track = interpolate(Track(start=2, bboxes=[(0, 0, 10, 10), (3, 6, 16, 10)]), 3)
    assert track.start == 6 and track.bboxes.dtype == np.float32
    np.testing.assert_allclose(track.bboxes, [(0, 0, 10, 10), (1, 2, 12, 10), (2, 4, 14, 10), (3, 6, 16, 10)])
    assert len(interpolate(Track(start=0, bboxes=[LEFT] * 7), 3).bboxes) == 19
    assert len(interpolate(Track(start=5, bboxes=[LEFT]), 3).bboxes) == 1


@needs_golden
def test_tracks_of_the_real_videos():
    detections = golden("detections.json")
    for video, expected in golden("training_stages.json")["tracks"].items():
        tracks = track_faces(recorded(detections[video.split("/")[1]]["detections"]))
        assert starts_and_lengths(tracks) == [(track["start"], len(track["boxes"])) for track in expected]
        for track, wanted in zip(tracks, expected, strict=True):
            np.testing.assert_allclose(track.bboxes, wanted["boxes"], rtol=0, atol=1e-4)


@needs_golden
def test_tracks_of_invented_detections():
    expected = golden("synthetic_expected.json")
    for video, frames in golden("synthetic_detections.json")["detections"].items():
        tracks, wanted = track_faces(recorded(frames)), expected["tracks"][video]
        assert starts_and_lengths(tracks) == [(track["start"], track["length"]) for track in wanted]
        for track, ends in zip(tracks, wanted, strict=True):
            ours = track.bboxes[0], track.bboxes[-1]
            np.testing.assert_allclose(ours, (ends["first"], ends["last"]), rtol=0, atol=1e-4)


@needs_golden
def test_interpolated_tracks_of_invented_detections():
    expected = golden("synthetic_expected.json")["inference_tracks"]
    for video, frames in golden("synthetic_detections.json")["detections"].items():
        tracks = [interpolate(track, 3) for track in track_faces(recorded(frames), 7)]
        assert starts_and_lengths(tracks) == [(track["start"], track["length"]) for track in expected[video]]
        for track, wanted in zip(tracks, expected[video], strict=True):
            ours = track.bboxes[[0, 1, len(track.bboxes) // 2, -1]]
            np.testing.assert_allclose(
                ours, [wanted[name] for name in ("first", "second", "middle", "last")], rtol=0, atol=1e-4
            )
