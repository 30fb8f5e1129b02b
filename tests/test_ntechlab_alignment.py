"""Tracks of originals and fakes that lie on one another, worked by hand and as published."""

import numpy as np
import pytest

from systems.ntechlab.alignment import align_tracks, fakes_by_original
from systems.ntechlab.tracking import Track, track_faces
from tests.ntechlab import GOLDEN, golden, recorded

HERE, NEAR, AWAY = (0, 0, 10, 10), (1, 0, 11, 10), (50, 0, 60, 10)
PAIR = [("p/r.mp4", "p/f.mp4")]
needs_golden = pytest.mark.skipif(not GOLDEN.is_dir(), reason="no ../shared")


def align(real, fake):
    return align_tracks(PAIR, {"p/r.mp4": real, "p/f.mp4": fake})


def test_fakes_by_original():
    metadata = {
        "p2": {"f.mp4": {"label": "FAKE", "original": "r.mp4"}},
        "p1": {
            "z.mp4": {"label": "FAKE", "original": "r.mp4"},
            "r.mp4": {"label": "REAL"},
            "a.mp4": {"label": "FAKE", "original": "r.mp4"},
            "b.mp4": {"label": "FAKE", "original": "a_real.mp4"},
            "c.mp4": {"label": "FAKE"},
        },
    }
    assert fakes_by_original(metadata) == [
        ("p1/a_real.mp4", "p1/b.mp4"),
        ("p1/r.mp4", "p1/z.mp4"),
        ("p1/r.mp4", "p1/a.mp4"),
        ("p2/r.mp4", "p2/f.mp4"),
    ]


def test_only_common_detections_are_kept():
    (aligned,) = align([Track(start=2, bboxes=[HERE] * 6)], [Track(start=5, bboxes=[NEAR] * 7)])
    assert (aligned.real, aligned.fake, aligned.start) == ("p/r.mp4", "p/f.mp4", 5)
    assert aligned.real_bboxes == [HERE] * 3 and aligned.fake_bboxes == [NEAR] * 3


def test_the_first_track_that_fits_is_taken():
    fakes = [
        Track(start=0, bboxes=[NEAR] * 4),  # too short
        Track(start=9, bboxes=[HERE] * 5),  # at other times
        Track(start=0, bboxes=[HERE] * 4 + [AWAY]),  # leaves it
        Track(start=0, bboxes=[NEAR] * 5),
        Track(start=0, bboxes=[HERE] * 5),
    ]
    (aligned,) = align([Track(start=0, bboxes=[HERE] * 5)], fakes)
    assert aligned.fake_bboxes == [NEAR] * 5


def test_a_fake_track_can_serve_two_originals():
    real = [Track(start=0, bboxes=[HERE] * 5), Track(start=6, bboxes=[HERE] * 5), Track(start=0, bboxes=[HERE] * 4)]
    assert [aligned.start for aligned in align(real, [Track(start=0, bboxes=[HERE] * 12)])] == [0, 6]


def test_half_an_overlap_is_too_little():
    assert align([Track(start=0, bboxes=[HERE] * 5)], [Track(start=0, bboxes=[(0, 0, 10, 5)] * 5)]) == []


def test_videos_without_tracks_are_left_out():
    assert align_tracks(PAIR, {"p/r.mp4": [Track(start=0, bboxes=[HERE] * 5)]}) == []
    assert align([], [Track(start=0, bboxes=[HERE] * 5)]) == []


@needs_golden
def test_aligned_tracks_of_the_real_pair():
    detections = golden("detections.json")
    tracks = {
        video: track_faces(recorded(detections[video.split("/")[1]]["detections"]))
        for video in ("dfdc_train_part_0/634.mp4", "dfdc_train_part_0/634_660.mp4")
    }
    aligned = align_tracks([("dfdc_train_part_0/634.mp4", "dfdc_train_part_0/634_660.mp4")], tracks)
    expected = golden("training_stages.json")["aligned"]
    assert [[track.real, track.fake, track.start] for track in aligned] == [
        [real, fake, track["start"]] for real, fake, track in expected
    ]
    for ours, (_, _, track) in zip(aligned, expected, strict=True):
        np.testing.assert_allclose(ours.real_bboxes, track["real"], rtol=0, atol=1e-4)
        np.testing.assert_allclose(ours.fake_bboxes, track["fake"], rtol=0, atol=1e-4)


@needs_golden
def test_aligned_tracks_of_invented_detections():
    made = golden("synthetic_detections.json")
    tracks = {video: track_faces(recorded(frames)) for video, frames in made["detections"].items()}
    aligned = align_tracks(fakes_by_original(made["metadata"]), tracks)
    expected = golden("synthetic_expected.json")["aligned"]
    assert [[track.real, track.fake, track.start, len(track.real_bboxes)] for track in aligned] == [
        [real, fake, track["start"], track["length"]] for real, fake, track in expected
    ]
    for ours, (_, _, track) in zip(aligned, expected, strict=True):
        np.testing.assert_allclose(ours.real_bboxes[0], track["real_first"], rtol=0, atol=1e-4)
        np.testing.assert_allclose(ours.fake_bboxes[-1], track["fake_last"], rtol=0, atol=1e-4)
