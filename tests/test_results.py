"""Files of results: the journal after every kind of stop, and the CSVs."""

import contextlib
import csv
import json
import os
import resource
import signal
import subprocess
import sys
from dataclasses import asdict, replace

import pytest

from inference.pipeline import FAILED, NO_FACE, OK, UNREADABLE, VideoResult
from inference.results import (
    ResultsJournal,
    fingerprint,
    summarise,
    write_faces,
    write_submission,
    write_summary,
)
from runtime.errors import OutputError
from runtime.files import file_identity
from systems.sample import ScoredFace
from systems.seferbekov.system import SeferbekovPredictor

FACE = ScoredFace(frame=3, face=1, bbox=(-2, 5, 40, 60), detector_score=0.99, probabilities=[0.1, 0.123456789])
SETTINGS = {"models": ["a", "b"]}


def result(video="a.mp4", status=OK, **kwargs):
    return VideoResult(video=video, status=status, **kwargs)


@pytest.fixture
def video(tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"12345")
    return str(path)


@pytest.fixture
def journal(tmp_path):
    return tmp_path / "journal.jsonl"


def scored(each):
    """What a video with a face has."""
    return {"faces": [FACE], "model_scores": [0.3, 1 / 3]} if each.status == OK else {}


def written(journal, path, *results):
    opened = ResultsJournal(journal, SETTINGS)
    for each in results:
        opened.add(replace(each, identity=file_identity(path), **scored(each)))
    opened.close()


def done(journal, path, name="a.mp4"):
    opened = ResultsJournal(journal, SETTINGS)
    try:
        return opened.done(name, path)
    finally:
        opened.close()


def test_results_come_back_as_they_were(journal, video):
    original = result(score=0.1 + 0.2, model_scores=[0.3, 1 / 3], frames=32, faces=[FACE])
    written(journal, video, original)
    assert done(journal, video) == replace(original, identity=file_identity(video))
    assert done(journal, video, "b.mp4") is None


@pytest.mark.parametrize("status, is_done", [(OK, True), (NO_FACE, True), (UNREADABLE, False), (FAILED, False)])
def test_what_could_not_be_read_is_tried_again(journal, video, status, is_done):
    written(journal, video, result(status=status))
    assert bool(done(journal, video)) == is_done


def test_changed_file_is_not_done(journal, video):
    written(journal, video, result())
    with open(video, "ab") as file:
        file.write(b"6")
    assert done(journal, video) is None
    os.remove(video)
    assert done(journal, video) is None


def test_last_of_several_results_counts(journal, video):
    written(journal, video, result(status=UNREADABLE), result(score=0.7))
    assert done(journal, video).score == 0.7


@pytest.mark.parametrize("cut", [1, 5, 40])
def test_line_that_was_not_finished(journal, video, cut):
    written(journal, video, result("a.mp4"), result("b.mp4"))
    journal.write_bytes(journal.read_bytes()[:-cut])
    assert done(journal, video, "a.mp4") and done(journal, video, "b.mp4") is None
    written(journal, video, result("c.mp4"))
    assert done(journal, video, "a.mp4") and done(journal, video, "c.mp4")
    assert json.loads(journal.read_text().splitlines()[0])["settings"] == SETTINGS


def test_killed_in_the_first_line(journal, video):
    journal.write_text('{"sett')
    written(journal, video, result())
    assert done(journal, video)


@pytest.mark.parametrize(
    "line",
    [
        "rubbish",
        '"video"',
        "[" * 100000,
        "[]",
        '{"video": "a.mp4"}',
        '{"video": "a.mp4", "status": "ok", "score": "abc", "faces": [], "identity": null}',
        '{"video": "a.mp4", "status": "ok", "score": NaN, "faces": [], "identity": null}',
        '{"video": "a.mp4", "status": "fine", "score": 0.5, "faces": [], "identity": null}',
        '{"video": "a.mp4", "status": "ok", "score": 0.5, "faces": [], "identity": null, "frames": "x"}',
        '{"video": "a.mp4", "status": "ok", "score": 0.5, "faces": [3], "identity": null}',
        '{"video": "a.mp4", "status": "ok", "score": 0.5, "faces": [], "identity": 7}',
    ],
    ids=range(11),
)
def test_damaged_journal_names_itself(journal, video, line):
    written(journal, video)
    journal.write_text(json.dumps({"settings": SETTINGS}) + f"\n{line}\n")
    with pytest.raises(OutputError, match=r"journal\.jsonl: line 2 is damaged; delete the file"):
        ResultsJournal(journal, SETTINGS)


def deep(levels):
    return "[" * levels + "]" * levels


@pytest.mark.parametrize(
    "key, value",
    [
        ("video", "3"),
        ("video", "null"),
        ("video", "[]"),
        ("status", "{}"),
        ("score", "true"),
        ("score", "Infinity"),
        ("score", "-0.1"),
        ("score", "1e400"),
        ("score", "1" * 4000),
        ("score", "1" * 5000),
        ("frames", "-1"),
        ("frames", "3.0"),
        ("frames", "1" * 4000),
        ("last_frame", "[]"),
        ("last_frame", "false"),
        ("left_out", "null"),
        ("at_face_limit", "1"),
        ("notes", '"text"'),
        ("notes", "[3]"),
        ("error", "[3]"),
        ("identity", '"ab"'),
        ("identity", "[1]"),
        ("identity", "[1.5, 2]"),
        ("identity", "[true, 2]"),
        ("identity", "[1, " + "1" * 4000 + "]"),
        ("model_scores", "[]"),
        ("model_scores", "[0.1]"),
        ("model_scores", "[0.1, 0.2, 0.3]"),
        ("model_scores", "[0.1, NaN]"),
        ("model_scores", '{"0": 0.1}'),
        ("faces", "[]"),
        ("faces", "null"),
        ("faces", '""'),
        ("faces", "{}"),
        ("faces", "[[]]"),
        ("faces", deep(900)),
        ("faces", deep(10**5)),
        ("notes", deep(900)),
        ("other", "3"),
    ],
)
def test_a_result_that_is_none(journal, video, key, value):
    written(journal, video, result(score=0.5))
    lines = journal.read_text().splitlines()
    record = json.loads(lines[1])
    text = ", ".join(f"{json.dumps(name)}: {json.dumps(each)}" for name, each in record.items() if name != key)
    journal.write_text(f'{lines[0]}\n{{{text}, "{key}": {value}}}\n')
    with pytest.raises(OutputError, match=r"journal\.jsonl: line 2 is damaged; delete the file"):
        ResultsJournal(journal, SETTINGS)


@pytest.mark.parametrize(
    "key, value",
    [
        ("frame", -1),
        ("face", 2.5),
        ("bbox", [1, 2, 3]),
        ("bbox", "abcd"),
        ("bbox", [1, 2, 3, 10**30]),
        ("bbox", [1, 2, 3, float("nan")]),
        ("detector_score", None),
        ("detector_score", "0.5"),
        ("detector_score", 7),
        ("probabilities", []),
        ("probabilities", [0.5]),
        ("probabilities", [0.5, 0.5, 0.5]),
        ("probabilities", [0.5, float("nan")]),
        ("probabilities", [0.5, [0.5]]),
        ("probabilities", "ab"),
        ("frames", [3, -1]),
        ("flipped", 1),
        ("model", 2),
        ("model", True),
        ("role", 5),
        ("step", 0),
    ],
)
def test_a_face_that_is_none(journal, video, key, value):
    written(journal, video, result(score=0.5))
    lines = journal.read_text().splitlines()
    record = json.loads(lines[1])
    record["faces"][0][key] = value
    journal.write_text(f"{lines[0]}\n{json.dumps(record)}\n")
    with pytest.raises(OutputError, match=r"journal\.jsonl: line 2 is damaged; delete the file"):
        ResultsJournal(journal, SETTINGS)


@pytest.mark.parametrize("status, score", [(NO_FACE, 0.9), (UNREADABLE, 0.1)])
def test_a_score_without_a_face(journal, video, status, score):
    written(journal, video, result(status=status, score=score))
    with pytest.raises(OutputError, match="line 2 is damaged"):
        ResultsJournal(journal, SETTINGS)


@pytest.mark.parametrize(
    "line", [b"\xff\xfe{\n", b"{\0}\n", b"\xff\n", b"\n", b"{}\r{}\n", b'{"video": "\xff"}\n'], ids=repr
)
def test_bytes_that_are_no_text(journal, video, line):
    written(journal, video, result(score=0.5))
    before = journal.read_bytes()
    with open(journal, "ab") as file:
        file.write(line)
    with pytest.raises(OutputError, match=r"journal\.jsonl: line 3 is damaged; delete the file"):
        ResultsJournal(journal, SETTINGS)
    assert journal.read_bytes() == before + line  # nothing of it is cut away


def test_journal_of_other_settings(journal, video):
    written(journal, video, result())
    with pytest.raises(OutputError, match="line 1 is damaged"):
        ResultsJournal(journal, {"models": ["b"]})


def test_overwrite_respects_the_lock(journal, video):
    written(journal, video, result())
    first = ResultsJournal(journal, SETTINGS)
    with pytest.raises(OutputError, match="another run"):
        ResultsJournal(journal, SETTINGS, overwrite=True)
    first.close()
    assert done(journal, video)
    ResultsJournal(journal, SETTINGS, overwrite=True).close()
    assert not journal.exists()  # without a result it is not left behind


def test_file_that_changed_while_it_was_read(journal, video):
    """The identity is that of the file before it was read: what came in its place is not done."""
    before = file_identity(video)
    with open(video, "ab") as file:
        file.write(b"6")
    opened = ResultsJournal(journal, SETTINGS)
    opened.add(result(identity=before, **scored(result())))
    opened.close()
    assert done(journal, video) is None


def test_two_runs_at_once(journal):
    first = ResultsJournal(journal, SETTINGS)
    with pytest.raises(OutputError, match="another run is writing the same results"):
        ResultsJournal(journal, SETTINGS)
    first.close()
    ResultsJournal(journal, SETTINGS).close()


@contextlib.contextmanager
def full_disk():
    """No file of this process may grow beyond 600 bytes: as on a full disk, writing fails in the middle."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (600, limits[1]))
    try:
        yield
    finally:  # pytest's own output may be a file
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)


def test_full_disk(journal, video, tmp_path):
    message = r"journal\.jsonl: can't be written \((No space left on device|File too large)\); what was written is kept"
    opened = ResultsJournal(journal, SETTINGS)
    opened.add(result("a.mp4", identity=file_identity(video), **scored(result())))
    with full_disk(), pytest.raises(OutputError, match=message):
        for _ in range(3):
            opened.add(result("b.mp4"))
    opened.close()
    assert done(journal, video, "a.mp4")
    with full_disk(), pytest.raises(OutputError, match="the scores are kept"):
        write_submission(tmp_path / "s.csv", [result()] * 100)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "journal.jsonl"]


def test_submission(tmp_path):
    path = tmp_path / "s.csv"
    write_submission(
        path, [result("a,b.mp4", score=0.25), result('q"\n.mp4', NO_FACE), result("\udcff.mp4"), result("\r")]
    )
    assert path.read_bytes() == b'filename,label\n"a,b.mp4",0.25\n"q""\n.mp4",0.5\n\xff.mp4,0.5\n"\r",0.5\n'
    assert os.listdir(tmp_path) == ["s.csv"]


def test_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "s.csv"
    write_submission(path, [result()])
    before = path.read_bytes()
    with pytest.raises(AttributeError):
        write_submission(path, [result(), None])
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["s.csv"]


def test_faces(tmp_path):
    path = tmp_path / "f.csv"
    table = SeferbekovPredictor().faces_table(["m1", "m2"])
    write_faces(path, [result(faces=[FACE, FACE]), result("b.mp4", NO_FACE)], table)
    with open(path, newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["video", "frame", "face", "x1", "y1", "x2", "y2", "detector_score", "m1", "m2", "track"]
    assert rows[1:] == [["a.mp4", "3", "1", "-2", "5", "40", "60", "0.99", "0.1", "0.123456789", ""]] * 2


def test_summary():
    results = [
        result("a", frames=32),
        result("b", frames=9),
        result("c", NO_FACE, frames=32),
        result("d", UNREADABLE, error="is empty"),
        result("e", FAILED, error="a defect"),
        result("f", frames=9, at_face_limit=True, left_out=2, last_frame=80),
        result("g", frames=9, frames_wanted=9, notes=["HDR"]),
    ]
    assert summarise(results, 32) == {
        "videos": 7,
        "scored": 4,
        "no_face": ["c"],
        "unreadable": {"d": "is empty"},
        "failed": {"e": "a defect"},
        "fewer_frames": {"b": 9},
        "short": {"g": 9},
        "at_face_limit": {"f": {"faces": 0, "left_out": 2, "frames": 9, "last_frame": 80}},
        "notes": {"g": ["HDR"]},
    }


def test_fingerprint():
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1}) != fingerprint({"a": 1, "b": 3})
    assert len(fingerprint({})) == 8


def test_output_through_a_link(tmp_path):
    (tmp_path / "link.csv").symlink_to("target.csv")
    write_submission(tmp_path / "link.csv", [result()])
    assert (tmp_path / "link.csv").is_symlink() and (tmp_path / "target.csv").read_text().startswith("filename")


def test_names_that_are_ours_are_no_links(tmp_path):
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "link").symlink_to("precious")
    with pytest.raises(OutputError, match="link: is a link"):
        write_summary(tmp_path / "link", {})
    with pytest.raises(OutputError, match="link: is a link"):
        ResultsJournal(tmp_path / "link", SETTINGS, overwrite=True)
    assert (tmp_path / "precious").read_text() == "precious"


@pytest.mark.slow
def test_journal_survives_sigkill(journal, video):
    """Every line that was added is there after a kill without warning."""
    code = f"""
import os, signal
from inference.pipeline import VideoResult
from systems.sample import ScoredFace
from systems.seferbekov.system import SeferbekovPredictor
from inference.results import ResultsJournal
from runtime.files import file_identity
journal = ResultsJournal({str(journal)!r}, {SETTINGS!r})
for i in range(20):
    faces = dict(faces=[ScoredFace(**{asdict(FACE)!r})], model_scores=[0.5, 0.5])
    journal.add(VideoResult(video=f"{{i}}.mp4", status="ok", score=i / 20, identity=file_identity({video!r}), **faces))
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", code]).returncode == -9
    for i in range(20):
        assert done(journal, video, f"{i}.mp4").score == i / 20
