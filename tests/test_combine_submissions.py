"""Several submissions made one: means worked by hand, who counts, who contradicts whom, and bad input."""

import csv
import json
import math

import pytest

import evaluate
from combine_submissions import main
from evaluation.combination import mean
from evaluation.submissions import read_submission
from inference.pipeline import FAILED, NO_FACE, OK, UNREADABLE, VideoResult
from inference.results import summarise
from systems.registry import DEFAULT

# of each video the scores by three systems; the second has no face in c.mp4, the third can't read it
TABLE = {
    "a.mp4": (0.9, 0.7, 0.8),
    "b.mp4": (0.2, 0.1, 0.3),
    "c.mp4": (0.4, 0.5, 0.5),
    "d.mp4": (0.95, 0.05, 0.5),
    "e.mp4": (0.75, 0.25, 0.5),
}
UNKNOWN = [{}, {"no_face": ["c.mp4"]}, {"unreadable": {"c.mp4": "is no video"}}]
SYSTEMS = ("seferbekov", "ntechlab", "medics")


def write_csv(path, scores):
    with open(path, "w", newline="", errors="surrogateescape") as file:
        csv.writer(file, lineterminator="\n").writerows([("filename", "label"), *scores.items()])
    return str(path)


def write_summary(path, system=DEFAULT, **unknown):
    settings = {"models": []} if system == DEFAULT else {"system": system, "models": []}
    summary = {"videos": 5, "no_face": [], "unreadable": {}, "failed": {}, "settings": settings, **unknown}
    path.with_suffix(".summary.json").write_text(json.dumps(summary))


@pytest.fixture
def paths(tmp_path):
    """The table's columns as submissions, and their summaries."""
    for number, (name, unknown) in enumerate(zip("xyz", UNKNOWN, strict=True)):
        path = tmp_path / f"{name}.csv"
        write_csv(path, {video: scores[number] for video, scores in TABLE.items()})
        write_summary(path, SYSTEMS[number], **unknown)
    return [str(tmp_path / f"{name}.csv") for name in "xyz"]


@pytest.fixture
def output(tmp_path):
    return tmp_path / "out.csv"


def rows(path):
    with open(path, newline="", errors="surrogateescape") as file:
        return {row["filename"]: row for row in csv.DictReader(file)}


def labels(path):
    return {video: float(row["label"]) for video, row in rows(path).items()}


def summary_of(output):
    return json.loads(output.with_suffix(".summary.json").read_text())


def test_means_by_hand(paths, output):
    """A system that knows nothing of a video is not in its mean; one that says 0.5 is."""
    assert main([*paths, "--output", str(output)]) == 0
    expected = {"a.mp4": 0.8, "b.mp4": 0.2, "c.mp4": 0.4, "d.mp4": 0.5, "e.mp4": 0.5}
    assert labels(output) == pytest.approx(expected)
    table = rows(output)
    assert list(table["a.mp4"]) == ["filename", "label", *SYSTEMS]
    assert {name: tuple(float(row[system]) for system in SYSTEMS) for name, row in table.items()} == TABLE

    assert main([*paths, "--output", str(output), "--weights", "1", "1", "2"]) == 0
    assert labels(output) == pytest.approx(
        {"a.mp4": 3.2 / 4, "b.mp4": 0.9 / 4, "c.mp4": 0.4, "d.mp4": 2 / 4, "e.mp4": 2 / 4}
    )


def test_means_of_logits_by_hand():
    """The logit of p is the logarithm of the odds p / (1 - p), so their mean is the odds' geometric mean."""
    assert mean([0.9, 0.5], [1, 1], "logit") == pytest.approx(0.75)  # odds 9 and 1: 3
    assert mean([0.8, 0.2], [1, 1], "logit") == pytest.approx(0.5)  # odds 4 and 1/4: 1
    assert mean([0.5, 0.8, 0.5], [1, 2, 1], "logit") == pytest.approx(2 / 3)  # odds 1, 4, 4, 1: 2
    odds = math.sqrt((1 - 1e-6) / 1e-6)  # the farthest that a score may be from 0.5
    assert mean([1.0, 0.5], [1, 1], "logit") == pytest.approx(odds / (1 + odds))
    assert mean([1.0, 0.0], [1, 1], "logit") == pytest.approx(0.5)
    assert mean([0.3], [5], "logit") == pytest.approx(0.3)


def test_logit_flag(paths, output):
    assert main([*paths, "--output", str(output), "--how", "logit"]) == 0
    assert labels(output)["c.mp4"] == pytest.approx(0.4) and summary_of(output)["how"] == "logit"
    odds = (9 * 7 / 3 * 4) ** (1 / 3)
    assert labels(output)["a.mp4"] == pytest.approx(odds / (1 + odds))


def test_what_is_told(paths, output, capsys):
    """The spread of d.mp4 is 0.9, that of e.mp4 is 0.5, which is not more than 0.5."""
    assert main([*paths, "--output", str(output)]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told == [
        f"5 videos by 3 submissions (seferbekov, ntechlab, medics): {output}",
        "  systems disagree: d.mp4: seferbekov 0.950, ntechlab 0.050, medics 0.500",
        "  nothing known to ntechlab, scored without it: c.mp4: no face",
        "  nothing known to medics, scored without it: c.mp4: unreadable",
    ]
    assert summary_of(output) == {
        "videos": 5,
        "how": "probability",
        "submissions": [
            {"name": name, "path": path, "weight": 1.0, "videos": 5} for name, path in zip(SYSTEMS, paths, strict=True)
        ],
        "disagreement": 0.5,
        "disagree": {"d.mp4": {"seferbekov": 0.95, "ntechlab": 0.05, "medics": 0.5}},
        "missing": {},
        "nothing_known": [],
        "unknown": {"ntechlab": {"c.mp4": "no face"}, "medics": {"c.mp4": "unreadable"}},
        "without_summary": [],
        "opposed": [],
    }
    assert main([*paths, "--output", str(output), "--disagreement", "0.4"]) == 0
    assert list(summary_of(output)["disagree"]) == ["d.mp4", "e.mp4"]


def test_nothing_is_known(tmp_path, output):
    """0.5 where no system knows anything, in a combination of combinations too."""
    first, second, third = (tmp_path / f"{name}.csv" for name in ("first", "second", "third"))
    for path in (first, second):
        write_csv(path, {"a.mp4": 0.9, "b.mp4": 0.5})
        write_summary(path, path.stem, no_face=["b.mp4"], failed={"elsewhere.mp4": "reason"})
    assert main([str(first), str(second), "--output", str(output)]) == 0
    assert labels(output) == {"a.mp4": 0.9, "b.mp4": 0.5} and summary_of(output)["nothing_known"] == ["b.mp4"]
    write_csv(third, {"a.mp4": 0.7, "b.mp4": 0.1})
    assert main([str(output), str(third), "--output", str(tmp_path / "all.csv")]) == 0
    assert labels(tmp_path / "all.csv") == pytest.approx({"a.mp4": 0.8, "b.mp4": 0.1})
    assert list(rows(tmp_path / "all.csv")["a.mp4"]) == ["filename", "label", "out", "third"]


def test_without_summaries(tmp_path, output, capsys):
    """Names of files stand for systems, and each 0.5 counts."""
    first = write_csv(tmp_path / "mine.csv", {"a.mp4": 0.9, "b.mp4": 0.5})
    second = write_csv(tmp_path / "label.csv", {"a.mp4": 0.7, "b.mp4": 0.1})
    (tmp_path / "other").mkdir()
    third = write_csv(tmp_path / "other" / "mine.csv", {"a.mp4": 0.2, "b.mp4": 0.3})
    assert main([first, second, third, "--output", str(output)]) == 0
    assert labels(output) == pytest.approx({"a.mp4": 0.6, "b.mp4": 0.3})
    assert list(rows(output)["a.mp4"]) == ["filename", "label", "mine", "label (2)", "mine (2)"]
    assert f"mine: no summary is beside {first}, so its 0.5 count as scores" in capsys.readouterr().out


def test_two_of_one_system(paths, output):
    """Their files tell them apart."""
    write_summary(output.with_name("y.csv"), no_face=["c.mp4"])
    assert main([*paths, "--output", str(output)]) == 0
    assert list(rows(output)["a.mp4"]) == ["filename", "label", "x", "y", "medics"]


def test_missing_videos_are_named(paths, output, capsys):
    scores = read_submission(paths[1])
    del scores["a.mp4"]
    write_csv(output.with_name("y.csv"), {**scores, "more.mp4": 0.3})
    assert main([*paths, "--output", str(output)]) == 1
    told = capsys.readouterr().out
    assert "  missing from ntechlab, scored without it: a.mp4\n" in told
    assert "  missing from seferbekov, scored without it: more.mp4\n" in told
    assert labels(output)["a.mp4"] == pytest.approx(0.85) and labels(output)["more.mp4"] == 0.3
    assert rows(output)["a.mp4"]["ntechlab"] == "" and list(rows(output)) == [*TABLE, "more.mp4"]
    assert summary_of(output)["missing"] == {
        "seferbekov": ["more.mp4"],
        "ntechlab": ["a.mp4"],
        "medics": ["more.mp4"],
    }


def test_opposite_orders_are_told(tmp_path, output, capsys):
    """One submission upside down; with fewer videos, or an order that chance gives, nothing is said."""

    def warnings(first, second):
        paths = [
            write_csv(tmp_path / f"{name}.csv", {f"{number}.mp4": score for number, score in enumerate(scores)})
            for name, scores in (("p", first), ("q", second))
        ]
        assert main([*paths, "--output", str(output)]) == 0
        return capsys.readouterr().err

    scores = [0.1 * number for number in range(10)]
    told = warnings(scores, [1 - score for score in scores])
    assert told == (
        "warning: p and q put their 10 common videos in opposite orders (Spearman's correlation -1.00); does one of "
        "them hold the probability that a video is real?\n"
    )
    expected = {"submissions": ["p", "q"], "spearman": pytest.approx(-1), "videos": 10}
    assert summary_of(output)["opposed"] == [expected]
    assert warnings(scores, scores) == ""
    assert warnings(scores[:7], [1 - score for score in scores[:7]]) == ""
    assert warnings(scores, [0.5] * 10) == ""
    # the squares of the ranks' differences add up to 240: 1 - 6 * 240 / (10 * 99) = -0.45, whose chance is 0.19
    shuffled = [0.9, 0.2, 0.7, 0.4, 0.8, 0.5, 0.6, 0.1, 0.3, 0.0]
    squares = sum((place - round(10 * score)) ** 2 for place, score in enumerate(shuffled))
    assert 1 - 6 * squares / (10 * 99) < -0.3 and warnings(scores, shuffled) == ""


def test_other_commands_read_it(paths, output, tmp_path, capsys):
    """Columns beside filename and label are no one else's concern."""
    assert main([*paths, "--output", str(output)]) == 0
    truth = write_csv(tmp_path / "truth.csv", {"a.mp4": 1, "b.mp4": 0, "c.mp4": 0, "d.mp4": 1, "e.mp4": 0})
    capsys.readouterr()
    assert evaluate.main(["--submission", str(output), "--labels", truth]) == 0
    expected = -sum(map(math.log, (0.8, 0.8, 0.6, 0.5, 0.5))) / 5
    assert f"{expected:.5f}" in capsys.readouterr().out
    assert main([str(output), paths[0], "--output", str(tmp_path / "again.csv")]) == 0


def test_the_summaries_of_predictions(tmp_path, output):
    """As predict_folder.py writes them."""
    found = {"scored": OK, "none": NO_FACE, "broken": UNREADABLE, "bad": FAILED}
    results = [
        VideoResult(video=f"{name}.mp4", status=status, score=0.9 if status == OK else 0.5, error="why")
        for name, status in found.items()
    ]
    for name in ("p", "q"):
        write_csv(tmp_path / f"{name}.csv", {result.video: result.score for result in results})
        summary = {**summarise(results, 32), "settings": {"models": []}}
        (tmp_path / f"{name}.summary.json").write_text(json.dumps(summary))
    write_csv(tmp_path / "q.csv", {f"{name}.mp4": 0.5 for name in found} | {"scored.mp4": 0.7})
    assert main([str(tmp_path / "p.csv"), str(tmp_path / "q.csv"), "--output", str(output)]) == 0
    assert summary_of(output)["nothing_known"] == ["none.mp4", "broken.mp4", "bad.mp4"]
    assert labels(output)["scored.mp4"] == pytest.approx(0.8)


def test_names_of_every_kind(tmp_path, output):
    names = ['a"b.mp4', "c,d.mp4", "e\rf.mp4", "g\nh.mp4", "ñ.mp4", "\udcff.mp4", "=1+2.mp4"]
    with open(tmp_path / "p.csv", "w", newline="", errors="surrogateescape") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows([("filename", "label"), *((name, 0.25) for name in names)])
    assert main([str(tmp_path / "p.csv"), "--output", str(output), "--report", str(tmp_path / "page.html")]) == 0
    assert read_submission(str(output)) == dict.fromkeys(names, 0.25)
    assert b"\r\n" not in output.read_bytes()


BAD = {
    "no file": (lambda folder: (folder / "x.csv").unlink(), "x.csv: can't be read (No such file or directory)"),
    "no number": (lambda folder: write_csv(folder / "x.csv", {"a.mp4": "x"}), "x.csv, line 2: label 'x' of a.mp4"),
    "no JSON": (lambda folder: (folder / "x.summary.json").write_text("{"), "x.summary.json: is no summary of"),
    "a list": (lambda folder: (folder / "x.summary.json").write_text("[]"), "x.summary.json: is no summary of"),
    "no names": (lambda folder: write_summary(folder / "x.csv", no_face=[1]), "its videos are no names"),
    "a key is missing": (
        lambda folder: (folder / "x.summary.json").write_text('{"no_face": []}'),
        "x.summary.json: is no summary of predict_folder.py ('unreadable' is missing); move it away",
    ),
    "another's": (
        lambda folder: write_summary(folder / "x.csv", no_face=["a.mp4"]),
        "says that nothing is known of a.mp4, whose label",
    ),
}


@pytest.mark.parametrize("change, message", BAD.values(), ids=BAD.keys())
def test_bad_files(paths, output, capsys, change, message):
    change(output.parent)
    assert main([*paths, "--output", str(output)]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error and len(error.splitlines()) == 1
    assert not output.exists() and not output.with_suffix(".summary.json").exists()


@pytest.mark.parametrize(
    "more, message",
    [
        (["--weights", "1", "2"], "--weights: 2 for 3 submissions; give one for each"),
        (["--weights", "1", "2", "3", "--output", "x.summary.json"], "x.summary.json: is an input"),
        (["--output", "y.csv"], "--output y.csv: is an input; choose another place"),
        (["--output", "x.csv/out.csv"], "--output x.csv/out.csv: can't be written (Not a directory)"),
        (["--report", "x.summary.json"], "--report x.summary.json: is an input"),
        (["--report", "out.csv"], "--report out.csv: is written by --output too"),
    ],
)
def test_bad_arguments(paths, output, capsys, monkeypatch, more, message):
    monkeypatch.chdir(output.parent)
    before = {path.name: path.read_bytes() for path in output.parent.iterdir()}
    assert main(["x.csv", "y.csv", "z.csv", "--output", "out.csv", *more]) == 1
    error = capsys.readouterr().err
    assert message in error and len(error.splitlines()) == 1
    assert {path.name: path.read_bytes() for path in output.parent.iterdir()} == before


def test_a_submission_given_twice(paths, output, capsys):
    assert main([*paths, paths[0], "--output", str(output)]) == 1
    assert f"submission {paths[0]}: is given twice; leave one out" in capsys.readouterr().err


@pytest.mark.parametrize("more", [["--weights", "0"], ["--weights", "nan"], ["--how", "max"], ["--disagreement", "0"]])
def test_arguments_that_make_no_sense(paths, output, more):
    with pytest.raises(SystemExit) as stop:
        main([*paths, "--output", str(output), *more])
    assert stop.value.code == 2


def test_the_page(paths, output, tmp_path):
    """What systems disagree on is marked, what is from outside is escaped, and what is unknown has no key."""
    page = tmp_path / "page.html"
    evil = "<script>alert(1)</script>\u202e.mp4"
    for path, score in zip(paths, (0.9, 0.9, 0.1), strict=True):
        write_csv(path, {**read_submission(path), evil: score})
    assert main([*paths, "--output", str(output), "--report", str(page)]) == 0
    text = page.read_text()
    assert "<script>alert" not in text and "\u202e" not in text and "&lt;script&gt;alert(1)" in text
    groups = text.split("<tbody")[1:]
    assert [("disputed" in group.split(">")[0], "systems disagree" in group) for group in groups] == [
        (False, False),  # a.mp4
        (True, True),  # the evil one
        (True, True),  # d.mp4
        (False, False),
        (False, False),
        (False, False),
    ]
    row = next(group for group in groups if "c.mp4" in group)
    assert row.count('data-key=""><small>') == 2 and "no face" in row and "unreadable" in row
    assert text.count("<script>") == 1 and "http" not in text.replace("http-equiv", "")
    assert "<b>2</b> systems disagree" in text and "default-src 'none'" in text
