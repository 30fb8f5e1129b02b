"""calibrate.py: from submissions and labels to calibrations, columns and pages, and what it refuses in a line."""

import csv
import hashlib
import json
import os

import numpy as np
import pytest
from scipy.special import expit

import calibrate
from evaluation.origin import read_run
from evaluation.plot_folders import OF_RATIOS, written_to
from evaluation.submissions import read_submission
from inference.pipeline import FAILED, NO_FACE, OK, UNREADABLE, VideoResult
from inference.results import summarise, write_summary
from inference.results import write_submission as write_submission_csv

SETTINGS = {
    "format": 3,
    "system": "medics",
    "models": [["A", "0123456789abcdef"], ["B", "fedcba9876543210"]],
    "precision": "fp32",
}


def write_submission(folder, scores, no_face=(), unreadable=(), settings=SETTINGS, strategy="mean"):
    """As predict_folder.py leaves it, with its summary where there are settings."""
    folder.mkdir(exist_ok=True)
    rows = {**scores, **dict.fromkeys([*no_face, *unreadable], 0.5)}
    lines = ["filename,label", *(f"{name},{score}" for name, score in rows.items())]
    (folder / "s.csv").write_text("\n".join(lines) + "\n")
    if settings:
        summary = {
            "videos": len(rows),
            "scored": len(scores),
            "no_face": list(no_face),
            "unreadable": dict.fromkeys(unreadable, "can't be read"),
            "failed": {},
            "settings": settings,
            "strategy": strategy,
        }
        (folder / "s.summary.json").write_text(json.dumps(summary))
    return folder


def write_labels(folder, truth):
    """A fake's original is the real video of its number."""
    lines = [f"{name},{int(fake)},{f'r{name[1:]}' if fake else ''}" for name, fake in truth.items()]
    (folder / "l.csv").write_text("\n".join(["filename,label,original", *lines]) + "\n")
    return folder


def made_scores(originals=40, seed=0):
    """Two fakes' endings to an original: log-odds about -1.5 and 1.5."""
    draw = np.random.default_rng(seed)
    truth = {f"{kind}{i}.mp4": kind == "f" for i in range(originals) for kind in "rf"}
    return {name: float(expit(1.5 * (2 * fake - 1) + draw.normal())) for name, fake in truth.items()}, truth


@pytest.fixture
def files(tmp_path):
    scores, truth = made_scores()
    write_submission(tmp_path / "a", scores, no_face=["f90.mp4"], unreadable=["r91.mp4"])
    write_labels(tmp_path / "a", {**truth, "f90.mp4": True, "r91.mp4": False})
    return tmp_path


def fit(folder, *flags, of="a"):
    paths = ["--submission", str(folder / of / "s.csv"), "--labels", str(folder / of / "l.csv")]
    return calibrate.main(["fit", *paths, "--output", str(folder / "c.json"), "--draws", "100", *flags])


def apply(folder, of, *flags):
    """Exit code, and the rows by their first cell."""
    out = folder / "out.csv"
    paths = ["--calibration", str(folder / "c.json"), "--submission", str(folder / of / "s.csv"), "--output", str(out)]
    code = calibrate.main(["apply", *paths, *flags])
    if not out.exists():
        return code, None
    with open(out, errors="surrogateescape", newline="") as file:
        return code, {next(iter(row.values())): row for row in csv.DictReader(file)}


def report(folder, of, *flags):
    out = folder / "r.json"
    paths = ["--calibration", str(folder / "c.json"), "--submission", str(folder / of / "s.csv"), "--json", str(out)]
    code = calibrate.main(["report", *paths, "--labels", str(folder / of / "l.csv"), "--draws", "100", *flags])
    return code, json.loads(out.read_text()) if out.exists() else None


def error_of(capsys):
    err = capsys.readouterr().err
    assert err.startswith("error: ") and err.count("\n") == 1
    return err


def test_fit(files, capsys):
    assert fit(files) == 0
    made = json.loads((files / "c.json").read_text())
    assert made["origin"] == {
        "system": "medics",
        "models": [{"name": "A", "sha256": "0123456789abcdef"}, {"name": "B", "sha256": "fedcba9876543210"}],
        "strategy": "mean",
        "settings": {"format": 3, "precision": "fp32"},
    }
    data = made["data"]
    assert (data["videos"], data["fake"], data["real"], data["clusters"]) == (80, 40, 40, 40)
    assert data["left_out"] == {"no_face": 1, "unreadable": 1}
    assert data["labels"][0]["name"] == "l.csv" and len(data["labels"][0]["sha256"]) == 64
    assert made["calibrator"]["method"] == min(
        made["cross_validation"]["cllr"], key=made["cross_validation"]["cllr"].get
    )
    out = capsys.readouterr().out
    assert "no face found, left out: f90.mp4" in out and "unreadable, left out: r91.mp4" in out
    assert "40 fake and 40 real videos" in out and "100 draws of 40 clusters, by original" in out


def test_the_same_again(files):
    """But for the date."""
    assert fit(files) == 0
    first = json.loads((files / "c.json").read_text())
    assert fit(files) == 0
    assert {**json.loads((files / "c.json").read_text()), "date": first["date"]} == first


def test_a_method_that_was_asked_for(files):
    assert fit(files, "--method", "isotonic", "--folds", "3") == 0
    made = json.loads((files / "c.json").read_text())
    assert made["calibrator"]["method"] == "isotonic" and list(made["cross_validation"]["cllr"]) == ["isotonic"]
    assert made["cross_validation"]["folds"] == 3


def test_apply(files, capsys):
    """By the curve, within the bounds; marked outside of what was seen; none without a face or a file."""
    assert fit(files, "--method", "logistic") == 0
    made = json.loads((files / "c.json").read_text())
    lowest, highest = made["scores_seen"]
    scores = {"middle.mp4": 0.45, "half.mp4": 0.5, "low.mp4": lowest / 2, "high.mp4": highest, "top.mp4": 1.0}
    write_submission(files / "b", scores, no_face=["none.mp4"], unreadable=["broken.mp4"])
    capsys.readouterr()
    code, rows = apply(files, "b")
    assert code == 0 and list(rows) == [*scores, "none.mp4", "broken.mp4"]
    slope, intercept = made["calibrator"]["slope"], made["calibrator"]["intercept"]
    ratio = (slope * np.log(0.45 / 0.55) + intercept) / np.log(10)
    assert float(rows["middle.mp4"]["log10_lr"]) == pytest.approx(ratio, abs=1e-12)
    assert float(rows["half.mp4"]["log10_lr"]) == pytest.approx(intercept / np.log(10), abs=1e-12)
    assert [float(rows[name]["log10_lr"]) for name in ("low.mp4", "high.mp4", "top.mp4")] == [
        made["bounds"][end] for end in (0, 1, 1)
    ]
    notes = ["", "", "outside", "bound", "outside", "no_face", "unreadable"]
    assert [row["lr_note"] for row in rows.values()] == notes
    assert rows["none.mp4"]["log10_lr"] == rows["broken.mp4"]["log10_lr"] == "" and rows["none.mp4"]["label"] == "0.5"
    out = capsys.readouterr().out
    assert "7 videos, 5 with a likelihood ratio" in out and "no ratio, no face found: none.mp4" in out
    assert f"outside of the scores that were learned from, {lowest:g} to {highest:g}: low.mp4" in out


def test_apply_keeps_the_columns_and_the_names(files):
    """Commas, line ends and bytes that are no UTF-8, with a byte order mark; a line that lacks its last cells."""
    assert fit(files) == 0
    write_submission(files / "b", {"a.mp4": 0.25, "b.mp4": 0.75})
    name = b'"\xff,\n.mp4"'
    (files / "b" / "s.csv").write_bytes(
        b"\xef\xbb\xbflabel, filename,more\r\n0.25," + name + b",x\r\n\r\n0.75,b.mp4\r\n"
    )
    code, rows = apply(files, "b")
    assert code == 0 and list(rows["0.25"]) == ["label", " filename", "more", "log10_lr", "lr_note"]
    assert rows["0.25"][" filename"] == os.fsdecode(b"\xff,\n.mp4") and rows["0.25"]["more"] == "x"
    assert rows["0.75"][" filename"] == "b.mp4" and rows["0.75"]["more"] == ""
    assert float(rows["0.25"]["log10_lr"]) < 0 < float(rows["0.75"]["log10_lr"])


@pytest.mark.parametrize(
    "changes, message",
    [
        (
            {"settings": {**SETTINGS, "system": "ntechlab"}},
            "c.json: is for scores of system medics, these are ntechlab's",
        ),
        ({"settings": {**SETTINGS, "system": None}}, "is for scores of system medics, these are seferbekov's"),
        (
            {"settings": {**SETTINGS, "models": [["A", "0" * 16]]}},
            "c.json: is for scores of other models, A (01234567...)",
        ),
        ({"strategy": "person"}, "c.json: is for scores of strategy mean, these are of person"),
        ({"settings": None}, "nothing tells whose scores these are"),
    ],
    ids=["system", "default system", "models", "strategy", "unknown"],
)
def test_other_scores_are_refused(files, capsys, changes, message):
    assert fit(files) == 0
    scores, truth = made_scores(10, seed=1)
    write_labels(write_submission(files / "b", scores, **changes), truth)
    capsys.readouterr()
    assert apply(files, "b") == (1, None)
    assert message in error_of(capsys)
    assert report(files, "b") == (1, None)
    assert message in error_of(capsys)


def test_other_settings_are_told(files, capsys):
    assert fit(files) == 0
    write_submission(files / "b", {"a.mp4": 0.25}, settings={**SETTINGS, "precision": "bf16"})
    assert apply(files, "b")[0] == 0
    assert (
        "a setting of the run is other than the calibration's: precision is bf16, was fp32" in capsys.readouterr().out
    )


def test_scores_that_are_vouched_for(files, capsys):
    """The calibration says so, and is no calibration for anyone else's scores; 0.5 may be a score or none."""
    (files / "a" / "s.summary.json").unlink()
    assert fit(files) == 1
    assert "nothing tells whose scores these are" in error_of(capsys) and not (files / "c.json").exists()
    assert fit(files, "--trust") == 0
    assert json.loads((files / "c.json").read_text())["origin"] is None
    assert "a score of 0.5, of which no summary tells what it means, left out: f90.mp4" in capsys.readouterr().out
    write_submission(files / "b", {"a.mp4": 0.25, "half.mp4": 0.5})
    assert apply(files, "b") == (1, None)
    assert "was fitted without a record of whose scores they were" in error_of(capsys)
    code, rows = apply(files, "b", "--trust")
    assert code == 0 and rows["half.mp4"]["lr_note"] == ""
    (files / "b" / "s.summary.json").unlink()
    code, rows = apply(files, "b", "--trust")
    assert code == 0 and rows["half.mp4"] == {
        "filename": "half.mp4",
        "label": "0.5",
        "log10_lr": "",
        "lr_note": "unknown",
    }
    assert "nothing tells whether the calibration is for these scores" in capsys.readouterr().out


def test_trust_takes_no_scores_that_are_known_to_be_others(files, capsys):
    assert fit(files) == 0
    write_submission(files / "b", {"a.mp4": 0.25}, strategy="person")
    assert apply(files, "b", "--trust") == (1, None)
    assert "is for scores of strategy mean" in capsys.readouterr().err


def test_combined_scores(files, capsys):
    """They are of no one system; their own summary tells which 0.5 is none."""
    summary = {"videos": 82, "nothing_known": ["f90.mp4", "r91.mp4"], "how": "probability"}
    (files / "a" / "s.summary.json").write_text(json.dumps(summary))
    assert fit(files) == 1
    assert "s.summary.json is missing, or of combined scores); name by --summary" in error_of(capsys)
    assert fit(files, "--trust") == 0
    assert json.loads((files / "c.json").read_text())["data"]["left_out"] == {"unknown": 2}


def test_a_summary_by_name(files):
    (files / "a" / "s.summary.json").rename(files / "other.json")
    assert fit(files, "--summary", str(files / "other.json")) == 0
    assert json.loads((files / "c.json").read_text())["origin"]["system"] == "medics"


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda summary: {**summary, "videos": 7}, "is of another CSV than"),
        (lambda summary: {**summary, "no_face": ["r0.mp4"]}, "(r0.mp4 has no score there)"),
        (lambda summary: {**summary, "no_face": ["gone.mp4"]}, "(gone.mp4 has no score there)"),
        (lambda summary: {**summary, "settings": {}}, "is no summary of predict_folder.py, or damaged"),
        (
            lambda summary: {**summary, "settings": {"models": [["A", "short"]]}},
            "or damaged (sha256: String should match",
        ),
        (lambda summary: {**summary, "strategy": 1}, "or damaged (strategy: Input should be a valid string); predict"),
        (lambda summary: [], "is no summary of predict_folder.py, or damaged"),
    ],
)
def test_summaries_that_make_no_sense(files, capsys, change, message):
    path = files / "a" / "s.summary.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    assert fit(files) == 1
    err = error_of(capsys)
    assert message in err and "s.summary.json: is" in err and not (files / "c.json").exists()


def test_a_submission_that_was_changed_since(files, capsys):
    """Other scores of the same videos, where the summary says which CSV it belongs to."""
    submission, path = files / "a" / "s.csv", files / "a" / "s.summary.json"
    digest = hashlib.sha256(submission.read_bytes()).hexdigest()
    path.write_text(json.dumps({**json.loads(path.read_text()), "sha256": digest}))
    assert fit(files) == 0
    lines = submission.read_text().replace("r3.mp4,", "r3.mp4,0", 1)
    assert lines != submission.read_text()
    submission.write_text(lines)
    capsys.readouterr()
    assert fit(files) == 1
    assert "s.csv: was changed since" in (told := error_of(capsys)) and "predict again" in told


def test_what_predict_folder_leaves(tmp_path):
    """Its own files, of videos that ended in each way."""
    results = [
        VideoResult(video="a.mp4", status=OK, score=0.5, frames=1, frames_wanted=1),
        VideoResult(video="b.mp4", status=NO_FACE, score=0.5, frames=1, frames_wanted=1),
        VideoResult(video="c.mp4", status=UNREADABLE, score=0.5, error="cut"),
        VideoResult(video="d.mp4", status=FAILED, score=0.5, error="lost"),
    ]
    write_submission_csv(tmp_path / "s.csv", results)
    write_summary(tmp_path / "s.summary.json", {**summarise(results, 1), "settings": SETTINGS, "strategy": "mean"})
    run = read_run(str(tmp_path / "s.csv"), None, read_submission(str(tmp_path / "s.csv")))
    assert run.unscored == {"b.mp4": "no_face", "c.mp4": "unreadable", "d.mp4": "failed"}
    assert run.origin.system == "medics" and run.origin.strategy == "mean"


def test_report(files, capsys):
    """Other videos' figures; a page and plots that name nothing as markup."""
    assert fit(files) == 0
    scores, truth = made_scores(30, seed=1)
    write_labels(write_submission(files / "b", {**scores, "f0.mp4": 0.99999}), truth)
    code, told = report(files, "b", "--plots", str(files / "plots"))
    assert code == 0 and (told["videos"], told["fake"], told["real"], told["clusters"]) == (60, 30, 30, 30)
    rows = apply(files, "b")[1]
    costs = [[], []]
    for name, row in rows.items():
        sign = 1 if truth[name] else -1
        costs[truth[name]].append(np.log2(1 + 10 ** (-sign * float(row["log10_lr"]))))
    assert told["cllr"] == pytest.approx((np.mean(costs[0]) + np.mean(costs[1])) / 2, abs=1e-12)
    assert told["cllr_cal"] == pytest.approx(told["cllr"] - told["cllr_min"], abs=1e-12)
    low, high = told["intervals"]["cllr"]
    assert low < told["cllr"] < high and told["intervals"]["cllr_min"] == [None, None]
    outside = sum(row["lr_note"] == "outside" for row in rows.values())
    assert told["notes"] == [f"scores outside of those that the calibration was learned from: {outside}"] and outside
    assert sorted(os.listdir(files / "plots")) == ["calibration.png", "index.html", "tippett.png"]
    assert (files / "plots" / "tippett.png").read_bytes().startswith(b"\x89PNG")
    assert "Cllr-min (discrimination)" in capsys.readouterr().out


def test_report_on_what_was_learned_from(files, capsys):
    assert fit(files) == 0
    code, told = report(files, "a")
    assert code == 0 and "the calibration was learned from these very scores" in told["notes"][0]
    assert told["left_out"] == {"no_face": ["f90.mp4"], "unreadable": ["r91.mp4"]}


def test_page(files):
    """Names are text, and nothing is fetched or run."""
    path = files / "a" / "s.summary.json"
    path.write_text(path.read_text().replace('"A"', '"<b>\\u202e&"'))
    assert fit(files, "--plots", str(files / "plots")) == 0
    names = {path.name for path in (files / "plots").iterdir()}
    assert names == set(written_to("plots", OF_RATIOS)[1])  # all are looked at before the work begins
    page = (files / "plots" / "index.html").read_text()
    assert "&lt;b&gt;\\u202e&amp;" in page and "<b>" not in page
    assert "default-src 'none'; img-src data:; style-src 'sha256-" in page
    assert "<script" not in page and "http://" not in page and "https://" not in page and "$" not in page
    assert page.count("<img ") == 3 and page.count('src="data:image/png;base64,') == 3


def test_videos_in_one_of_the_two_only(files, capsys):
    scores, truth = made_scores(30)
    write_labels(write_submission(files / "b", {**scores, "new.mp4": 0.5}), {**truth, "gone.mp4": False})
    assert fit(files, of="b") == 1
    out, err = capsys.readouterr()
    assert "no label, left out: new.mp4" in out and "no prediction, left out: gone.mp4" in out
    assert err == (
        "error: the figures leave out videos: 1 with no label, 1 with no prediction; check --submission and --labels\n"
    )
    assert json.loads((files / "c.json").read_text())["data"]["left_out"] == {"no_label": 1, "no_prediction": 1}


@pytest.mark.parametrize(
    "scores, truth, message",
    [
        (lambda s: s, lambda t: dict.fromkeys(t, True), "all 20 videos with a score and a label are fake"),
        (lambda s: s, lambda t: dict.fromkeys(t, False), "all 20 videos with a score and a label are real"),
        (lambda s: dict.fromkeys(s, 0.25), lambda t: t, "all 20 scores are 0.25: nothing can be learned from them"),
        (lambda s: {**s, "r0.mp4": float("nan")}, lambda t: t, "label 'nan' of r0.mp4 is not from 0 to 1"),
        (
            lambda s: s,
            lambda t: {f"x{name}": fake for name, fake in t.items()},
            "not one of its 20 videos is among the 20",
        ),
        (lambda s: {n: s[n] for n in ("r0.mp4", "f0.mp4")}, lambda t: t, "are of 1 cluster: 5 folds need 5; add some"),
    ],
    ids=["fakes", "real", "equal", "nan", "labels", "cluster"],
)
def test_bad_input(files, capsys, scores, truth, message):
    of_scores, of_truth = made_scores(10)
    write_labels(write_submission(files / "b", scores(of_scores)), truth(of_truth))
    assert fit(files, of="b") == 1
    assert message in error_of(capsys) and not (files / "c.json").exists()


def test_report_of_one_class(files, capsys):
    assert fit(files) == 0
    write_labels(write_submission(files / "b", {"r0.mp4": 0.3}), {"r0.mp4": False})
    capsys.readouterr()
    assert report(files, "b") == (1, None)
    assert "all 1 videos with a score and a label are real: Cllr needs both kinds" in error_of(capsys)


def test_no_video_with_a_score(files, capsys):
    write_labels(write_submission(files / "b", {}, no_face=["r0.mp4"]), {"r0.mp4": False})
    assert fit(files, of="b") == 1
    assert "no video with a label has a score: see what the prediction said" in error_of(capsys)


def test_a_damaged_calibration(files, capsys):
    assert fit(files) == 0
    (files / "c.json").write_text((files / "c.json").read_text()[:-20])
    for run in (apply, report):
        capsys.readouterr()
        assert run(files, "a") == (1, None)
        assert "c.json: is no calibration, or damaged: the file: Invalid JSON" in error_of(capsys)


@pytest.mark.parametrize("name", ["a/s.csv", "a/l.csv", "a/s.summary.json"])
def test_inputs_are_not_replaced(files, capsys, name):
    before = (files / name).read_bytes()
    for flag in ("--output", "--json"):
        assert fit(files, flag, str(files / name)) == 1
        assert f"{flag} {files / name}: is an input; choose another place" in error_of(capsys)
    assert (files / name).read_bytes() == before


def test_a_submission_that_has_ratios(files, capsys):
    assert fit(files) == 0
    assert apply(files, "a")[0] == 0
    (files / "out.csv").rename(files / "a" / "s.csv")
    capsys.readouterr()
    assert apply(files, "a") == (1, None)
    assert "s.csv: has a column log10_lr already; name the CSV that predict_folder.py wrote" in error_of(capsys)


def test_too_many_cells(files, capsys):
    assert fit(files) == 0
    (files / "a" / "s.csv").write_text((files / "a" / "s.csv").read_text().replace("r3.mp4,", "r3.mp4,0.5,", 1))
    capsys.readouterr()
    assert apply(files, "a") == (1, None)
    assert "s.csv, line 8: has more cells than the first line names; mend it" in error_of(capsys)


def test_outputs_that_cannot_be_written(files, capsys):
    assert fit(files, "--output", str(files / "a" / "s.csv" / "c.json")) == 1
    assert "c.json: can't be written (Not a directory); choose another place" in error_of(capsys)
    assert fit(files) == 0
    capsys.readouterr()
    (files / "taken").write_text("")
    assert report(files, "a", "--plots", str(files / "taken"))[0] == 1
    assert "--plots" in (err := error_of(capsys)) and "taken: can't be made (File exists); choose another" in err
