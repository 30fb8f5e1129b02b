"""The command: variants are made, predicted and compared; stopped, it goes on; what is missing is named."""

import csv
import itertools
import json
import re
import shutil
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import log_loss, roc_auc_score

import predict_folder
import robustness
from evaluation import robustness_making, robustness_runs
from evaluation.labels import Truth
from evaluation.robustness import VariantScores, as_json, table_of
from evaluation.robustness_page import page
from evaluation.robustness_text import failures, text_of
from evaluation.variants import IDENTITY, VARIANTS
from tests import media, processes

ROOT = Path(robustness.__file__).resolve().parent
TABLES = ("robustness.csv", "robustness.json")
FLAGS = ("--frames-per-video", "2", "--engine", "torch", "--device", "cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two real videos and a fake of each, 8 frames of 320x240 with a face."""
    folder = tmp_path_factory.mktemp("videos")
    frames = media.face_frames(32, 320, 240, 150)
    for number, name in enumerate(("real1", "fake1", "real2", "fake2")):
        media.write_video(folder / f"{name}.mp4", frames[8 * number : 8 * number + 8])
    return folder


@pytest.fixture(scope="module")
def labels(tmp_path_factory):
    path = tmp_path_factory.mktemp("labels") / "labels.csv"
    rows = ["real1.mp4,0,", "fake1.mp4,1,real1.mp4", "real2.mp4,0,", "fake2.mp4,1,real2.mp4"]
    path.write_text("\n".join(["filename,label,original", *rows, ""]))
    return path


def arguments(folder, labels, weights_dir, output, *more, variants=("crf40",), flags=FLAGS):
    return [
        *("--test-dir", str(folder), "--labels", str(labels), "--output-dir", str(output), "--workers", "1"),
        *("--weights-dir", str(weights_dir), "--models", "first", "--draws", "100"),
        *("--variants", *variants, *more, "--", *flags),
    ]


def read_csv(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def scores_in(path):
    return {row["filename"]: float(row["label"]) for row in read_csv(path)}


@pytest.fixture(scope="module")
def finished(folder, labels, weights_dir, tmp_path_factory):
    """A run to its end."""
    output = tmp_path_factory.mktemp("finished") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "executable", str(processes.python()))
        assert robustness.main(arguments(folder, labels, weights_dir, output)) == 0
    return output


# the whole of it


def test_identity_scores_as_the_files_do_and_differs_by_0(finished, folder, weights_dir, tmp_path):
    output = tmp_path / "s.csv"
    args = ["--test-dir", str(folder), "--weights-dir", str(weights_dir), "--models", "first", "--output", str(output)]
    assert predict_folder.main([*args, *FLAGS]) == 0
    assert (finished / IDENTITY / "submission.csv").read_bytes() == output.read_bytes()
    told = json.loads((finished / "robustness.json").read_text())["variants"][IDENTITY]
    differences = told["differences"]
    there = [each for each in differences.values() if each["value"] is not None]
    assert len(there) > 8 and all(each["value"] == 0 == each["low"] == each["high"] for each in there)
    assert told["mean_absolute_change"] == 0 and told["verdicts_changed"] == [] and told["faces_share"] == 1


def test_a_variant_that_is_a_link(folder, labels, weights_dir, tmp_path, capsys):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / IDENTITY).symlink_to(tmp_path / "elsewhere")
    assert robustness.main(arguments(folder, labels, weights_dir, tmp_path / "out")) == 1
    assert f"{IDENTITY}: is a link" in capsys.readouterr().err
    assert not any((tmp_path / "elsewhere").iterdir())


def test_figures_are_those_of_the_predictions(finished):
    rows = {row["variant"]: row for row in read_csv(finished / "robustness.csv")}
    assert list(rows) == [IDENTITY, "crf40"]
    truth = [1, 1, 0, 0]  # fake1, fake2, real1, real2
    before, after = (list(scores_in(finished / name / "submission.csv").values()) for name in (IDENTITY, "crf40"))
    assert before != after
    row = rows["crf40"]
    assert float(row["roc_auc"]) == pytest.approx(roc_auc_score(truth, after))
    losses = [log_loss(truth, np.clip(each, 1e-15, 1 - 1e-15)) for each in (before, after)]
    assert float(row["log_loss"]) == pytest.approx(losses[1])
    change = losses[1] - losses[0]
    assert float(row["log_loss_change"]) == pytest.approx(change) and change != 0
    assert float(row["log_loss_change_low"]) <= change <= float(row["log_loss_change_high"])
    mean = sum(abs(one - two) for one, two in zip(before, after, strict=True)) / 4
    assert float(row["mean_absolute_change"]) == pytest.approx(mean)
    assert row["tpr_at_fpr_0.05"] == ""  # a false positive rate of that takes 20 real videos
    assert row["videos"] == "4" and row["fake"] == "2" and row["not_encoded"] == row["unreadable"] == "0"


def test_what_is_left_of_a_variant(finished):
    left = {path.name for path in (finished / "crf40").iterdir()}
    assert left >= {"submission.csv", "submission.summary.json", "faces.csv"} and "videos" not in left
    document = (finished / "robustness.html").read_text()
    assert "data:image/png" in document and "crf40" in document and "<script" not in document


def test_a_finished_run_makes_nothing(finished, folder, labels, weights_dir, monkeypatch):
    before = [(finished / name).read_bytes() for name in TABLES]
    monkeypatch.setattr(robustness_runs, "predict", lambda *_: pytest.fail("all is predicted"))
    monkeypatch.setattr(robustness_runs, "make_videos", lambda *_: pytest.fail("all is made"))
    assert robustness.main(arguments(folder, labels, weights_dir, finished)) == 0
    assert [(finished / name).read_bytes() for name in TABLES] == before


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["made", "predicting", "scored"])
def test_killed_and_started_again(folder, labels, weights_dir, finished, tmp_path, moment):
    output = tmp_path / "out"
    command = [sys.executable, str(ROOT / "robustness.py"), *arguments(folder, labels, weights_dir, output)]
    process = processes.Popen(command, stdout=processes.DEVNULL, stderr=processes.DEVNULL)
    journal = output / "robustness.jsonl"
    deadline = time.time() + 200
    while time.time() < deadline and process.poll() is None:
        told = journal.read_text() if journal.exists() else ""
        if moment == "made" and '{"made": "crf40"' in told:
            break
        if moment == "predicting" and any(path.stat().st_size for path in output.glob("crf40/*.jsonl")):
            break
        if moment == "scored" and '{"scored": "crf40"' in told:
            break
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -signal.SIGKILL and not (output / "robustness.csv").exists()
    again = processes.run(command, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert [(output / name).read_bytes() for name in TABLES] == [(finished / name).read_bytes() for name in TABLES]


# with a prediction that takes no time


@pytest.fixture
def predicted(monkeypatch):
    """The folders that were predicted. The scores are the share of a file's bytes above 127; `few` has no face."""
    folders = []

    def predict(command, summary):
        flags = dict(itertools.pairwise(command))
        videos = sorted(Path(flags["--test-dir"]).iterdir())
        folders.append([path.name for path in videos])
        lines, faces = ["filename,label"], ["video,frame,face"]
        for path in videos:
            data = path.read_bytes()
            lines.append(f"{path.name},{sum(byte > 127 for byte in data) / len(data)}")
            faces.append(f"{path.name},0,0")
        Path(flags["--output"]).write_text("\n".join([*lines, ""]))
        Path(flags["--faces-csv"]).write_text("\n".join([*faces, ""]))
        summary.write_text(json.dumps({"unreadable": {}, "failed": {}}))
        return 0

    monkeypatch.setattr(robustness_runs, "predict", predict)
    return folders


@pytest.fixture
def run(folder, labels, weights_dir, tmp_path):
    """Runs it on a copy of the videos, `run.folder`, without processes, and returns the exit code."""

    def go(*more, **others):
        return robustness.main(arguments(go.folder, labels, weights_dir, go.output, *more, **others))

    go.folder, go.output = tmp_path / "videos", tmp_path / "out"
    shutil.copytree(folder, go.folder)
    return go


@pytest.fixture
def encoded(monkeypatch):
    """The videos that were encoded, in this process."""
    names = []

    def make(todo, workers):
        for task in todo:
            names.append(task.output.name)
            yield robustness_making._make(task)

    monkeypatch.setattr(robustness_making, "_in_processes", make)
    return names


def test_a_damaged_video_is_named_and_the_others_go_on(run, predicted, encoded, capsys):
    path = run.folder / "fake2.mp4"
    path.write_bytes(path.read_bytes()[:1000])
    assert run(variants=("crf40", "flip")) == 1
    good = ["fake1.mp4", "real1.mp4", "real2.mp4"]
    assert predicted == [["fake1.mp4", "fake2.mp4", "real1.mp4", "real2.mp4"], good, good]
    out, err = capsys.readouterr()
    assert re.search(r"  crf40: fake2.mp4: can't be encoded again: \S", out) and "  flip: fake2.mp4: can't be" in out
    assert "error: 2 videos of variants can't be encoded or read" in err and "Traceback" not in err
    told = json.loads((run.output / "robustness.json").read_text())["variants"]
    assert list(told["crf40"]["not_encoded"]) == ["fake2.mp4"] and told["crf40"]["videos"] == 3
    assert "fake2.mp4: can" in (run.output / "robustness.html").read_text()
    # it is tried again, and nothing else is
    encoded.clear()
    assert run(variants=("crf40", "flip")) == 1 and len(predicted) == 3
    assert encoded == ["fake2.mp4", "fake2.mp4"]
    # mended, it is scored beside the others
    shutil.copy(run.folder / "fake1.mp4", path)
    assert run() == 0 and len(predicted) == 5 and len(predicted[-1]) == 4
    told = json.loads((run.output / "robustness.json").read_text())["variants"]
    assert told["crf40"]["videos"] == 4 and told["crf40"]["not_encoded"] == {}
    # damaged again, its score of before does not count
    path.write_bytes(path.read_bytes()[:1000])
    assert run() == 1 and len(predicted) == 6
    told = json.loads((run.output / "robustness.json").read_text())["variants"]
    assert told[IDENTITY]["videos"] == 4 and told["crf40"]["videos"] == 3


def test_changed_and_new_videos_and_settings_are_done_again(run, predicted, encoded):
    assert run("--keep") == 0 and len(predicted) == 2 and len(encoded) == 4
    assert len(list((run.output / "crf40" / "videos").iterdir())) == 4
    shutil.copy(run.folder / "real1.mp4", run.folder / "real2.mp4")
    assert run("--keep") == 0 and len(predicted) == 4 and encoded[4:] == ["real2.mp4"]  # the others were kept
    (run.output / "crf40" / "faces.csv").unlink()
    assert run() == 0 and len(predicted) == 5 and len(encoded) == 5
    assert not (run.output / "crf40" / "videos").exists()
    assert run("--draws", "101") == 0 and len(predicted) == 5  # which the predictions don't depend on


def test_what_a_killed_process_left_is_not_scored(run, predicted, encoded, monkeypatch):
    calls = []

    def stop(*_):
        calls.append(1)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(robustness_runs, "predict", stop)
        assert run() == 130
    videos = run.output / IDENTITY / "videos"
    (videos / ".1234.tmp").touch()
    (videos / ".half").mkdir()
    (videos / "gone.mp4").touch()
    assert run() == 0 and len(predicted[0]) == 4


def test_a_prediction_without_results_ends_it(run, encoded, capfd, monkeypatch):
    monkeypatch.setattr(sys, "executable", str(processes.python()))
    assert run(flags=["--no-such-flag"]) == 1
    err = capfd.readouterr().err
    assert "unrecognized arguments: --no-such-flag" in err
    assert "error: predict_folder.py ended with exit code 2 and wrote no results; see what it said above" in err


# bad input


def test_an_encoder_that_is_not_there(run, predicted, monkeypatch, capsys):
    monkeypatch.setattr(robustness, "has_encoder", lambda codec: codec != "libx265")
    assert run(variants=["hevc"]) == 1
    assert "error: hevc: FFmpeg has no encoder libx265 here: left out\n" in capsys.readouterr().err
    assert [row["variant"] for row in read_csv(run.output / "robustness.csv")] == [IDENTITY]
    with pytest.raises(SystemExit) as left:
        robustness.main(["--list"])
    out = capsys.readouterr().out
    assert left.value.code == 0 and len(out.splitlines()) == len(VARIANTS)
    assert re.search(r"^hevc +HEVC, CRF 28 \(not here: FFmpeg has no libx265\)$", out, re.MULTILINE)


def test_a_variant_of_which_no_video_can_be_made(run, predicted, encoded, capsys):
    for path in run.folder.iterdir():
        path.write_bytes(b"I am no video" * 99)
    assert run() == 1 and len(predicted) == 1
    (_, row) = read_csv(run.output / "robustness.csv")
    assert row["videos"] == "0" and row["not_encoded"] == "4" and row["roc_auc"] == row["mean_absolute_change"] == ""
    assert "error: 4 videos of variants can't be encoded or read" in capsys.readouterr().err


def test_videos_without_a_label_are_named(run, predicted, encoded, capsys):
    shutil.copy(run.folder / "real1.mp4", run.folder / "other.mp4")
    (run.folder / "fake2.mp4").unlink()
    assert run() == 1
    out, err = capsys.readouterr()
    assert "  no label, left out: other.mp4\n" in out and "  1 labels are of videos that are not in --test-dir\n" in out
    assert "error: 1 videos have no label and are left out; check --labels" in err
    assert predicted[0] == ["fake1.mp4", "real1.mp4", "real2.mp4"]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (["a.mp4,0"], "not one of its 1 videos is among the 4 of --test-dir"),
        (["real1.mp4,0", "real2.mp4,REAL"], "all 2 videos of --test-dir .* are real: .*; add fake ones"),
        (["fake1.mp4,1"], "all 1 videos of --test-dir .* are fake: .*; add real ones"),
        (["real1.mp4,2"], "label '2' of real1.mp4 must be 0, 1, REAL or FAKE"),
    ],
)
def test_bad_labels(run, labels, tmp_path, capsys, rows, said):
    path = tmp_path / "labels.csv"
    path.write_text("\n".join(["filename,label", *rows]))
    assert run("--labels", str(path)) == 1
    err = capsys.readouterr().err
    assert re.fullmatch(f"error: --labels .*{said}.*\n", err) and not run.output.exists()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--output", "x.csv"], "--output after --: is set for each variant here; leave it out"),
        (["--rep=x.html"], "--rep after --: is set for each variant here; leave it out"),
        (["--weights-d", "x"], "--weights-d after --: is set"),
    ],
)
def test_flags_that_cant_be_passed_on(run, capsys, flags, said):
    assert run(flags=flags) == 1 and said in capsys.readouterr().err


def test_what_is_in_the_way(run, predicted, encoded, labels, capsys):
    assert run("--weights-dir", str(run.folder)) == 1
    assert re.search("error: --weights-dir .*: no checkpoint first; name those", capsys.readouterr().err)
    mine = run.output / "crf40" / "videos" / "mine.mp4"
    mine.parent.mkdir(parents=True)
    mine.touch()
    assert run() == 1 and mine.exists()
    assert re.search("error: --output-dir .*videos is there, and no run has made it; move", capsys.readouterr().err)
    (run.output / "robustness.jsonl").write_text('{"made": "crf40"}\n')
    assert run() == 1 and "line 1 is damaged; delete the file to start anew" in capsys.readouterr().err
    inside = run.folder / "robustness.csv"
    shutil.copy(labels, inside)
    args = arguments(run.folder, inside, "", run.folder)
    args[args.index("--weights-dir") + 1] = str(run.folder)
    (run.folder / "first").touch()
    assert robustness.main(args) == 1
    assert "is an input" in capsys.readouterr().err and inside.read_bytes() == labels.read_bytes()


# the table


def told(scores, faces, **others):
    names = [f"{name}.mp4" for name in "abcdef"]
    kept = {name: score for name, score in zip(names, scores, strict=True) if score is not None}
    counts = dict(zip(names, faces, strict=True))
    return VariantScores(scores=kept, faces=counts, **{"unreadable": {}, "not_encoded": {}, **others})


@pytest.fixture
def table():
    truth = {f"{name}.mp4": Truth(is_fake=name in "abc", original="d" if name in "abc" else None) for name in "abcdef"}
    before = told([0.9, 0.8, 0.7, 0.3, 0.2, 0.1], [4, 4, 4, 4, 4, 0])
    after = told(
        [0.6, 0.2, 0.5, 0.7, 0.2, None],
        [4, 2, 0, 3, 4, 0],
        unreadable={"c.mp4": "is <b>empty</b>"},
        not_encoded={"f.mp4": "a traceback\nis cut\x1b[31m"},
    )
    variants = [VARIANTS[IDENTITY], VARIANTS["crf40"]]
    return table_of(variants, {IDENTITY: before, "crf40": after}, truth, by="original", draws=200, seed=0)


def test_a_row_worked_by_hand(table):
    identity, row = table.rows
    assert (identity.videos, identity.fake, row.videos, row.fake) == (6, 3, 5, 3)
    assert row.verdicts_changed == ["b.mp4", "c.mp4", "d.mp4"]  # 0.5 itself is on the side of the real ones
    assert row.mean_absolute_change == pytest.approx((0.3 + 0.6 + 0.2 + 0.4 + 0) / 5)
    assert row.faces_lost == ["c.mp4"] and row.faces_share == 13 / 20
    assert row.figures["roc_auc"].value == pytest.approx(2.5 / 6)  # of 6 pairs 0.6, 0.5 > 0.2 and 0.2 = 0.2
    assert row.differences["roc_auc"].value == pytest.approx(2.5 / 6 - 1)
    assert row.differences["accuracy"].value == pytest.approx(2 / 5 - 1)
    assert table.clusters == 3 and any("only 3 clusters" in note for note in table.notes)


def test_no_interval_where_all_draws_give_the_same():
    truth = {f"{name}.mp4": Truth(is_fake=name in "abc") for name in "abcdef"}
    before, after = (told([high, high, high, 0.1, 0.2, 0.3], [1] * 6) for high in (0.9, 0.8))
    variants = [VARIANTS[IDENTITY], VARIANTS["crf40"]]
    table = table_of(variants, {IDENTITY: before, "crf40": after}, truth, by="original", draws=200, seed=0)
    first, second = (row.differences["roc_auc"] for row in table.rows)
    assert (first.value, first.low, first.high) == (0, 0, 0)
    assert (second.value, second.low, second.high) == (0, None, None)  # neither erred
    assert table.rows[1].differences["log_loss"].low > 0


def test_what_the_table_looks_like(table):
    lines = text_of(table).splitlines()
    assert lines[0].split() == ["ROC", "AUC", "value", "95", "%", "interval", "change", "95", "%", "interval"]
    assert lines[2].startswith("crf40") and " 0.4167 " in lines[2] and " -0.5833 " in lines[2]
    last = next(line for line in lines if line.startswith("crf40") and "65.0 %" in line)
    assert last.split() == ["crf40", "5", "1", "1", "1", "65.0", "%", "3", "0.3000"]
    assert list(failures(table)) == [
        r"crf40: f.mp4: can't be encoded again: is cut\x1b[31m",
        "crf40: c.mp4: can't be read by the prediction: is <b>empty</b>",
    ]


def test_the_page_shows_names_as_they_are_and_runs_nothing(table):
    document = page(table, {"Videos": "<script>alert(1)</script>"})
    assert "&lt;script&gt;" in document and "<script" not in document and "is &lt;b&gt;empty" in document
    assert document.count("data:image/png;base64,") == 5 and "$" not in document.partition("</style>")[2]
    assert "default-src 'none'" in document


def test_the_json_is_one(table):
    content = json.loads(json.dumps(as_json(table), allow_nan=False))
    assert content["variants"]["crf40"]["faces_share"] == 13 / 20 and content["clusters"] == 3
    assert content["variants"]["crf40"]["figures"]["roc_auc"]["value"] == pytest.approx(2.5 / 6)
