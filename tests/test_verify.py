"""Cases as a user hands them on and checks them: a prediction, then one byte changed anywhere."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import asdict

import pytest

import predict_folder
import verify
from inference import c2pa_manifests, case_check, case_rerun
from inference.case import read_case
from inference.case_check import path_in
from runtime.digests import digest_of
from runtime.journal import Journal
from tests import media

MODELS = ["first"]


def predict(root, *more, output="out/s.csv"):
    flags = ["--weights-dir", str(root / "weights"), "--models", *MODELS, "--test-dir", str(root / "videos")]
    flags += ["--output", str(root / output), "--frames-per-video", "4", "--engine", "torch", "--device", "cpu"]
    return predict_folder.main([*flags, *more])


@pytest.fixture(scope="module")
def finished(tmp_path_factory, weights_dir, face_video, noise_video):
    """A folder that holds a prediction and all that it was made of: a video with a face, one without, and no video."""
    root = tmp_path_factory.mktemp("case")
    for folder in ("videos", "weights"):
        (root / folder).mkdir()
    shutil.copy(weights_dir / "first", root / "weights" / "first")
    shutil.copy(face_video, root / "videos" / "face.mp4")
    shutil.copy(noise_video, root / "videos" / "noise.mp4")
    (root / "videos" / "bad.mp4").write_text("no video")
    out = root / "out"
    assert predict(root, "--faces-csv", str(out / "faces.csv"), "--report", str(out / "report.html")) == 0
    return root


@pytest.fixture
def moved(finished, tmp_path):
    """The same on another machine, where its videos and weights lie elsewhere."""
    shutil.copytree(finished, tmp_path / "moved")
    (tmp_path / "moved" / "videos").rename(tmp_path / "evidence")
    (tmp_path / "moved" / "weights").rename(tmp_path / "models")
    return tmp_path


def check(moved, *more):
    folders = ["--videos", str(moved / "evidence"), "--weights-dir", str(moved / "models")]
    return verify.main([str(moved / "moved" / "out" / "s.case.json"), *folders, *more])


def journal_of(moved):
    return next((moved / "moved" / "out").glob("s.*.jsonl"))


def flip(path, place=None):
    """Change one bit of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2 if place is None else place] ^= 1
    path.write_bytes(data)


# what the case says


def test_the_case_of_a_prediction(finished):
    case = read_case(finished / "out" / "s.case.json")
    bad, face, noise = case.videos
    assert (bad.status, bad.file.bytes, bad.frames, bad.stream) == ("unreadable", 8, [], {})
    assert face.status == "ok" and 0 < face.score < 1 and noise.score == 0.5
    assert face.frames == [0, 13, 26, 39] and face.times == pytest.approx([0, 13 / 30, 26 / 30, 1.3], abs=1e-6)
    assert noise.frames == [0, 6, 12, 19]
    assert face.stream["codec"] == "h264" and face.stream["colour_read_as"] == "BT.601, limited range"
    assert case.repeat["engine"] == "torch" and case.repeat["models"] == MODELS and case.repeat["frames_per_video"] == 4
    assert list(case.environments) == [face.environment] and case.settings["models"][0][0] == "first"
    assert case.environments[face.environment]["detector"] == "mtcnn on torch"
    assert {file.what for file in case.run.outputs} == {
        "--output",
        "summary of --output",
        "--faces-csv",
        "--report",
    }
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ", case.run.started) and case.run.started <= case.run.ended


def test_two_runs_of_the_same_case(finished, tmp_path, capsys):
    """Equal but for times, and the order in which videos were finished; videos that were done keep their facts."""
    again = tmp_path / "again"
    shutil.copytree(finished / "videos", again / "videos", copy_function=shutil.copy2)
    shutil.copytree(finished / "weights", again / "weights")
    for _ in range(2):
        assert predict(again) == 0
        (again / "out" / "s.case.json").rename(again / "resumed.json")
        resumed, first = read_case(again / "resumed.json"), read_case(finished / "out" / "s.case.json")
        assert resumed.videos == first.videos and resumed.environments == first.environments
    assert predict(again, "--overwrite") == 0
    capsys.readouterr()
    for other in (again / "resumed.json", finished / "out" / "s.case.json"):
        assert verify.main([str(again / "out" / "s.case.json"), "--compare", str(other)]) == 0
        assert capsys.readouterr().out == "the two cases are equal but for their runs\n"
    media.write_video(again / "videos" / "noise.mp4", media.noise_frames(9))
    assert predict(again) == 0
    capsys.readouterr()
    assert verify.main([str(again / "out" / "s.case.json"), "--compare", str(finished / "out" / "s.case.json")]) == 1
    assert re.fullmatch(r"differs: videos\[noise\.mp4\]\.file\.bytes: \d+, and \d+\n", capsys.readouterr().out)


# what differs


def test_nothing_differs(finished, moved, capsys):
    assert verify.main([str(finished / "out" / "s.case.json")]) == 0
    assert check(moved) == 0
    out = capsys.readouterr().out
    assert out.endswith("nothing differs\n") and "differs:" not in out
    assert "ok: videos: 3 of 3 as they were\n" in out and "ok: outputs: 4 of 4 as they were\n" in out


@pytest.mark.parametrize("name", ["face.mp4", "noise.mp4", "bad.mp4"])
def test_a_byte_of_a_video(moved, name, capsys):
    flip(moved / "evidence" / name)
    assert check(moved) == 1
    out = capsys.readouterr().out
    assert f"  differs: {name}: {moved}/evidence/{name}: was changed: its SHA-256 is " in out
    assert out.endswith("differs: 1 of what was looked at\n") and out.count("  differs: ") == 1


def test_a_byte_of_a_weight(moved, capsys):
    flip(moved / "models" / "first")
    assert check(moved) == 1
    assert f"  differs: first: {moved}/models/first: was changed: its SHA-256 is " in capsys.readouterr().out


@pytest.mark.parametrize("name", ["s.csv", "s.summary.json", "faces.csv", "report.html"])
def test_a_byte_of_an_output(moved, name, capsys):
    flip(moved / "moved" / "out" / name)
    assert check(moved) == 1
    assert re.search(rf"  differs: .*{re.escape(name)}: .*{re.escape(name)}: was changed", capsys.readouterr().out)


def test_a_score_of_the_submission(moved, capsys):
    """The row is named, too."""
    path = moved / "moved" / "out" / "s.csv"
    path.write_text(path.read_text().replace("noise.mp4,0.5", "noise.mp4,0.6"))
    assert check(moved) == 1
    assert "s.csv: row 4 is ['noise.mp4', '0.6'], and the case has ['noise.mp4', '0.5']" in capsys.readouterr().out


def test_every_line_of_the_journal(moved, capsys):
    path = journal_of(moved)
    whole = path.read_bytes()
    starts = [0, *(match.end() for match in re.finditer(b"\n", whole))][:-1]
    assert len(starts) == 5  # the settings, the environment, three videos
    for number, start in enumerate(starts, start=1):
        path.write_bytes(whole)
        flip(path, start + 12)
        assert check(moved) == 1
        assert f"{path.name}: line {number} is not what was written (" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["garbage", "zeros", "empty", "unchained", "chained"])
def test_what_was_added_to_a_journal(moved, capsys, kind):
    """A case is written when the run has ended, so nothing may follow, not even what a run would pass over."""
    path = journal_of(moved)
    size = path.stat().st_size
    last = json.loads(path.read_bytes().splitlines()[-1])
    del last["chain"]
    copy = json.dumps({**last, "score": 0.875}).encode() + b"\n"
    if kind == "chained":
        journal = Journal(path, busy="", remedy="")
        journal.add({"number": 7})
        journal.close()
    else:
        added = {"garbage": b"\xff{", "zeros": bytes(9), "empty": b"{}\n", "unchained": copy}[kind]
        path.write_bytes(path.read_bytes() + added)
    assert check(moved) == 1
    more = path.stat().st_size - size
    assert f"{path.name}: has {more} bytes after its first 5 lines, which were all" in capsys.readouterr().out


def test_a_journal_that_was_cut_or_written_anew(moved, capsys):
    path = journal_of(moved)
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    assert check(moved) == 1
    assert f"{path.name}: has 4 lines, and had 5" in capsys.readouterr().out
    journal = Journal(path, busy="", remedy="", overwrite=True)
    for number in range(6):
        journal.add({"number": number})
    journal.close()
    assert check(moved) == 1
    assert "the chain of its first 5 lines is " in capsys.readouterr().out


def test_a_byte_of_the_case(moved, capsys):
    path = moved / "moved" / "out" / "s.case.json"
    whole = path.read_bytes()
    for place in (0, len(whole) // 3, len(whole) // 2, len(whole) - 40, len(whole) - 2):
        path.write_bytes(whole)
        flip(path, place)
        assert check(moved) == 1
        assert re.search(r"error: .*s\.case\.json: ", capsys.readouterr().err)


@pytest.mark.parametrize("change", ["gone", "longer", "folder", "pipe", "circle"])
def test_what_lies_in_the_place_of_a_video(moved, change, capsys):
    path = moved / "evidence" / "face.mp4"
    size = path.stat().st_size
    if change == "longer":
        os.truncate(path, 1 << 40)
    else:
        path.unlink()
    if change == "folder":
        path.mkdir()
    elif change == "pipe":
        os.mkfifo(path)
    elif change == "circle":
        path.symlink_to(path.name)
    assert check(moved) == 1
    said = {
        "gone": "is not there",
        "longer": f"has {1 << 40} bytes, and had {size}",
        "folder": "bytes, and had",
        "pipe": f"has 0 bytes, and had {size}",
        "circle": "can't be read (Too many levels of symbolic links)",
    }
    assert f"  differs: face.mp4: {path}: " in (out := capsys.readouterr().out) and said[change] in out
    path.is_file() and path.unlink()


def test_folders_that_are_not_there(finished, tmp_path, capsys):
    case = str(finished / "out" / "s.case.json")
    assert verify.main([case, "--videos", str(tmp_path / "none")]) == 1
    assert "none: there is no such folder; --videos DIR says where its files are now" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["", ".", "..", "../face.mp4", "/etc/passwd", "a\0b", "a/b.mp4"])
def test_names_that_lead_out_of_the_folder(name):
    assert path_in("videos", name) is None


def test_names_of_files(tmp_path):
    assert path_in("videos", "a b.mp4") == "videos/a b.mp4" and path_in("videos", "\udcff") == "videos/\udcff"


# scored again


def test_videos_are_scored_again(moved, capfd):
    assert check(moved, "--rerun", "2", "--seed", "5") == 0
    out = capfd.readouterr().out
    assert "scoring again, by seed 5: " in out and "their scores may move by 0.001" in out
    assert "ok: videos scored again: 2 of 2 as they were" in out


def changed_case(moved, change):
    """The case as someone who knows how to seal it would change it."""
    path = moved / "moved" / "out" / "s.case.json"
    content = json.loads(path.read_text())
    del content["seal"]
    change(content)
    text = json.dumps(content, indent=1)
    seal = hashlib.sha256(text.encode()).hexdigest()
    path.write_text(f'{text[:-2]},\n "seal": "{seal}"\n}}\n')
    return path


def test_a_score_that_was_changed_in_every_file(moved, capfd):
    """Case and submission agree, and their sums are right: only scoring again tells."""
    submission = moved / "moved" / "out" / "s.csv"

    def change(content):
        content["videos"][1]["score"] = 0.125
        rows = submission.read_text().splitlines()
        rows[2] = "face.mp4,0.125"
        submission.write_text("\n".join(rows) + "\n")
        content["run"]["outputs"][0].update(asdict(digest_of(submission)))

    changed_case(moved, change)
    assert check(moved) == 0
    assert check(moved, "--rerun", "3") == 1
    out = capfd.readouterr().out
    assert re.search(r"face\.mp4: its score is 0\.\d+, and was 0\.125: more than 0\.001 apart, of the same frames", out)


@pytest.mark.parametrize(
    "name, value, message",
    [
        ("models", [], "repeat.models: "),
        ("models", ["x\0y"], "repeat.models: "),
        ("models", ["x\ud800y"], "repeat.models: "),
        ("models", ["x" * 5000], "repeat.models: "),
        ("models", ["x" * 200] * 20000, "repeat.models: has 20000 values, more than the 200 "),
        ("models", None, "repeat: the following arguments are required: --models"),
        ("precision", "fp99", "repeat.precision: 'fp99': not one of "),
        ("system", "../../x", "repeat: argument --system: invalid choice: '../../x' "),
        ("frames_per_video", {"a": 1}, "repeat: argument --frames-per-video: "),
        ("strategy", "x\0y", "repeat.strategy: "),
        ("__class__", "x", "repeat.__class__: is no flag by which scores are made"),
        ("output", "/tmp/x", "repeat.output: is no flag by which scores are made"),
        ("test_dir", "/", "repeat.test_dir: is no flag by which scores are made"),
    ],
)
def test_a_case_that_asks_for_other_things_than_scores(moved, capsys, name, value, message):
    """Each is one line, and no command is started."""
    path = changed_case(moved, lambda content: content["repeat"].update({name: value}))
    assert check(moved, "--rerun", "1") == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: {path}: {message}") and error.count("\n") == 1


@pytest.mark.parametrize("name", ["v" * 300 + ".mp4", "x\ud800y.mp4", "a/b.mp4"])
def test_a_video_whose_name_no_file_can_have(moved, capsys, name):
    path = changed_case(moved, lambda content: content["videos"][1].update(video=name))
    assert check(moved, "--rerun", "2") == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: {path}: videos: ") and error.count("\n") == 1


def test_which_flags_score_again(finished):
    case = read_case(finished / "out" / "s.case.json")
    flags = case_rerun.plan_rerun(case, case_check.Places(case=str(finished / "out"))).flags
    assert "--engine=torch" in flags and "--frames-per-video=4" in flags and "--precision=fp32" in flags
    assert flags[flags.index("--models") + 1] == "first"


@pytest.mark.parametrize("name", ["-B", "--output=x"])
def test_a_model_that_begins_with_a_dash(finished, name):
    """predict_folder.py takes --models=-B, and a dash in front of one of several is another flag."""
    case = read_case(finished / "out" / "s.case.json")
    case.repeat["models"] = ["first", name]
    plan = case_rerun.plan_rerun(case, case_check.Places(case=str(finished / "out")))
    args = predict_folder.parse_args([*plan.flags, "--test-dir", "videos"])
    assert args.models == ["first", f"./{name}"] and args.output == "submission.csv"


def test_a_model_that_was_named_by_its_whole_path(finished, tmp_path):
    """Where the weights are now, it is in their folder."""
    case = read_case(finished / "out" / "s.case.json")
    gone = str(tmp_path / "gone" / "first")
    case.repeat["models"] = [gone]
    case.weights[0] = case.weights[0].model_copy(update={"what": gone, "of": "elsewhere", "path": gone})
    weights = os.path.relpath(finished / "weights")
    plan = case_rerun.plan_rerun(case, case_check.Places(case=str(finished / "out"), weights=weights))
    args = predict_folder.parse_args([*plan.flags, "--test-dir", "videos"])
    assert args.models == [str(finished / "weights" / "first")]


def test_what_can_not_be_had_here(finished, monkeypatch):
    case = read_case(finished / "out" / "s.case.json")
    case.repeat.update({"device": "cuda", "engine": "native", "precision": "fp16"})
    monkeypatch.setattr(case_rerun.torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(case_rerun, "usable_engines", lambda device: ["torch"])
    plan = case_rerun.plan_rerun(case, case_check.Places(case=""))
    assert plan.tolerance == 0.01 and len(plan.notes) == 2
    assert "--device=cpu" in plan.flags and not any(flag.startswith(("--engine", "--precision")) for flag in plan.flags)
    # of one name there are engines for both, and not for the same systems
    monkeypatch.setattr(case_rerun, "usable_engines", lambda device: ["native", "torch"])
    assert case_rerun.plan_rerun(case, case_check.Places(case="")) == plan


@pytest.mark.parametrize("reason, chosen", [(None, True), ("it is not installed", False)])
def test_a_case_by_onnx_runtime(finished, monkeypatch, reason, chosen):
    """Which is among those that can be had where it is, though "auto" never takes it."""
    case = read_case(finished / "out" / "s.case.json")
    case.repeat.update({"device": "cpu", "engine": "onnxruntime"})
    monkeypatch.setattr(case_rerun.onnxruntime_engine, "why_not", lambda device: reason)
    plan = case_rerun.plan_rerun(case, case_check.Places(case=str(finished / "out")))
    assert ("--engine=onnxruntime" in plan.flags) == chosen and (not plan.notes) == chosen


def test_which_videos_are_chosen(finished):
    """By seed and name alone, whatever else is there; of those that could be read."""
    case = read_case(finished / "out" / "s.case.json")
    chosen = {seed: [video.video for video in case_rerun.choose_videos(case, 1, seed)] for seed in range(20)}
    assert {name for names in chosen.values() for name in names} == {"face.mp4", "noise.mp4"}
    assert len(case_rerun.choose_videos(case, 9, 0)) == 2


# C2PA


class Manifests:
    """What c2pa-python offers, for videos of which face.mp4 has a manifest, and that of bad.mp4 is damaged."""

    class C2paError(Exception):
        class NotSupported(Exception):
            pass

    class Settings:
        from_dict = staticmethod(lambda settings: settings)

    class Context:
        def __init__(self, settings):
            assert settings == {"verify": {"remote_manifest_fetch": False, "ocsp_fetch": False}}

    class Reader:
        @staticmethod
        def try_create(path, context):
            name = os.path.basename(path)
            if name == "bad.mp4":
                raise Manifests.C2paError("JUMBF is broken\x1b[31m")
            return Manifests.Reader() if name == "face.mp4" else None

        def json(self):
            manifest = {
                "signature_info": {"issuer": "A Camera\x1b[31m", "time": "2026-01-01T00:00:00Z"},
                "claim_generator_info": [{"name": "firmware"}],
            }
            status = [{"code": "assertion.bmffHash.mismatch"}]
            return json.dumps({"active_manifest": "a", "manifests": {"a": manifest}, "validation_status": status})

        def get_validation_state(self):
            return "Invalid"


def test_manifests_are_told_of(moved, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "c2pa", Manifests)
    monkeypatch.setattr(c2pa_manifests, "version_of", lambda name: "0.38")
    assert check(moved) == 0
    out = capsys.readouterr().out
    assert (
        "note: face.mp4: C2PA manifest: Invalid, signed by A Camera\\x1b[31m, at 2026-01-01T00:00:00Z, made with "
        "firmware, found: assertion.bmffHash.mismatch\n" in out
    )
    assert "note: bad.mp4: its C2PA manifest can't be read (JUMBF is broken\\x1b[31m)\n" in out


def test_without_the_library_nothing_is_said(moved, monkeypatch, capsys):
    monkeypatch.setattr(c2pa_manifests, "version_of", lambda name: None)
    assert check(moved) == 0
    assert "C2PA" not in capsys.readouterr().out
    monkeypatch.setattr(c2pa_manifests, "version_of", lambda name: "0.5")
    monkeypatch.setitem(sys.modules, "c2pa", object())
    assert check(moved) == 0
    assert "note: C2PA manifests are not read: c2pa-python 0.5 may ask the internet" in capsys.readouterr().out


# what is another here


def test_another_library_is_a_note(moved, capsys):
    def change(content):
        for environment in content["environments"].values():
            environment["libraries"]["torch"] = "1.0"
            environment["processor"]["model"] = "another\x1b[31m"

    changed_case(moved, change)
    assert check(moved) == 0
    out = capsys.readouterr().out
    assert "note: torch 1.0 then, " in out and "note: processor: {'model': 'another\\x1b[31m'" in out


def test_as_a_command(finished):
    command = [sys.executable, verify.__file__, str(finished / "out" / "s.case.json")]
    process = subprocess.run(command, capture_output=True, text=True)
    assert process.returncode == 0 and process.stdout.endswith("nothing differs\n"), process.stderr
