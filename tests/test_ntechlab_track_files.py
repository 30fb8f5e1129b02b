"""Our files of tracks: single-precision numbers come back to the bit."""

import json

import numpy as np
import pytest

from runtime.errors import InputError, ItemError, OutputError
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


def test_a_crowd_that_no_frame_has(tmp_path):
    """Following and aligning faces takes the square of their number."""
    box, video = [1, 1, 9, 9], {"width": 9, "height": 9, "frames": 99, "detections": []}
    path = tmp_path / "a.json"

    def read(*starts):
        tracks = [{"start": start, "boxes": [box] * 5} for start in starts]
        path.write_text(json.dumps({**video, "tracks": tracks}))
        return read_face_tracks(path).tracks

    assert len(read(*[0] * 2000, *[5] * 2000)) == 4000
    with pytest.raises(ItemError, match=r"is damaged \(2001 tracks at a time, over the limit of 2000\)"):
        read(*[0] * 2000, 4)
    with pytest.raises(ItemError, match=r"is damaged \(1000000000000000 where a whole number should be\)"):
        read(10**15)
    full = {"frame": 0, "boxes": [box] * 2001, "scores": [1] * 2001}
    path.write_text(json.dumps({**video, "detections": [full], "tracks": []}))
    with pytest.raises(ItemError, match=r"is damaged \(2001 faces in a frame, over the limit of 2000\)"):
        read_face_tracks(path)


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
