"""The command, as a user runs it: every kind of bad video, bad argument, stop and restart."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import calibrate
import predict_folder
from engines import openvino_engine
from systems.seferbekov.strategy import STRATEGIES
from tests import media, processes
from tests.engines import needs_native

ROOT = Path(predict_folder.__file__).resolve().parent


def read_csv(path):
    with open(path, newline="", encoding="utf-8", errors="surrogateescape") as file:
        return list(csv.reader(file))


def arguments(weights_dir, folder, output, *more):
    return [
        *("--weights-dir", str(weights_dir), "--models", "first", "second"),
        *("--test-dir", str(folder), "--output", str(output), "--frames-per-video", "4", "--engine", "torch"),
        *("--device", "cpu", *more),
    ]


def command(*args):
    return [sys.executable, str(ROOT / "predict_folder.py"), *args]


@pytest.fixture(scope="session")
def folder(tmp_path_factory, face_video, noise_video):
    """Every kind of video, good and bad. Names say what is expected."""
    folder = tmp_path_factory.mktemp("mixed")
    whole = face_video.read_bytes()
    shutil.copy(face_video, folder / "ok face.mp4")
    shutil.copy(noise_video, folder / "none noise.mp4")
    for percent in (10, 50, 90):
        (folder / f"bad cut {percent}.mp4").write_bytes(whole[: len(whole) * percent // 100])
    front = media.write_video(
        folder / "front.tmp", media.face_frames(40), container_options={"movflags": "faststart"}
    ).read_bytes()
    (folder / "front.tmp").unlink()
    (folder / "short cut, index in front.mp4").write_bytes(front[: len(front) // 2])
    (folder / "bad empty.mp4").touch()
    (folder / "bad text.mp4").write_text("I am no video\n" * 99)
    media.write_audio(folder / "bad audio.mp4")
    media.write_video(folder / "short one frame.mp4", media.face_frames(1))
    media.write_video(
        folder / "none 1x1.mp4", [np.zeros((1, 1, 3), np.uint8)] * 4, pix_fmt="yuv444p", options={"crf": "9"}
    )
    media.write_video(folder / "ok odd.mp4", media.face_frames(8, 641, 361), pix_fmt="yuv444p")
    shutil.copy(face_video, folder / "ok rotated 180.mp4")
    media.set_rotation(folder / "ok rotated 180.mp4", 180)
    upright = [np.ascontiguousarray(frame[::-1, ::-1]) for frame in media.face_frames(8)]
    media.write_video(folder / "ok rotated.mp4", upright)
    media.set_rotation(folder / "ok rotated.mp4", 180)
    media.write_video(folder / "ok vfr.mp4", media.face_frames(12), timestamps=np.cumsum(range(5, 17)).tolist())
    crowd = np.tile(media.face_frames(1, 160, 160, 150)[0], (4, 8, 1))
    media.write_video(folder / "crowd.mp4", [crowd] * 4)
    cut = [np.roll(frame, -250, axis=1) for frame in media.face_frames(8, 640, 360, 260)]
    media.write_video(folder / "ok cut face.mp4", cut)
    (folder / "bad link.mp4").symlink_to("nowhere.mp4")
    (folder / "bad circle.mp4").symlink_to("bad circle.mp4")
    (folder / "bad list.mp4").write_text("ffconcat version 1.0\nfile 'ok face.mp4'\n")
    (folder / "ok latin-1 tag.mp4").write_bytes(whole.replace(b"VideoHandler", b"Vid\xe9oHandler"))
    os.mkfifo(folder / "bad pipe.mp4")
    (folder / "a folder.mp4").mkdir()
    (folder / "notes.txt").touch()
    shutil.copy(face_video, folder / "ok shouting.MP4")
    (folder / "._ok face.mp4").write_text("Mac OS X")
    (folder / "ok rotated 180.mp4").rename(folder / "none upside down.mp4")
    odd_name = os.fsencode(folder) + b'/bad \xff\x1b[31m<b>,"\n.mp4'
    with open(odd_name, "wb") as file:
        file.write(b"x")
    return folder


@pytest.fixture(scope="session")
def finished(folder, weights_dir, tmp_path_factory):
    """One run over it all."""
    output = tmp_path_factory.mktemp("out") / "submission.csv"
    tables = [part for name in ("faces", "tracks", "intervals") for part in (f"--{name}-csv", f"{name}.csv")]
    more = [part if part.startswith("--") else str(output.with_name(part)) for part in tables]
    args = arguments(weights_dir, folder, output, *more, "--interval-threshold", "0.01")
    process = processes.run(command(*args), capture_output=True, text=True)
    return output, process


def test_one_row_for_each_video_whatever_happens(finished, folder):
    output, process = finished
    assert process.returncode == 0, process.stderr
    rows = read_csv(output)
    names = sorted(
        name
        for name in os.listdir(folder)
        if name.lower().endswith(".mp4") and not name.startswith(".") and not (folder / name).is_dir()
    )
    assert len(names) == 24
    assert rows[0] == ["filename", "label"] and [name for name, _ in rows[1:]] == names
    for name, label in rows[1:]:
        assert 0 <= float(label) <= 1
        assert (label == "0.5") == name.startswith(("bad", "none")), name


def test_summary_for_machines(finished):
    output, _ = finished
    summary = json.loads(output.with_suffix(".summary.json").read_text())
    assert summary["videos"] == 24 and summary["scored"] == 10
    assert summary["no_face"] == ["none 1x1.mp4", "none noise.mp4", "none upside down.mp4"]
    assert len(summary["unreadable"]) == 11 and not summary["failed"]
    assert summary["unreadable"]["bad empty.mp4"] == "is empty"
    assert summary["unreadable"]["bad pipe.mp4"] == "is not a regular file"
    assert set(summary["fewer_frames"]) == {"short cut, index in front.mp4"}
    assert summary["short"] == {"short one frame.mp4": 1}
    assert summary["left_out"] == ["a folder.mp4/", "notes.txt"] and summary["hidden"] == ["._ok face.mp4"]
    assert summary["at_face_limit"] == {"crowd.mp4": {"faces": 15, "left_out": 17, "frames": 1, "last_frame": 0}}
    assert summary["settings"]["frames_per_video"] == 4


def test_summary_for_people(finished):
    _, process = finished
    out = process.stdout
    assert "Predicting 24 videos" in out and "24 videos, 10 scored" in out
    assert "left out: notes.txt: no video, by its name" in out and "left out: a folder.mp4/: a folder" in out
    assert "left out: 1 hidden file\n" in out
    assert "no face found, 0.5: none noise.mp4" in out and "unreadable, 0.5: bad text.mp4" in out
    assert "of 4 frames (short, cut or damaged): short cut, index in front.mp4" in out
    assert "1 of 4 frames (it has no more): short one frame.mp4" in out
    assert "limit of 15 faces reached (1 frames looked at, the last is 0, 17 left out): crowd.mp4" in out
    assert "video/s" in process.stderr
    for text in (out, process.stderr):
        assert "Traceback" not in text and "Warning" not in text
    assert "\x1b[31m" not in out and r"\x1b[31m<b>" in out  # a file name does not paint the terminal


def test_faces_csv(finished, folder):
    output, _ = finished
    header, *rows = read_csv(output.with_name("faces.csv"))
    assert header == ["video", "frame", "face", "x1", "y1", "x2", "y2", "detector_score", "first", "second", "track"]
    face = [row for row in rows if row[0] == "ok face.mp4"]
    assert [row[1:3] for row in face] == [["0", "0"], ["13", "0"], ["26", "0"], ["39", "0"]]
    for row in face:
        x1, y1, x2, y2 = map(int, row[3:7])
        assert 40 < x2 - x1 < 180 and 40 < y2 - y1 < 180 and float(row[7]) > 0.8
    assert {row[10] for row in face} == {""}  # it moves by twice its width from look to look
    assert {row[10] for row in rows if row[0] == "ok odd.mp4"} == {"0"}
    score = np.mean([[float(value) for value in row[8:10]] for row in face])
    label = dict(read_csv(output)[1:])["ok face.mp4"]
    assert float(label) == pytest.approx(score, abs=1e-6)
    assert sum(row[0] == "crowd.mp4" for row in rows) == 15  # 4 * 4 - 1
    assert any(int(row[3]) < 0 for row in rows if row[0] == "ok cut face.mp4")


def test_tracks_csv_and_intervals_csv(finished):
    output, _ = finished
    header, *rows = read_csv(output.with_name("tracks.csv"))
    told = ["video", "track", "first_frame", "last_frame", "first_second", "last_second", "faces"]
    assert header == [*told, "x1", "y1", "x2", "y2", "first", "second", "score"]
    people = {row[0]: row for row in rows}
    person = people["ok odd.mp4"]
    assert person[1:4] == ["0", "0", "7"] and person[6] == "4" and 0.2 < float(person[5]) < 0.3
    assert float(person[13]) == pytest.approx(float(dict(read_csv(output)[1:])["ok odd.mp4"]), abs=1e-6)
    assert float(person[13]) == pytest.approx((float(person[11]) + float(person[12])) / 2)
    assert "crowd.mp4" not in people and "ok face.mp4" not in people  # seen once; too fast to be followed
    header, *rows = read_csv(output.with_name("intervals.csv"))
    assert header == ["video", "track", "start", "end", "peak", "start_frame", "end_frame"]
    (interval,) = [row for row in rows if row[0] == "ok odd.mp4"]
    assert interval[1] == "0" and interval[2] == "0.0" and interval[3] == person[5] and interval[5:] == ["0", "7"]


def test_by_person_and_by_time(few, weights_dir, expected, tmp_path, capsys):
    """One person: the same score, whichever way; other frames: another run."""
    output, tracks = tmp_path / "s.csv", tmp_path / "t.csv"
    args = arguments(weights_dir, few, output, "--strategy", "person", "--tracks-csv", str(tracks))
    assert predict_folder.main(args) == 0
    scores = dict(read_csv(output)[1:])
    for row in read_csv(tracks)[1:]:
        assert float(scores[row[0]]) == float(row[-1])  # the worst person's, and there is one
    summary = json.loads(output.with_suffix(".summary.json").read_text())
    assert summary["strategy"] == "person" and summary["settings"]["limit"] == "track"
    args = arguments(weights_dir, few, output, "--strategy", "person", "--tracks-csv", str(tracks))
    at = args.index("--frames-per-video")
    args[at : at + 2] = ["--frames-per-second", "20"]
    assert predict_folder.main(args) == 0
    assert "done before" not in capsys.readouterr().out
    frames = {row[0]: int(row[6]) for row in read_csv(tracks)[1:]}
    assert frames and all(count != 4 for count in frames.values())
    assert predict_folder.main([*args, "--frames-per-video", "4"]) == 1
    assert "error: --frames-per-second and --frames-per-video: give one of them" in capsys.readouterr().err


def test_calibration_adds_ratios(few, weights_dir, expected, tmp_path, capsys):
    """A calibration of made-up labels for these very scores; one of another strategy is refused."""
    output, report = tmp_path / "s.csv", tmp_path / "r.html"
    assert predict_folder.main(arguments(weights_dir, few, output)) == 0
    header, *rows = read_csv(output)
    labels = ["filename,label", *(f"{name},{int(number % 2)}" for number, (name, _) in enumerate(rows))]
    (tmp_path / "l.csv").write_text("\n".join(labels) + "\n")
    fitted = tmp_path / "c.json"
    fit = ["fit", "--submission", output, "--labels", tmp_path / "l.csv", "--output", fitted, "--cluster", "video"]
    assert calibrate.main([*map(str, fit), "--folds", "2", "--draws", "100"]) == 0
    more = ("--calibration", str(fitted))
    assert predict_folder.main(arguments(weights_dir, few, output, *more, "--report", str(report))) == 0
    again, *ratios = read_csv(output)
    assert again == [*header, "log10_lr", "lr_note"] and [row[:2] for row in ratios] == rows
    assert all(-9 <= float(row[2]) <= 9 and row[3] in ("", "bound", "outside") for row in ratios)
    assert report.read_text().count("The score supports") == len(rows)
    capsys.readouterr()
    assert predict_folder.main(arguments(weights_dir, few, output, *more, "--strategy", "mean")) == 1
    error = capsys.readouterr().err
    assert f"error: --calibration {fitted}: is for scores of strategy confident, these are of mean" in error
    assert "Traceback" not in error


def test_rotation_is_applied(finished):
    """A face stored upside down is found with a tag that turns it, one that a tag turns upside down is not."""
    faces = {row[0] for row in read_csv(finished[0].with_name("faces.csv"))}
    assert "ok rotated.mp4" in faces and "none upside down.mp4" not in faces


def test_what_could_not_be_read_is_tried_again(finished, folder, weights_dir, capsys):
    output, _ = finished
    before = output.read_bytes()
    output.unlink()
    assert predict_folder.main(arguments(weights_dir, folder, output)) == 0
    assert "Predicting 24 videos, 13 of them done before" in capsys.readouterr().out
    assert output.read_bytes() == before


def test_finished_run_loads_no_model(few, expected, weights_dir, tmp_path, capsys, monkeypatch):
    output = tmp_path / "s.csv"
    assert predict_folder.main(arguments(weights_dir, few, output)) == 0
    output.unlink()
    monkeypatch.setattr(predict_folder, "build_pipeline", lambda *args: pytest.fail("nothing is left to do"))
    assert predict_folder.main(arguments(weights_dir, few, output)) == 0
    assert "8 of them done before" in capsys.readouterr().out
    assert output.read_bytes() == expected


@pytest.fixture(scope="module")
def few(tmp_path_factory, face_video):
    """Eight different videos with a face."""
    folder = tmp_path_factory.mktemp("few")
    frames = media.face_frames(24)
    for i in range(8):
        media.write_video(folder / f"v{i}.mp4", frames[2 * i : 2 * i + 8])
    return folder


@pytest.fixture(scope="module")
def expected(few, weights_dir, tmp_path_factory):
    output = tmp_path_factory.mktemp("expected") / "s.csv"
    assert predict_folder.main(arguments(weights_dir, few, output)) == 0
    labels = [float(label) for _, label in read_csv(output)[1:]]
    assert len(labels) == 8 and np.std(labels) > 1e-3
    return output.read_bytes()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_stopped_and_started_again(few, weights_dir, expected, tmp_path, how):
    output = tmp_path / "s.csv"
    args = arguments(weights_dir, few, output, "--workers", "1")
    process = processes.Popen(command(*args), stdout=processes.PIPE, stderr=processes.PIPE, text=True)
    deadline = time.time() + 60
    while time.time() < deadline and process.poll() is None:
        if sum(len(path.read_text().splitlines()) - 2 for path in tmp_path.glob("*.jsonl")) >= 1:
            break
        time.sleep(0.01)
    process.send_signal(how)
    _, err = process.communicate(timeout=60)
    assert not output.exists() and "Traceback" not in err
    assert process.returncode == {signal.SIGKILL: -9, signal.SIGTERM: 143, signal.SIGINT: 130}[how]
    assert how == signal.SIGKILL or "the same command goes on where it stopped" in err
    again = processes.run(command(*args), capture_output=True, text=True)
    assert again.returncode == 0 and "of them done before" in again.stdout
    assert output.read_bytes() == expected


def test_two_processes_write_the_same_csv(few, weights_dir, expected, tmp_path):
    output = tmp_path / "s.csv"
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    args = [*torchrun, str(ROOT / "predict_folder.py"), *arguments(weights_dir, few, output)]
    process = processes.run(args, capture_output=True, text=True, timeout=120)
    assert process.returncode == 0, process.stderr
    assert output.read_bytes() == expected
    assert process.stdout.count("Predicting 8 videos") == 1  # rank 0 alone speaks
    again = processes.run(args, capture_output=True, text=True, timeout=120)
    assert again.returncode == 0 and "8 of them done before" in again.stdout


def test_two_processes_report_bad_input_once(weights_dir, tmp_path):
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    args = [*torchrun, str(ROOT / "predict_folder.py"), *arguments(weights_dir, tmp_path / "gone", tmp_path / "s.csv")]
    process = processes.run(args, capture_output=True, text=True, timeout=120)
    assert process.returncode != 0
    assert process.stderr.count("error: --test-dir") == 1


def test_overwrite(few, weights_dir, expected, tmp_path, capsys):
    output = tmp_path / "s.csv"
    for _ in range(2):
        assert predict_folder.main(arguments(weights_dir, few, output, "--overwrite")) == 0
        assert "done before" not in capsys.readouterr().out
    assert output.read_bytes() == expected


def test_other_settings_are_another_run(few, weights_dir, expected, tmp_path, capsys):
    output = tmp_path / "s.csv"
    assert predict_folder.main(arguments(weights_dir, few, output, "--frames-per-video", "2")) == 0
    assert predict_folder.main(arguments(weights_dir, few, output)) == 0
    assert "done before" not in capsys.readouterr().out
    assert output.read_bytes() == expected
    assert len(list(tmp_path.glob("s.*.jsonl"))) == 2


def test_order_and_number_of_models(few, weights_dir, expected, tmp_path, capsys):
    """Another order or a model named twice is another run: columns and means stay right."""
    output, faces = tmp_path / "s.csv", tmp_path / "f.csv"
    columns = {}
    for models in (["first", "second"], ["second", "first"], ["first", "first", "second"]):
        args = arguments(weights_dir, few, output, "--faces-csv", str(faces))
        at = args.index("--models") + 1
        args[at : at + 2] = models
        assert predict_folder.main(args) == 0
        assert "done before" not in capsys.readouterr().out
        header, *rows = read_csv(faces)
        assert header[8:] == [*models, "track"] and all(len(row) == len(header) for row in rows)
        for name in models:
            column = [row[8 + models.index(name)] for row in rows]
            assert columns.setdefault(name, column) == column


def test_another_strategy_takes_the_scores_that_are_there(few, weights_dir, expected, tmp_path, monkeypatch):
    output = tmp_path / "s.csv"
    assert predict_folder.main(arguments(weights_dir, few, output)) == 0
    monkeypatch.setattr(predict_folder, "build_pipeline", lambda *args: pytest.fail("all faces are scored"))
    monkeypatch.setitem(STRATEGIES, "mean", lambda pred: 0.125)
    assert predict_folder.main(arguments(weights_dir, few, output, "--strategy", "mean")) == 0
    assert {label for _, label in read_csv(output)[1:]} == {"0.125"}
    assert predict_folder.main(arguments(weights_dir, few, output)) == 0
    assert output.read_bytes() == expected


@pytest.mark.skipif(not openvino_engine.is_installed(), reason="openvino is not installed")
def test_nothing_calls_home(few, weights_dir, tmp_path):
    """OpenVINO would report to its makers from every run; its telemetry is kept from being imported."""
    home = tmp_path / "home"
    home.mkdir()
    args = arguments(weights_dir, single(tmp_path, few / "v0.mp4"), tmp_path / "s.csv", "--engine", "openvino")
    code = f"import sys, predict_folder as p; code = p.main({args!r}); print(sys.modules['openvino_telemetry'], code)"
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env={**os.environ, "HOME": str(home)}
    )
    assert run.stdout.endswith("None 0\n"), run.stderr
    assert not (home / "intel").exists()


@pytest.mark.parametrize(
    "engine",
    [
        pytest.param(
            "openvino",
            marks=pytest.mark.skipif(not openvino_engine.is_installed(), reason="openvino is not installed"),
        ),
        pytest.param("native", marks=needs_native),
    ],
)
def test_engines_agree(few, weights_dir, expected, tmp_path, engine):
    output = tmp_path / "s.csv"
    assert predict_folder.main(arguments(weights_dir, few, output, "--engine", engine)) == 0
    labels, others = (
        [float(line.split(b",")[1]) for line in data.splitlines()[1:]] for data in (output.read_bytes(), expected)
    )
    np.testing.assert_allclose(labels, others, atol=1e-3)


def single(tmp_path, source, name="v.mp4"):
    folder = tmp_path / "videos"
    folder.mkdir(exist_ok=True)
    if source is not None:
        shutil.copy(source, folder / name)
    return folder


def test_strict(tmp_path, weights_dir, face_video, noise_video):
    folder = single(tmp_path, face_video)
    output = tmp_path / "s.csv"
    assert predict_folder.main(arguments(weights_dir, folder, output, "--strict")) == 0
    shutil.copy(noise_video, folder / "noise.mp4")
    assert predict_folder.main(arguments(weights_dir, folder, output)) == 0
    assert predict_folder.main(arguments(weights_dir, folder, output, "--strict")) == 1
    assert len(read_csv(output)) == 3


def test_no_video_could_be_read(tmp_path, weights_dir):
    folder = single(tmp_path, None)
    (folder / "a.mp4").touch()
    output = tmp_path / "s.csv"
    assert predict_folder.main(arguments(weights_dir, folder, output)) == 1
    assert read_csv(output)[1:] == [["a.mp4", "0.5"]]


def fails(capsys, args):
    """The one line of a run that can't begin."""
    assert predict_folder.main(args) == 1
    captured = capsys.readouterr()
    assert not captured.out and captured.err.startswith("error: ") and captured.err.count("\n") == 1
    return captured.err


def test_empty_folder(tmp_path, weights_dir, capsys):
    folder = single(tmp_path, None)
    output = tmp_path / "s.csv"
    assert "holds no video, by its name; nothing was written" in fails(capsys, arguments(weights_dir, folder, output))
    (folder / "x.txt").touch()
    assert "only 1 other files (x.txt); nothing" in fails(capsys, arguments(weights_dir, folder, output))
    (folder / "x.avi").touch()
    only = arguments(weights_dir, folder, output, "--only-mp4")
    assert "holds no *.mp4, only 2 other files (x.avi, x.txt)" in fails(capsys, only)
    assert not output.exists()


def test_missing_folder(tmp_path, weights_dir, capsys):
    err = fails(capsys, arguments(weights_dir, tmp_path / "gone", tmp_path / "s.csv"))
    assert "gone: can't be read (No such file or directory)" in err


def test_missing_checkpoint(tmp_path, face_video, capsys):
    folder = single(tmp_path, face_video)
    err = fails(capsys, arguments(tmp_path, folder, tmp_path / "s.csv"))
    assert "no checkpoint first, second; ./download_weights.sh" in err


@pytest.mark.parametrize("content", [b"", b"<html>", bytes(3000)])
def test_wrong_checkpoint(tmp_path, face_video, weights_dir, content):
    folder = single(tmp_path, face_video)
    weights = tmp_path / "weights"
    weights.mkdir()
    shutil.copy(weights_dir / "first", weights / "first")
    (weights / "second").write_bytes(content)
    process = processes.run(command(*arguments(weights, folder, tmp_path / "s.csv")), capture_output=True, text=True)
    assert process.returncode == 1 and "Traceback" not in process.stderr
    assert f"error: {weights}/second: " in process.stderr


def test_checkpoint_of_another_encoder(tmp_path, face_video, weights_dir):
    import torch

    folder = single(tmp_path, face_video)
    content = torch.load(weights_dir / "first", weights_only=True)
    weights = tmp_path / "weights"
    weights.mkdir()
    for name in ("first", "second"):
        torch.save({"state_dict": content["state_dict"]}, weights / name)
    args = arguments(weights, folder, tmp_path / "s.csv")
    process = processes.run(command(*args), capture_output=True, text=True)
    assert process.returncode == 1 and "is not a DeepFakeClassifier on tf_efficientnet_b7_ns" in process.stderr
    assert predict_folder.main([*args, "--encoder", media.ENCODER, "--size", str(media.SIZE)]) == 0


@pytest.mark.parametrize("output", ["/proc/nowhere.csv", "/dev/null/s.csv", ".", "/dev/null"])
def test_csv_that_cannot_be_written(tmp_path, face_video, weights_dir, output, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    err = fails(capsys, arguments(weights_dir, single(tmp_path, face_video), output))
    assert "can't be written" in err or "is a folder" in err or "is not a regular file" in err


def test_csv_without_permission(tmp_path, face_video, weights_dir, capsys):
    folder = single(tmp_path, face_video)
    place = tmp_path / "locked"
    place.mkdir()
    place.chmod(0o555)
    was_root = os.geteuid() == 0
    if was_root:
        for parent in {tmp_path, *tmp_path.parents, weights_dir, *weights_dir.parents}:
            if "pytest" in str(parent):
                parent.chmod(0o755)
        os.seteuid(65534)
    try:
        assert "can't be written (Permission denied)" in fails(capsys, arguments(weights_dir, folder, place / "s.csv"))
    finally:
        if was_root:
            os.seteuid(0)


def test_outputs_never_replace_inputs(tmp_path, face_video, weights_dir, capsys):
    folder = single(tmp_path, face_video)
    before = face_video.read_bytes()
    for more in (["--output", str(folder / "v.mp4")], ["--faces-csv", str(weights_dir / "first")]):
        assert "is an input" in fails(capsys, arguments(weights_dir, folder, tmp_path / "s.csv", *more))
    assert (folder / "v.mp4").read_bytes() == before
    told = fails(capsys, arguments(weights_dir, folder, tmp_path / "s.csv", "--report", str(folder / "new.mp4")))
    assert "new.mp4: would be one of the videos of --test-dir by its name; choose another name" in told
    for more in (["--faces-csv", str(tmp_path / "s.csv")], ["--faces-csv", str(tmp_path / "s.summary.json")]):
        assert "is written by" in fails(capsys, arguments(weights_dir, folder, tmp_path / "s.csv", *more))


def test_outputs_with_dots_in_their_names(tmp_path, face_video, weights_dir):
    folder = single(tmp_path, face_video)
    for name in ("run_0.3", "run_0.4"):
        assert predict_folder.main(arguments(weights_dir, folder, tmp_path / name)) == 0
        assert (tmp_path / f"{name}.summary.json").exists()
    assert len(list(tmp_path.glob("run_*.jsonl"))) == 2


def test_refused_checkpoint_leaves_nothing_behind(tmp_path, face_video, weights_dir):
    folder = single(tmp_path, face_video)
    weights = tmp_path / "weights"
    weights.mkdir()
    shutil.copy(weights_dir / "first", weights / "first")
    (weights / "second").write_bytes(b"nothing")
    assert predict_folder.main(arguments(weights, folder, tmp_path / "out" / "s.csv")) == 1
    assert not (tmp_path / "out").exists()


def test_terminal_that_cannot_print_a_name(tmp_path, weights_dir, noise_video):
    folder = single(tmp_path, noise_video, "ñ.mp4")
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    run = subprocess.run(
        command(*arguments(weights_dir, folder, tmp_path / "s.csv")), capture_output=True, text=True, env=environment
    )
    assert run.returncode == 0 and "no face found, 0.5: \\xf1.mp4" in run.stdout, run.stderr


def test_output_is_checked_before_anything_is_loaded(tmp_path, face_video, weights_dir, capsys, monkeypatch):
    monkeypatch.setattr(predict_folder, "build_pipeline", lambda *args: pytest.fail("models were loaded"))
    args = arguments(weights_dir, single(tmp_path, face_video), tmp_path / "s.csv", "--faces-csv", "/proc/faces.csv")
    assert "/proc/faces.csv: can't be written" in fails(capsys, args)


@pytest.mark.parametrize(
    "more, message",
    [
        (["--device", "cuda:99"], "--device cuda:99: "),
        (["--device", "tpu"], "--device tpu: not a device; use auto, cpu, cuda or cuda:N"),
        (["--precision", "fp16"], "--precision fp16 needs a GPU"),
    ],
)
def test_choices_that_cannot_be_had(tmp_path, face_video, weights_dir, capsys, more, message):
    assert message in fails(capsys, arguments(weights_dir, single(tmp_path, face_video), tmp_path / "s.csv", *more))


@pytest.mark.parametrize("more", [["--workers", "0"], ["--batch-size", "-1"], ["--strategy", "max"], ["--size", "x"]])
def test_arguments_that_make_no_sense(tmp_path, weights_dir, more):
    with pytest.raises(SystemExit) as stop:
        predict_folder.main(arguments(weights_dir, tmp_path, tmp_path / "s.csv", *more))
    assert stop.value.code == 2


def test_predict_submission_script(tmp_path, face_video):
    """The script from another folder, with the seven published names; the weights are not there."""
    usage = processes.run_script("predict_submission.sh")
    assert usage.returncode == 2 and usage.stderr.startswith("usage: ")
    weights = list((ROOT / "weights").glob("final_*"))
    if weights:
        pytest.skip("published weights are here")
    run = processes.run_script("predict_submission.sh", single(tmp_path, face_video), "s.csv", cwd=tmp_path)
    assert run.returncode == 1 and run.stderr.count("final_") == 7 and "download_weights.sh" in run.stderr


def test_every_container_and_what_is_left_out(tmp_path, weights_dir, capsys):
    folder = tmp_path / "videos"
    folder.mkdir()
    for name in ("a.mov", "b.MKV", "c.avi", "d.M4V", "e.mp4"):
        codec = "mpeg4" if name == "c.avi" else "libx264"
        media.write_video(folder / name, media.face_frames(4), codec=codec, options={})
    (folder / "clip.xyz").touch()
    output = folder / "s.csv"  # our own files are not left out
    for _ in range(2):
        assert predict_folder.main(arguments(weights_dir, folder, output, "--strict")) == 1
        summary = json.loads((folder / "s.summary.json").read_text())
        assert summary["left_out"] == ["clip.xyz"] and summary["scored"] == 5
        assert "left out: clip.xyz" in capsys.readouterr().out
    assert [name for name, _ in read_csv(output)[1:]] == ["a.mov", "b.MKV", "c.avi", "d.M4V", "e.mp4"]
    (folder / "clip.xyz").unlink()
    assert predict_folder.main(arguments(weights_dir, folder, output, "--strict")) == 0
    assert predict_folder.main(arguments(weights_dir, folder, output, "--strict", "--only-mp4")) == 1
    assert [name for name, _ in read_csv(output)[1:]] == ["e.mp4"]


def test_face_limit_and_spreading(tmp_path, weights_dir, capsys):
    """A wall of faces hides what comes after it, unless faces are spread."""
    folder, output = tmp_path / "videos", tmp_path / "s.csv"
    folder.mkdir()
    wall = np.tile(media.face_frames(1, 160, 160, 150)[0], (2, 4, 1))
    close = media.face_frames(4, 640, 320, 200)
    media.write_video(folder / "v.mp4", [wall] * 4 + close, options={"crf": "12"})
    faces = tmp_path / "faces.csv"
    flags = ["--frames-per-video", "8", "--max-faces", "12", "--faces-csv", str(faces)]

    def frames_with_faces(*more):
        assert predict_folder.main(arguments(weights_dir, folder, output, *flags, *more)) == 0
        limit = json.loads(output.with_suffix(".summary.json").read_text())["at_face_limit"]["v.mp4"]
        return [int(row[1]) for row in read_csv(faces)[1:]], limit

    frames, limit = frames_with_faces()
    assert len(frames) == 12 and set(frames) == {0, 1} and limit["last_frame"] == 1 and limit["frames"] == 2
    assert "limit of 12 faces reached" in capsys.readouterr().out
    frames, limit = frames_with_faces("--spread-faces")
    assert len(frames) == 12 and set(frames) >= {0, 1, 2, 3, 4, 7} and limit["last_frame"] == 7
    assert limit["left_out"] > 20


def test_notes_are_told(tmp_path, weights_dir, capsys):
    folder, output = tmp_path / "videos", tmp_path / "s.csv"
    folder.mkdir()
    media.write_video(folder / "v.mp4", media.face_frames(4))
    media.set_display_matrix(folder / "v.mp4", (0.7, 0.7, -0.7, 0.7))
    page = tmp_path / "r.html"
    assert predict_folder.main(arguments(weights_dir, folder, output, "--report", str(page))) == 0
    note = "frames are read as they are stored"
    assert note in capsys.readouterr().out and note in page.read_text()
    assert note in json.loads(output.with_suffix(".summary.json").read_text())["notes"]["v.mp4"][0]
