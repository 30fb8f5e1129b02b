"""Our files of tracks: single-precision numbers come back to the bit."""

import json

import numpy as np
import pytest

from runtime.errors import InputError, OutputError
from systems.ntechlab.alignment import AlignedTrack
from systems.ntechlab.detections import Detections, RecordedDetections
from systems.ntechlab.track_files import (
    FaceTracks,
    face_tracks_text,
    read_aligned_tracks,
    read_face_tracks,
    write_aligned_tracks,
)
from systems.ntechlab.tracking import Track

SIZES = {"p/r.mp4": (640, 360), "p/f.mp4": (640, 360)}


@pytest.fixture
def boxes():
    """As a detector gives them, and the smallest differences that there are."""
    values = np.random.default_rng(0).uniform(-50, 2000, (200, 4)).astype(np.float32)
    values[0] = [1 / 3, np.nextafter(np.float32(1), np.float32(2)), 1e-30, 16777216]
    return values


def as_floats(boxes):
    return [tuple(map(float, box)) for box in boxes]


def test_tracks_of_a_video(tmp_path, boxes):
    scores = np.linspace(0, 1, 200, dtype=np.float32)
    found = FaceTracks(
        recorded=RecordedDetections(
            width=640,
            height=360,
            frame_count=9,
            frames=range(0, 9, 6),
            detections=[
                Detections(bboxes=boxes, scores=scores),
                Detections(bboxes=np.zeros((0, 4), np.float32), scores=np.zeros(0, np.float32)),
            ],
        ),
        tracks=[Track(start=3, bboxes=as_floats(boxes))],
    )
    (tmp_path / "a.json").write_text(face_tracks_text(found))
    back = read_face_tracks(tmp_path / "a.json")
    assert back.tracks == found.tracks and back.size == (640, 360)
    assert back.recorded.frame_count == 9 and list(back.recorded.frames) == [0, 6]
    full, empty = back.recorded.detections
    assert np.array_equal(full.bboxes, boxes) and np.array_equal(full.scores, scores)
    assert empty.bboxes.shape == (0, 4) and empty.scores.shape == (0,)


def test_aligned_tracks(tmp_path, boxes):
    floats = as_floats(boxes)
    aligned = [AlignedTrack(real="p/r.mp4", fake="p/f.mp4", start=2, real_bboxes=floats[:7], fake_bboxes=floats[7:14])]
    path = tmp_path / "aligned_tracks.json"
    write_aligned_tracks(path, aligned, SIZES, tmp_path)
    assert read_aligned_tracks(path) == (aligned, SIZES)
    assert json.loads(path.read_text())["aligned"][0]["real_boxes"][0][0] == 0.33333334  # no more digits than needed


def test_nothing_is_written_through_a_link(tmp_path):
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "aligned_tracks.json").symlink_to("precious")
    with pytest.raises(OutputError, match="is a link"):
        write_aligned_tracks(tmp_path / "aligned_tracks.json", [], SIZES, tmp_path)
    assert (tmp_path / "precious").read_text() == "precious"


@pytest.mark.parametrize(
    "text", ["", "[]", "[" * 99999, '{"sizes": 1, "aligned": []}', '{"aligned": []}'], ids=range(5)
)
def test_other_files_are_refused(tmp_path, text):
    path = tmp_path / "aligned_tracks.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"aligned_tracks\.json: is damaged \(.*\); delete it and run align_tracks"):
        read_aligned_tracks(path)
