"""The published files: what was written comes back, and nothing in a pickle is run."""

import os
import pickle

import numpy as np
import pytest

from runtime.errors import InputError
from systems.ntechlab import published_files as files
from systems.ntechlab.alignment import AlignedTrack
from systems.ntechlab.tracking import Track
from tests.ntechlab import found

BOX, OTHER = (0.5, 1.0, 2.0, 3.0), (1.5, 1.0, 3.0, 3.0)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_detections_of_any_protocol(tmp_path, protocol):
    path = tmp_path / "detections.pkl"
    files.write_detections(path, [found((BOX, 0.5), (OTHER, 1)), found()])
    content = pickle.loads(path.read_bytes())
    assert [set(frame) for frame in content] == [{"boxes", "scores"}] * 2
    assert content[0]["boxes"].dtype == content[1]["scores"].dtype == np.float32
    path.write_bytes(pickle.dumps(content, protocol))
    first, second = files.read_detections(path)
    assert first.bboxes.tolist() == [list(BOX), list(OTHER)] and first.scores.tolist() == [0.5, 1]
    assert second.bboxes.shape == (0, 4)


def test_tracks(tmp_path):
    tracks = {"p/a.mp4": [Track(start=3, bboxes=[BOX, OTHER])], "p/b.mp4": []}
    files.write_tracks(tmp_path / "tracks.pkl", tracks)
    assert pickle.loads((tmp_path / "tracks.pkl").read_bytes()) == {"p/a.mp4": [[(3, BOX), (4, OTHER)]], "p/b.mp4": []}
    assert files.read_tracks(tmp_path / "tracks.pkl") == tracks


def test_tracks_with_numpys_numbers(tmp_path):
    content = {"p/a.mp4": [[(np.int64(0), np.float32(BOX)), (1, list(BOX))]]}
    (tmp_path / "tracks.pkl").write_bytes(pickle.dumps(content))
    assert files.read_tracks(tmp_path / "tracks.pkl") == {"p/a.mp4": [Track(start=0, bboxes=[BOX, BOX])]}


def test_aligned_tracks(tmp_path):
    track = AlignedTrack(real="p/r.mp4", fake="p/f.mp4", start=2, real_bboxes=[BOX, BOX], fake_bboxes=[OTHER, BOX])
    files.write_aligned_tracks(tmp_path / "aligned_tracks.pkl", [track])
    content = pickle.loads((tmp_path / "aligned_tracks.pkl").read_bytes())
    assert content == [("p/r.mp4", "p/f.mp4", [(2, BOX, OTHER), (3, BOX, BOX)])]
    assert files.read_aligned_tracks(tmp_path / "aligned_tracks.pkl") == [track]


def test_track_pairs(tmp_path):
    path = tmp_path / "track_pairs.txt"
    files.write_track_pairs(path, [("p/r_0_1_2", "p/f_0_1_2")])
    assert path.read_text() == "p/r_0_1_2,p/f_0_1_2\n"
    assert files.read_track_pairs(path) == [("p/r_0_1_2", "p/f_0_1_2")]
    path.write_text("p/r_0_1_2,p/f_0_1_2\np/r_0_1_2\n")
    with pytest.raises(InputError, match=r"track_pairs\.txt:2: not two folders"):
        files.read_track_pairs(path)


class Command:
    def __reduce__(self):
        return os.system, ("touch pwned",)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ([Command()], r"it names (posix|nt)\.system"),
        ([np.array([None, "text"], object)], "it holds object"),
        ({"boxes": 1}, "a dict where a list should be"),
        ([{"boxes": np.zeros((2, 4)), "scores": np.zeros(1)}], "2 boxes and 1 scores"),
        ([{"boxes": np.zeros(3), "scores": np.zeros(1)}], "reshape"),
        ([{"boxes": [[0, 0, np.nan, 1]], "scores": [1]}], "not finite"),
        ([{"scores": [1]}], "boxes"),
    ],
)
def test_other_pickles_are_refused(tmp_path, monkeypatch, content, reason):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "detections.pkl").write_bytes(pickle.dumps(content))
    with pytest.raises(InputError, match=rf"detections\.pkl: refused.*{reason}"):
        files.read_detections(tmp_path / "detections.pkl")
    assert os.listdir(tmp_path) == ["detections.pkl"]


@pytest.mark.parametrize("entries", [[], [(0, BOX), (2, BOX)], [(-1, BOX)], [(0, BOX, BOX)], [(0, (0, 0, 1))]])
def test_other_tracks_are_refused(tmp_path, entries):
    (tmp_path / "tracks.pkl").write_bytes(pickle.dumps({"p/a.mp4": [entries]}))
    with pytest.raises(InputError, match=r"tracks\.pkl: refused"):
        files.read_tracks(tmp_path / "tracks.pkl")


def test_what_is_no_pickle_is_told(tmp_path):
    with pytest.raises(InputError, match=r"nothing\.pkl: can't be read"):
        files.read_tracks(tmp_path / "nothing.pkl")
    (tmp_path / "cut.pkl").write_bytes(pickle.dumps({"p/a.mp4": []})[:-5])
    with pytest.raises(InputError, match=r"cut\.pkl: refused"):
        files.read_tracks(tmp_path / "cut.pkl")
