"""A submission against the truth: figures worked by hand, groups, and input that makes no sense."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import evaluate
from evaluation.submissions import read_submission

SCORES = {"a.mp4": 0.75, "b.mp4": 0.25, "c.mp4": 0.5, "d.mp4": 0.25}
TRUTH = {"a.mp4": 1, "b.mp4": 1, "c.mp4": 0, "d.mp4": 0}
LOSSES = {"a.mp4": math.log(4 / 3), "b.mp4": math.log(4), "c.mp4": math.log(2), "d.mp4": math.log(4 / 3)}
LOG_LOSS = sum(LOSSES.values()) / 4
FIGURES = {  # a beats both; b loses to c and equals d: 2.5 of 4 pairs. AP: 1/2 * 1 at a, 1/2 * 2/4 at b and d
    "videos": 4,
    "fake": 2,
    "real": 2,
    "log_loss": pytest.approx(LOG_LOSS),
    "roc_auc": 0.625,
    "average_precision": 0.75,
    "accuracy": 0.75,
}


def write_csv(path, rows, header="filename,label"):
    path.write_text("\n".join([header, *(f"{name},{label}" for name, label in dict(rows).items())]) + "\n")
    return path


def write_metadata(root, part, truth):
    (root / part).mkdir(parents=True)
    entries = {name: {"label": "FAKE" if label else "REAL", "split": "train"} for name, label in truth.items()}
    (root / part / "metadata.json").write_text(json.dumps(entries))
    return root / part / "metadata.json"


@pytest.fixture
def files(tmp_path):
    write_csv(tmp_path / "submission.csv", SCORES)
    write_csv(tmp_path / "labels.csv", TRUTH)
    return tmp_path


def run(folder, *flags, labels="labels.csv"):
    """Exit code and the JSON, None where there is none. Few draws, where not told otherwise."""
    labels = [str(folder / name) for name in ([labels] if isinstance(labels, str) else labels)]
    out = folder / "out.json"
    code = evaluate.main(
        [
            *("--submission", str(folder / "submission.csv"), "--json", str(out), "--draws", "100"),
            *flags,
            *("--labels", *labels),
        ]
    )
    return code, json.loads(out.read_text()) if out.exists() else None


def test_figures(files, capsys):
    code, result = run(files)
    assert code == 0 and {key: result[key] for key in FIGURES} == FIGURES
    assert [each["filename"] for each in result["worst"]] == ["b.mp4", "c.mp4", "a.mp4", "d.mp4"]
    assert result["worst"][0] == {"filename": "b.mp4", "label": 1, "score": 0.25, "loss": pytest.approx(math.log(4))}
    assert result["grouped_by"] is None and result["groups"] == {}
    assert result["without_label"] == result["without_prediction"] == []
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[1] == ["all", "4", "2", "2", f"{LOG_LOSS:.5f}", "0.62500", "0.75000", "0.75000"]
    assert lines[3] == ["worst", "4", "videos"] and lines[5] == ["FAKE", "0.25000", "1.38629", "b.mp4"]


@pytest.mark.parametrize(
    "values", [("0", "1"), ("REAL", "FAKE"), ("real", "Fake"), ("0.0", "1.0"), (" 0", "1 ")], ids=str
)
def test_labels_as_csv(files, values):
    write_csv(files / "labels.csv", {name: values[label] for name, label in TRUTH.items()})
    assert run(files)[1]["roc_auc"] == 0.625


def test_other_columns_and_line_ends(files):
    text = "\ufefffold,label, filename\r\n" + "".join(f"0,{TRUTH[name]},{name}\r\n\r\n" for name in TRUTH)
    (files / "labels.csv").write_text(text, encoding="utf-8", newline="")
    code, result = run(files)
    assert code == 0 and result["roc_auc"] == 0.625


def test_names_that_are_no_utf8(files):
    """As predict_folder.py writes them: bytes as they are."""
    for name in ("submission.csv", "labels.csv"):
        path = files / name
        path.write_bytes(path.read_bytes().replace(b"b.mp4", b'"\xff,\n.mp4"'))
    code, result = run(files)
    assert code == 0 and result["worst"][0]["filename"] == os.fsdecode(b"\xff,\n.mp4")


def test_data_root_gives_figures_of_parts(files, capsys):
    """Numbers in their order; a part of one label has no AUC."""
    write_metadata(files / "root", "part_10", {"a.mp4": 1, "d.mp4": 0})
    write_metadata(files / "root", "part_2", {"b.mp4": 1})
    write_metadata(files / "root", "part_3", {"c.mp4": 0})
    code, result = run(files, labels="root")
    assert code == 0 and {key: result[key] for key in FIGURES} == FIGURES
    assert result["grouped_by"] == "part" and list(result["groups"]) == ["part_2", "part_3", "part_10"]
    assert result["groups"]["part_10"] == {
        "videos": 2,
        "fake": 1,
        "real": 1,
        "log_loss": pytest.approx(math.log(4 / 3)),
        "roc_auc": 1.0,
        "average_precision": 1.0,
        "accuracy": 1.0,
    }
    assert result["groups"]["part_2"]["roc_auc"] is None and result["groups"]["part_3"]["average_precision"] is None
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[0][0] == "part" and lines[2] == ["part_2", "1", "1", "0", "1.38629", "n/a", "n/a", "0.00000"]


def test_metadata_files(files):
    labels = [
        write_metadata(files, "x", {"a.mp4": 1, "b.mp4": 1}),
        write_metadata(files, "y", {"c.mp4": 0, "d.mp4": 0}),
    ]
    code, result = run(files, labels=[str(path) for path in labels])
    assert code == 0 and result["roc_auc"] == 0.625 and list(result["groups"]) == ["x", "y"]


@pytest.mark.parametrize(
    "entry", [lambda fake: {"is_fake": fake, "augmentations": []}, lambda fake: {"is_fake": fake > 0}]
)
def test_the_test_release(files, entry):
    """With a byte order mark too."""
    content = json.dumps({name: entry(label) for name, label in TRUTH.items()})
    (files / "metadata.json").write_text(content, encoding="utf-8-sig")
    code, result = run(files, labels="metadata.json")
    assert code == 0 and {key: result[key] for key in FIGURES} == FIGURES


def test_labels_of_metadata_in_any_case(files):
    content = {name: {"label": ("real", "Fake")[label]} for name, label in TRUTH.items()}
    (files / "m.json").write_text(json.dumps(content))
    assert run(files, labels="m.json")[1]["roc_auc"] == 0.625


def test_folds_of_other_containers_and_held_back(files):
    names = {"a.mp4": "a.MOV", "b.mp4": "b.avi", "c.mp4": "c.mkv", "d.mp4": "d.mp4"}
    write_csv(files / "submission.csv", {names[name]: score for name, score in SCORES.items()})
    write_csv(files / "labels.csv", {names[name]: label for name, label in TRUTH.items()})
    lines = [f"{video},0_0.png,0,{video},0,{fold}" for video, fold in (("a", 0), ("b", -1), ("c", -1), ("d", 1))]
    (files / "folds.csv").write_text("\n".join(["video,file,label,original,frame,fold", *lines]), encoding="utf-8-sig")
    code, result = run(files, "--folds-csv", str(files / "folds.csv"))
    assert code == 0 and list(result["groups"]) == ["0", "1", "-1"] and result["groups"]["-1"]["videos"] == 2


def test_folds(files, capsys):
    """Ids are strings; a video without a fold is a group of its own."""
    rows = [("a", 0), ("a", 0), ("d", 0), ("c", 12)]
    lines = [f"{video},{i}_0.png,0,{video},{i},{fold}" for i, (video, fold) in enumerate(rows)]
    (files / "folds.csv").write_text("\n".join(["video,file,label,original,frame,fold", *lines]) + "\n")
    code, result = run(files, "--folds-csv", str(files / "folds.csv"))
    assert code == 0 and result["grouped_by"] == "fold" and list(result["groups"]) == ["0", "12", "none"]
    assert [group["videos"] for group in result["groups"].values()] == [2, 1, 1]
    (files / "folds.csv").write_text("\n".join(["video,file,label,original,frame,fold", *lines, "a,1.png,0,a,9,3"]))
    assert run(files, "--folds-csv", str(files / "folds.csv"))[0] == 1
    assert "folds.csv: video a is in several folds" in capsys.readouterr().err


def test_videos_in_one_of_the_two_only(files, capsys):
    """The figures are of the others; twenty names are shown."""
    write_csv(files / "submission.csv", {**SCORES, **{f"{i:03}.mp4": 0.5 for i in range(25)}})
    write_csv(files / "labels.csv", {**TRUTH, "z.mp4": 1})
    code, result = run(files)
    out, err = capsys.readouterr()
    assert code == 1 and {key: result[key] for key in FIGURES} == FIGURES
    assert result["without_label"] == [f"{i:03}.mp4" for i in range(25)] and result["without_prediction"] == ["z.mp4"]
    assert "no label, left out: 019.mp4" in out and "020.mp4" not in out and "no label, left out: 5 more" in out
    assert "no prediction, left out: z.mp4" in out
    assert err == (
        "error: the figures leave out videos: 25 with no label, 1 with no prediction; check --submission and --labels\n"
    )


def test_no_common_video(files, capsys):
    write_csv(files / "labels.csv", {"a": 1, "b": 0})
    code, result = run(files)
    assert code == 1 and result is None
    assert "not one of its 2 videos is among the 4 of --submission" in capsys.readouterr().err


@pytest.mark.parametrize("label", [0, 1])
def test_one_label_only(files, capsys, label):
    write_csv(files / "labels.csv", dict.fromkeys(SCORES, label))
    code, result = run(files)
    assert code == 0 and result["roc_auc"] is None and result["average_precision"] is None
    assert capsys.readouterr().out.splitlines()[1].split()[5:7] == ["n/a", "n/a"]


def test_scores_of_0_and_1(files):
    write_csv(files / "submission.csv", {"a.mp4": 0, "b.mp4": 1, "c.mp4": 0, "d.mp4": 0})
    assert run(files)[1]["log_loss"] == pytest.approx(15 * math.log(10) / 4, rel=1e-9)


def test_at_most_twenty_worst(files):
    names = [f"{i:02}.mp4" for i in range(30)]
    write_csv(files / "submission.csv", {name: i / 100 for i, name in enumerate(names)})
    write_csv(files / "labels.csv", dict.fromkeys(names, 1))
    assert [each["filename"] for each in run(files)[1]["worst"]] == names[:20]


@pytest.mark.parametrize(
    "name, text, message",
    [
        ("submission.csv", "filename,score\na.mp4,1\n", "has no column label; its first line must name them"),
        ("submission.csv", "a.mp4,1\n", "has no column filename, label"),
        ("submission.csv", "", "has no column filename, label"),
        ("submission.csv", "filename,label\n", "has no rows"),
        (
            "submission.csv",
            "filename;label\na.mp4;1\n",
            "has semicolons between its cells; write commas, and",
        ),
        ("submission.csv", "filename\tlabel\na.mp4\t1\n", "has tabs between its cells; write commas"),
        ("submission.csv", "filename,label,label\na.mp4,1,0\n", "has the column label twice; leave one out"),
        ("submission.csv", "filename,label\na.mp4,0,93\n", "line 2: has more cells than the first line names; mend it"),
        ("labels.csv", "filename,label\na.mp4,0,9\n", "line 2: has more cells than the first line names; mend it"),
        ("submission.csv", "filename,label\na.mp4,high\n", "line 2: label 'high' of a.mp4 is not a number"),
        ("submission.csv", "filename,label\na.mp4,\n", "line 2: label '' of a.mp4 is not a number"),
        ("submission.csv", "filename,label\na.mp4,nan\n", "line 2: label 'nan' of a.mp4 is not from 0 to 1"),
        ("submission.csv", "filename,label\na.mp4,1.01\n", "line 2: label '1.01' of a.mp4 is not from 0 to 1"),
        ("submission.csv", "filename,label\na.mp4,-0.1\n", "line 2: label '-0.1' of a.mp4 is not from 0 to 1"),
        ("submission.csv", "filename,label\na.mp4,0\nb.mp4,0\na.mp4,1\n", "line 4: a.mp4 is there twice"),
        ("submission.csv", "filename,label\na.mp4\n", "line 2: has no filename and label"),
        ("submission.csv", "filename,label\n,1\n", "line 2: has no filename and label"),
        ("submission.csv", "filename,label\n" + "a" * 200_000 + ",1\n", "is no CSV (field larger"),
        ("labels.csv", "filename,label\na.mp4,0.5\n", "line 2: label '0.5' of a.mp4 must be 0, 1, REAL or FAKE"),
        ("labels.csv", "filename,label\na.mp4,nan\n", "line 2: label 'nan' of a.mp4 must be"),
        ("labels.csv", "filename,label\na.mp4,0\na.mp4,1\n", "line 3: a.mp4 is there twice"),
        ("m.json", "{", "m.json: is no JSON"),
        ("m.json", "[1]", "m.json: must be an object with an entry for each video"),
        ("m.json", "{}", "m.json: must be an object with an entry for each video"),
        ("m.json", '{"a.mp4": {"label": "fakee"}}', "m.json: a.mp4: label 'fakee' must be REAL or FAKE"),
        ("m.json", '{"a.mp4": {"label": ["FAKE"]}}', "m.json: a.mp4: label ['FAKE'] must be REAL or FAKE"),
        ("m.json", '{"a.mp4": {}}', "m.json: a.mp4: label None must be REAL or FAKE"),
        ("m.json", '{"a.mp4": "FAKE"}', 'm.json: a.mp4: must be an object such as {"label": "REAL"}'),
        ("m.json", '{"a.mp4": {"is_fake": 2}}', "m.json: a.mp4: is_fake 2 must be 0 or 1"),
        ("m.json", '{"a.mp4": {"is_fake": 1, "label": "REAL"}}', "m.json: a.mp4: label REAL and is_fake 1 contradict"),
        (
            "m.json",
            '{"a.mp4": {}, "a.mp4": {"is_fake": 1}}',
            'm.json: a.mp4: the key "a.mp4" is there twice; leave one',
        ),
        ("m.json", '{"a.mp4": {"is_fake": 0, "is_fake": 1}}', 'm.json: a.mp4: the key "is_fake" is there twice'),
    ],
)
def test_bad_input(files, capsys, name, text, message):
    (files / name).write_text(text)
    code, result = run(files, labels="m.json" if name == "m.json" else "labels.csv")
    err = capsys.readouterr().err
    assert code == 1 and result is None
    assert err.startswith("error: ") and message in err and name in err and err.count("\n") == 1


def test_missing_files(files, capsys):
    for flags, labels in (([], "gone.csv"), ([], "gone.json"), (["--folds-csv", str(files / "gone")], "labels.csv")):
        assert run(files, *flags, labels=labels) == (1, None)
        assert "gone" in (err := capsys.readouterr().err) and "; " in err and err.count("\n") == 1
    (files / "empty").mkdir()
    assert run(files, labels="empty") == (1, None)
    assert "empty: no folder in it has a metadata.json; name a data root" in capsys.readouterr().err
    (files / "submission.csv").unlink()
    assert run(files) == (1, None)
    assert "submission.csv: can't be read (No such file or directory)" in capsys.readouterr().err


def test_the_same_video_in_two_parts(files, capsys):
    for part in ("p", "q"):
        write_metadata(files / "root", part, TRUTH)
    assert run(files, labels="root") == (1, None)
    assert "q/metadata.json: a.mp4 is there twice" in capsys.readouterr().err


def test_json_that_cannot_be_written(files, capsys):
    assert run(files, "--json", str(files / "labels.csv"))[0] == 1
    assert "labels.csv: is an input; choose another place" in capsys.readouterr().err
    assert run(files, "--json", str(files / "labels.csv" / "x.json"))[0] == 1
    assert "x.json: can't be written (Not a directory); choose another place" in capsys.readouterr().err
    assert run(files, "--json", str(files / "same"), "--plots", str(files / "same"))[0] == 1
    assert "same: is written by --json too; choose another place" in capsys.readouterr().err
    plots = files / "plots"
    assert run(files, "--json", str(plots / "index.html"), "--plots", str(plots))[0] == 1
    assert "plots/index.html: is written by --json too; choose another place" in capsys.readouterr().err
    assert run(files, "--json", str(files / "new" / "x.json"))[0] == 0 and (files / "new" / "x.json").exists()


def test_a_page_that_is_there(files, capsys):
    """Its own is replaced; somebody's, and calibrate.py's, are not."""
    plots = files / "plots"
    for _ in range(2):
        assert run(files, "--plots", str(plots))[0] == 0
    page = (plots / "index.html").read_text()
    assert '<meta name="generator" content="evaluate.py">' in page
    for others in ("a site", page.replace("evaluate.py", "calibrate.py")):
        (plots / "index.html").write_text(others)
        assert run(files, "--plots", str(plots))[0] == 1
        told = "plots/index.html: is there already, and not evaluate.py's; name another folder"
        assert told in capsys.readouterr().err and (plots / "index.html").read_text() == others


def test_a_submission_in_utf_16(files, capsys):
    (files / "submission.csv").write_bytes("filename,label\na.mp4,1\n".encode("utf-16"))
    assert run(files)[0] == 1
    assert "submission.csv: is no text in UTF-8; save it as that" in capsys.readouterr().err


def test_trailing_commas_and_columns_without_a_name(files):
    """As spreadsheets write them."""
    rows = "".join(f"{name},{score},,\n" for name, score in SCORES.items())
    (files / "submission.csv").write_text(f"filename,label,,\n{rows}")
    assert run(files)[0] == 0


def test_a_first_line_of_many_columns(files):
    """Which takes time with its length: a search for each column would take an hour."""
    names = ",".join(f"c{number}" for number in range(300_000))
    rows = "".join(f"{name},{score}\n" for name, score in SCORES.items())
    (files / "submission.csv").write_text(f"filename,label,{names}\n{rows}")
    assert read_submission(str(files / "submission.csv")) == SCORES


def test_as_a_script(files):
    """From another folder, and without PyTorch, which takes seconds to load."""
    script = Path(evaluate.__file__)
    paths = ["--submission", str(files / "submission.csv"), "--labels", str(files / "labels.csv")]
    code = (
        "import sys, runpy\n"
        f"sys.argv = {[str(script), *paths]!r}\n"
        f"sys.path[0] = {str(script.parent)!r}\n"
        "try:\n    runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "except SystemExit as stop:\n    assert stop.code == 0\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd="/", capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "0.62500" in done.stdout


def test_a_part_that_is_called_none(files):
    """Beside videos that are in no part."""
    write_metadata(files, "none", {"a.mp4": 1, "c.mp4": 0})
    write_csv(files / "labels.csv", {"b.mp4": 1, "d.mp4": 0})
    code, result = run(files, labels=["none/metadata.json", "labels.csv"])
    assert code == 0 and {name: group["videos"] for name, group in result["groups"].items()} == {"none": 2, "(none)": 2}
    assert result["groups"]["none"]["log_loss"] == pytest.approx((LOSSES["a.mp4"] + LOSSES["c.mp4"]) / 2)


# intervals, coverage, comparisons, groups


def write_table(path, header, rows):
    path.write_text("\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n", encoding="utf-8")


@pytest.fixture
def originals(tmp_path):
    """40 originals, each with two fakes, one by each method; people of two groups; three videos without a face."""
    draw = np.random.default_rng(0)
    labels, scores = [], []
    for number in range(40):
        hardness, group = draw.normal(), "ab"[number % 2]
        for fake, name in enumerate((f"r{number}.mp4", f"f{number}.mp4", f"g{number}.mp4")):
            original = f"r{number}.mp4" if fake else ""
            labels.append((name, min(fake, 1), original, ("", "swap", "lips")[fake], group))
            logit = (1.5 if fake else -1.5) + hardness + draw.normal()
            scores.append((name, 0.5 if number == 3 else round(1 / (1 + math.exp(-logit)), 4)))
    write_table(tmp_path / "labels.csv", "filename,label,original,method,people", labels)
    write_table(tmp_path / "submission.csv", "filename,label", scores)
    return tmp_path


def test_new_keys_stand_beside_the_old_ones(originals):
    code, result = run(originals)
    assert code == 0
    names = ("log_loss", "roc_auc", "average_precision", "accuracy", "eer", "partial_auc", "brier", "ece", "coverage")
    for name in (*names, "true_positive_rate", "false_positive_rate"):
        low, high = result["intervals"][name]
        assert 0 <= low <= result[name] <= high, name
    assert list(result["tpr_at_fpr"]) == ["0.001", "0.01", "0.05", "0.1"]
    assert result["tpr_at_fpr"]["0.001"] == result["tpr_at_fpr"]["0.01"] == dict.fromkeys(("value", "low", "high"))
    tenth = result["tpr_at_fpr"]["0.1"]
    assert 0 < tenth["low"] <= tenth["value"] <= tenth["high"] < 1
    assert result["clusters"] == {"by": "original", "count": 40, "untold": []}
    assert (result["draws"], result["seed"], result["partial_auc_max_fpr"]) == (100, 0, 0.1)
    assert result["compare"] is None and result["by"] == {}
    assert "too few videos for 0.1 %" in result["notes"][0]


def test_what_is_drawn_together_matters(originals, capsys):
    """By video the two fakes of an original are twice the evidence, and its interval is narrower."""
    widths = {}
    for by in ("original", "video"):
        result = run(originals, "--cluster", by, "--draws", "400")[1]
        low, high = result["intervals"]["true_positive_rate"]
        widths[by] = high - low
        assert result["clusters"]["count"] == {"original": 40, "video": 120}[by]
    assert widths["original"] > 1.05 * widths["video"]
    assert "400 draws of 40 clusters of 120 videos, by original" in capsys.readouterr().out


def test_the_same_seed_gives_the_same_intervals(originals):
    first, again, other = (run(originals, "--seed", seed)[1]["intervals"] for seed in ("0", "0", "1"))
    assert first == again != other


def test_coverage(originals, capsys):
    """Three videos of 120 have no score; the figures are told without them too."""
    result = run(originals)[1]
    assert result["coverage"] == pytest.approx(117 / 120)
    covered = result["covered"]
    assert (covered["videos"], covered["fake"], covered["real"]) == (117, 78, 39)
    assert covered["roc_auc"] > result["roc_auc"] and covered["log_loss"] < result["log_loss"]
    assert covered["intervals"].keys() == result["intervals"].keys() - {"coverage"}
    assert "without 3 at 0.5" in capsys.readouterr().out


@pytest.mark.parametrize("labels", ["labels.csv", "metadata.json"])
def test_originals_that_are_not_told(files, capsys, labels):
    """Half of the fakes; a CSV without the column tells of none."""
    if labels == "labels.csv":
        untold = ["a.mp4", "b.mp4"]
    else:
        truth = {name: {"label": "FAKE" if fake else "REAL", "original": None} for name, fake in TRUTH.items()}
        truth["a.mp4"]["original"] = "c.mp4"
        (files / labels).write_text(json.dumps(truth))
        untold = ["b.mp4"]
    code, result = run(files, labels=labels)
    assert code == 0 and result["clusters"]["untold"] == untold
    line = f"note: the labels don't tell the original of {len(untold)} of 4 videos, fakes (column original): each is a "
    assert line in (out := capsys.readouterr().out) and out.count("the labels don't tell") == 1
    assert "the labels don't tell" not in "".join(run(files, "--cluster", "video", labels=labels)[1]["notes"])


def test_identities(originals, capsys):
    """By a column, or else by names; who is not told is clustered by original."""
    text = (originals / "labels.csv").read_text().replace("people", "person", 1)
    (originals / "labels.csv").write_text(text)
    assert run(originals, "--cluster", "identity")[1]["clusters"] == {"by": "identity", "count": 2, "untold": []}
    (originals / "labels.csv").write_text(text.replace("person", "nobody", 1))
    assert run(originals, "--cluster", "identity")[1]["clusters"]["count"] == 40
    assert "the labels don't tell the people of 120 of 120 videos (column identity" in capsys.readouterr().out


def test_one_cluster(originals, capsys):
    text = (originals / "labels.csv").read_text().replace("people", "identity", 1).replace(",a\n", ",b\n")
    (originals / "labels.csv").write_text(text)
    code, result = run(originals, "--cluster", "identity")
    assert code == 0 and set(map(tuple, result["intervals"].values())) == {(None, None)} and result["eer"] is not None
    assert "note: all videos are one cluster: no intervals" in capsys.readouterr().out


@pytest.mark.parametrize("score", ["0.5", "0.7"])
def test_equal_scores(originals, capsys, score):
    text = (originals / "labels.csv").read_text().splitlines()[1:]
    write_table(originals / "submission.csv", "filename,label", [(line.split(",")[0], score) for line in text])
    code, result = run(originals)
    assert code == 0 and result["roc_auc"] == 0.5 and result["covered"] is None
    assert f"note: all scores are {score}: they tell nothing of a video" in capsys.readouterr().out


@pytest.mark.parametrize("label", [0, 1])
def test_one_label_only_is_said(files, capsys, label):
    write_csv(files / "labels.csv", dict.fromkeys(SCORES, label))
    code, result = run(files, "--plots", str(files / "plots"))
    assert code == 0 and result["eer"] is None and result["intervals"]["eer"] == [None, None]
    assert f"note: all 4 videos are {('real', 'fake')[label]}: no figure that" in capsys.readouterr().out
    names = {path.name for path in (files / "plots").iterdir()}
    assert names == {"reliability.png", "histogram.png", "index.html"}


def test_compare(originals, capsys):
    """Of the videos that both have; those that the second lacks are named, and the exit code says so."""
    lines = (originals / "submission.csv").read_text().splitlines()
    (originals / "b.csv").write_text("\n".join(lines))
    code, result = run(originals, "--compare", str(originals / "b.csv"))
    assert code == 0 and result["compare"]["videos"] == 120
    assert result["compare"]["difference"]["log_loss"] == {"value": 0, "low": 0, "high": 0}
    (originals / "b.csv").write_text("\n".join([*lines[:-1], "other.mp4,0.5"]))
    code, result = run(originals, "--compare", str(originals / "b.csv"))
    out, err = capsys.readouterr()
    assert code == 1 and result["compare"]["videos"] == 119 and result["videos"] == 120
    assert "no prediction in --compare, left out: g39.mp4" in out
    assert err == (
        "error: the figures leave out videos: 1 with no prediction in --compare; check --submission and --labels and "
        "--compare\n"
    )


def test_by_columns_of_the_labels(originals, capsys):
    code, result = run(originals, "--by", "people", "--by", "method")
    assert code == 0 and list(result["by"]) == ["people", "method"]
    people, method = result["by"].values()
    assert {name: (each["videos"], each["with_all_real"]) for name, each in people["groups"].items()} == {
        "a": (60, False),
        "b": (60, False),
    }
    assert {name: (each["videos"], each["with_all_real"]) for name, each in method["groups"].items()} == {
        "swap": (80, True),
        "lips": (80, True),
    }
    assert people["groups"]["a"]["figures"]["roc_auc"].keys() == {"value", "low", "high"}
    gap = people["gaps"]["roc_auc"]
    assert {gap["best"], gap["worst"]} == {"a", "b"} and gap["low"] <= gap["value"] <= gap["high"]
    out = capsys.readouterr().out
    assert "gap by people" in out and "all 40" in out


def test_by_a_csv_and_by_metadata(originals, capsys):
    """With a byte order mark; videos that it does not name are told."""
    rows = [(f"{kind}{number}.mp4", "c23" if number < 20 else "c40") for kind in "rfg" for number in range(39)]
    write_table(originals / "groups.csv", "\ufefffilename,compression", rows)
    result = run(originals, "--by", "compression", "--by-csv", str(originals / "groups.csv"))[1]["by"]["compression"]
    assert list(result["groups"]) == ["c23", "c40"] and result["untold"] == ["r39.mp4", "f39.mp4", "g39.mp4"]
    assert (
        "note: 3 videos have no compression and are in no group: r39.mp4, f39.mp4, g39.mp4" in capsys.readouterr().out
    )
    truth = {
        name: {"label": "REAL" if name[0] == "r" else "FAKE", "original": None, "crf": 23, "nested": {}}
        for name, _ in rows
    }
    (originals / "metadata.json").write_text(json.dumps(truth))
    assert list(run(originals, "--by", "crf", labels="metadata.json")[1]["by"]["crf"]["groups"]) == ["23"]


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--by", "camera"], "--by camera: --labels has no such column of these videos; there is method, people"),
        (["--by-csv", "g.csv", "--by", "x"], "--by x: --by-csv has no such column of these videos; there is none"),
        (
            ["--by-csv", "many.csv", "--by", "n"],
            "--by n: the videos have 120 values of it, more than 100; name a column",
        ),
        (["--by-csv", "g.csv"], "--by-csv: give the column to group by with --by"),
        (["--by-csv", "twice.csv", "--by", "x"], "--by-csv twice.csv, line 3: a.mp4 is there twice; leave one out"),
        (["--by-csv", "none.csv", "--by", "x"], "--by-csv none.csv: has no column filename"),
        (["--by-csv", "gone.csv", "--by", "x"], "--by-csv gone.csv: can't be read (No such file or directory)"),
        (["--compare", "gone.csv"], "--compare gone.csv: can't be read (No such file or directory)"),
        (["--compare", "nan.csv"], "--compare nan.csv, line 2: label 'nan' of r0.mp4 is not from 0 to 1"),
        (["--compare", "twice.csv"], "--compare twice.csv, line 3: a.mp4 is there twice; leave one out"),
        (["--compare", "g.csv"], "--compare g.csv: has none of the 120 videos, such as r0.mp4; compare names"),
        (["--plots", "g.csv"], "--plots g.csv: can't be made (File exists); choose another place"),
        (["--plots", "g.csv/plots"], "--plots g.csv/plots: can't be made (Not a directory); choose another place"),
        (["--compare", "g.csv", "--plots", "g.csv"], "--plots g.csv: is an input; choose another place"),
    ],
)
def test_flags_that_make_no_sense(originals, capsys, monkeypatch, flags, message):
    monkeypatch.chdir(originals)
    write_table(originals / "g.csv", "filename,label", [("a.mp4", 0)])
    write_table(originals / "twice.csv", "filename,label,x", [("a.mp4", 0, 1), ("a.mp4", 0, 2)])
    names = [line.split(",")[0] for line in (originals / "labels.csv").read_text().splitlines()[1:]]
    write_table(originals / "many.csv", "filename,n", [(name, name) for name in names])
    write_table(originals / "none.csv", "name,x", [("a.mp4", 0)])
    write_table(originals / "nan.csv", "filename,label", [("r0.mp4", "nan")])
    assert run(originals, *flags)[0] == 1
    err = capsys.readouterr().err
    assert err.startswith("error: ") and message in err and err.count("\n") == 1


@pytest.mark.parametrize("flags", [["--draws", "99"], ["--draws", "x"], ["--seed", "-1"], ["--cluster", "person"]])
def test_numbers_that_make_no_sense(originals, capsys, flags):
    with pytest.raises(SystemExit, match="2"):
        run(originals, *flags)
    assert flags[0] in capsys.readouterr().err
