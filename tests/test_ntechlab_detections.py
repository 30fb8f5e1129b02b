"""Recorded detections: reading them, and taking those of the frames that are searched."""

import json

import pytest

from runtime.errors import InputError, ItemError
from systems.ntechlab.detections import read_recorded_detections

FRAMES = [
    {"frame": 0, "boxes": [[1, 2, 3, 4]], "scores": [0.5]},
    {"frame": 6, "boxes": [], "scores": []},
]
VIDEO = {"width": 32, "height": 16, "frames": 9, "detections": FRAMES}


def write(tmp_path, content):
    path = tmp_path / "detections.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_detections_of_the_searched_frames(tmp_path):
    recorded = read_recorded_detections(write(tmp_path, {"a.mp4": VIDEO}))["a.mp4"]
    assert (recorded.width, recorded.height, recorded.frame_count) == (32, 16, 9)
    first, second, third = recorded.at("a.mp4", [0, 6, 12])
    assert first.bboxes.tolist() == [[1, 2, 3, 4]] and first.scores.tolist() == [0.5]
    assert len(second.bboxes) == len(third.bboxes) == 0
    with pytest.raises(ItemError, match=r"a\.mp4: the recorded detections have no entry for frame 3"):
        recorded.at("a.mp4", [0, 3, 6])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"width": "32"}, "'32' where a whole number should be"),
        ({"frames": 6}, "frame 6 of 6"),
        ({"detections": FRAMES[::-1]}, "frames that don't ascend"),
        ({"detections": [{"frame": 0, "boxes": [[1, 2, 3, 4]], "scores": []}]}, "1 boxes and 0 scores"),
        ({"detections": [{"frame": 0, "boxes": [[1, 2, 3]], "scores": [1]}]}, "reshape"),
        ({"detections": [{"frame": 0, "boxes": [[1, 2, 3, 1e99]], "scores": [1]}]}, "not finite"),
        ({"detections": [{"frame": 0, "scores": [1]}]}, "'boxes' is missing"),
        ({"detections": 3}, "not iterable"),
    ],
)
def test_other_entries_are_told(tmp_path, change, reason):
    with pytest.raises(InputError, match=rf"detections\.json: a\.mp4: no detections of a video \(.*{reason}"):
        read_recorded_detections(write(tmp_path, {"a.mp4": VIDEO | change}))


def test_other_files_are_told(tmp_path):
    with pytest.raises(InputError, match="can't be read"):
        read_recorded_detections(tmp_path / "nothing.json")
    with pytest.raises(InputError, match="is no JSON"):
        read_recorded_detections(write(tmp_path, "{"))
    with pytest.raises(InputError, match="holds no object"):
        read_recorded_detections(write(tmp_path, []))
