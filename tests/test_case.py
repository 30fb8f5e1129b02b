"""Case files: what is written comes back, and whatever else lies there is refused in a line."""

import hashlib
import json
import os
from argparse import Namespace
from dataclasses import asdict

import numpy as np
import pytest

from inference import case_check
from inference.case import first_difference, read_case
from inference.case_check import Places, check_case, size_of
from inference.case_rerun import repeatable
from inference.case_writer import Checkpoint, environment_id, now, write_case
from inference.pipeline import NO_FACE, OK, UNREADABLE, VideoResult
from inference.results import write_submission
from runtime.digests import digest_of
from runtime.errors import InputError, OutputError
from runtime.journal import Journal
from runtime.source_tree import ROOT

ENVIRONMENT = {"python": "3.11", "libraries": {"torch": "2"}}
STREAM = {"codec": "h264", "index": 0}


def result(folder, name, status=OK, score=0.25, **facts):
    path = folder / name
    path.write_bytes(os.fsencode(name) * 3)
    source = {"file": asdict(digest_of(path)), "stream": STREAM, "frames": [0, 9], "times": [0.0, None], **facts}
    return VideoResult(video=name, status=status, score=score, source=source, environment=ENVIRONMENT)


@pytest.fixture
def made(tmp_path):
    """A case of three videos, with a weight, settings, and outputs: its path, and what it was made of."""
    for folder in ("videos", "weights", "out"):
        (tmp_path / folder).mkdir()
    weight = tmp_path / "weights" / "model"
    weight.write_bytes(b"weights")
    (tmp_path / "settings.json").write_text("{}")
    results = [
        result(tmp_path / "videos", "a,b.mp4"),
        result(tmp_path / "videos", "b\udcff\x1b.mp4", NO_FACE, 0.5),
        VideoResult(video="c.mp4", status=UNREADABLE, error="is empty", source={"file": None}),
    ]
    journal = Journal(tmp_path / "out" / "s.0.jsonl", busy="", remedy="")
    for each in results:
        journal.add({"video": each.video})
    journal.close()
    outputs = {"--output": str(tmp_path / "out" / "s.csv"), "journal of --output": str(journal.path)}
    write_submission(outputs["--output"], results)
    path = tmp_path / "out" / "s.case.json"
    given = {
        "started": now(),
        "repeat": {"models": ["model"]},
        "settings": {"format": 4},
        "weights_folder": str(tmp_path / "weights"),
        "weights": [
            Checkpoint(
                name="model", path=str(tmp_path / "weights" / "model"), digest=digest_of(tmp_path / "weights/model")
            )
        ],
        "inputs": {
            "--clip-settings": str(tmp_path / "settings.json"),
            "config": str(ROOT / "configs" / "published" / "medics.json"),
        },
        "videos_folder": str(tmp_path / "videos"),
        "results": results,
        "outputs": {**outputs, "case of --output": str(path)},
        "journal": journal,
    }
    write_case(path, **given)
    return path, given


def problems(path, **places):
    checks = check_case(read_case(path), Places(case=str(path.parent), **places))
    return {check.name: check.problem for check in checks if check.problem}


def test_what_is_written_comes_back(made, tmp_path):
    path, given = made
    case = read_case(path)
    assert [video.video for video in case.videos] == ["a,b.mp4", "b\udcff\x1b.mp4", "c.mp4"]
    first, _, last = case.videos
    assert (first.score, first.frames, first.times, first.stream) == (0.25, [0, 9], [0.0, None], STREAM)
    assert first.file.sha256 == hashlib.sha256(b"a,b.mp4" * 3).hexdigest() and first.file.bytes == 21
    assert (last.error, last.file, last.environment) == ("is empty", None, None)
    assert case.environments == {environment_id(ENVIRONMENT): ENVIRONMENT} and case.repeat == {"models": ["model"]}
    assert [(file.what, file.of, file.path) for file in (*case.weights, *case.inputs, *case.run.outputs)] == [
        ("model", "weights", "model"),
        ("--clip-settings", "elsewhere", str(tmp_path / "settings.json")),
        ("config", "project", "configs/published/medics.json"),
        ("--output", "case", "s.csv"),
    ]
    assert (case.run.journal.lines, case.run.journal.chain) == (3, given["journal"].chain)
    assert problems(path) == {} and size_of(case) == 7 + 2 + 21 + 21 + sum(
        file.bytes for file in (*case.run.outputs, case.inputs[1])
    )


def test_the_text_has_a_line_for_each_video(made):
    text = made[0].read_text()
    assert text.isascii() and text.endswith('"\n}\n')
    assert sum(line.startswith('  {"video": ') for line in text.splitlines()) == 3


def test_a_folder_that_moved_as_a_whole(made, tmp_path):
    path, _ = made
    (tmp_path / "out").rename(tmp_path / "handed on")
    for name in ("videos", "weights"):
        (tmp_path / name).rename(tmp_path / f"new {name}")
    (tmp_path / "settings.json").rename(tmp_path / "handed on" / "settings.json")
    path = tmp_path / "handed on" / path.name
    assert set(problems(path)) == {"a,b.mp4", "b\udcff\x1b.mp4", "model"}
    assert problems(path, videos=str(tmp_path / "new videos"), weights=str(tmp_path / "new weights")) == {}


def test_a_case_apart_from_its_outputs(made, tmp_path):
    """Handed on in one folder: outputs and journal, which lay elsewhere, are beside it."""
    path, given = made
    apart = tmp_path / "cases" / "s.case.json"
    apart.parent.mkdir()
    given["outputs"]["case of --output"] = str(apart)
    write_case(apart, **given)
    assert read_case(apart).run.journal.path == "../out/s.0.jsonl" and problems(apart) == {}
    apart.rename(path)
    assert problems(path) == {}
    (tmp_path / "out").rename(tmp_path / "elsewhere")
    assert problems(tmp_path / "elsewhere" / path.name) == {}


def test_a_weight_that_was_named_by_its_whole_path(made, tmp_path):
    """It is looked for in the folder of the weights, where all are when a case is handed on."""
    path, given = made
    apart = tmp_path / "apart" / "model"
    apart.parent.mkdir()
    apart.write_bytes(b"weights")
    given["weights"] = [Checkpoint(name=str(apart), path=str(apart), digest=digest_of(apart))]
    write_case(path, **given)
    assert read_case(path).weights[0].of == "elsewhere"
    assert problems(path) == {}
    apart.unlink()
    assert problems(path, weights=str(tmp_path / "weights")) == {}
    (tmp_path / "weights" / "model").write_bytes(b"Weights")
    assert "weights/model: was changed" in problems(path, weights=str(tmp_path / "weights"))[str(apart)]
    assert f"{path.parent}/model: is not there" in problems(path, weights=str(path.parent))[str(apart)]


def test_settings_that_changed(made, tmp_path):
    path, _ = made
    (tmp_path / "settings.json").write_text("[]")
    assert problems(path).keys() == {"--clip-settings"}
    (tmp_path / "settings.json").unlink()
    assert problems(path)["--clip-settings"].endswith("settings.json: is not there")


def test_a_configuration_of_the_project_that_changed(made, tmp_path, monkeypatch):
    monkeypatch.setattr(case_check, "ROOT", tmp_path)
    (tmp_path / "configs" / "published").mkdir(parents=True)
    content = (ROOT / "configs" / "published" / "medics.json").read_bytes()
    (tmp_path / "configs" / "published" / "medics.json").write_bytes(content[:-2] + b" \n")
    assert "was changed: its SHA-256 is " in problems(made[0])["config"]


def test_a_video_of_which_no_hash_is_known(made, tmp_path):
    _, given = made
    given["results"][0].source["file"] = None
    write_case(tmp_path / "other.json", **given)
    assert problems(tmp_path / "other.json")["a,b.mp4"] == "no SHA-256 of what was scored is known"


def test_every_bit_is_sealed(made, tmp_path):
    path, _ = made
    whole = path.read_bytes()
    draw = np.random.default_rng(3)
    for place in {*range(40), *range(len(whole) - 90, len(whole)), *draw.integers(0, len(whole), 200).tolist()}:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(draw.integers(8))
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=r"s\.case\.json: (was changed after|is no case file)"):
            read_case(path)
    for length in (0, 1, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"s\.case\.json: is no case file, or is cut"):
            read_case(path)


def sealed(path, text):
    seal = hashlib.sha256(text.encode()).hexdigest()
    path.write_text(f'{text[:-2]},\n "seal": "{seal}"\n}}\n')
    return path


@pytest.mark.parametrize(
    "change, message",
    [
        ({"format": 2}, "format: "),
        ({"videos": {}}, "videos: "),
        ({"videos": [3]}, "videos.0: "),
        ({"extra": 1}, "extra: "),
        ({"weights": [{"what": "a", "of": "root", "path": "b", "bytes": 1, "sha256": "0" * 64}]}, "weights.0.of: "),
        ({"weights": [{"what": "a", "of": "case", "path": "b", "bytes": -1, "sha256": "0" * 64}]}, "weights.0.bytes: "),
        ({"weights": [{"what": "a", "of": "case", "path": "b", "bytes": 1, "sha256": "0" * 63}]}, "weights.0.sha256: "),
        ({"weights": [{"what": "a", "of": "case", "path": "b", "bytes": 1, "sha256": "A" * 64}]}, "weights.0.sha256: "),
        ({"run": None}, "run: "),
        ({"settings": []}, "settings: "),
    ],
)
def test_sealed_and_no_case(made, change, message):
    path, _ = made
    content = json.loads(path.read_text())
    del content["seal"]
    sealed(path, json.dumps({**content, **change}, indent=1))
    with pytest.raises(InputError, match=rf"s\.case\.json: {message}.*it is no case file"):
        read_case(path)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda videos: videos.append(videos[0]), "videos: 'a,b.mp4' is there twice"),
        (lambda videos: videos[0].update(environment="0" * 16), "videos: 'a,b.mp4': environment '0+' is none of"),
    ],
    ids=["twice", "environment"],
)
def test_sealed_and_no_run_wrote_it(made, change, message):
    path, _ = made
    content = json.loads(path.read_text())
    del content["seal"]
    change(content["videos"])
    sealed(path, json.dumps(content, indent=1))
    with pytest.raises(InputError, match=rf"s\.case\.json: {message}.*it is no case file"):
        read_case(path)


@pytest.mark.parametrize(
    "text", ['{"a": ' + "[" * 10**5 + "]" * 10**5 + "\n}", '{"a": ' + "1" * 5000 + "\n}", "{]\n}"], ids=range(3)
)
def test_sealed_and_no_json(tmp_path, text):
    with pytest.raises(InputError, match=r"x\.json: is no case file"):
        read_case(sealed(tmp_path / "x.json", text))


def test_what_else_may_lie_there(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "large").touch()
    os.truncate(tmp_path / "large", 1 << 40)
    for name, why in (
        ("pipe", "is not a regular file"),
        (".", "Is a directory"),
        ("none", "No such file"),
        ("large", ""),
    ):
        with pytest.raises(InputError, match=f"{why}.*; name a case file"):
            read_case(tmp_path / name)


def test_where_it_can_not_be_written(made, tmp_path):
    path, given = made
    with pytest.raises(OutputError, match="the scores are kept in the journal; choose another --case"):
        write_case(tmp_path, **given)
    os.remove(given["outputs"]["--output"])
    with pytest.raises(OutputError, match=r"s\.csv: can't be read .*; it was there when the run began"):
        write_case(path, **given)


def test_a_run_without_a_journal(made):
    """No video had a result: no journal is left behind."""
    path, given = made
    given["journal"].path.unlink()
    write_case(path, **given)
    assert read_case(path).run.journal is None and problems(path) == {}


def test_what_differs_in_two_cases(made, tmp_path):
    path, given = made
    case = read_case(path)
    write_case(tmp_path / "other.json", **{**given, "started": "2001-01-01T00:00:00Z", "weights_folder": str(tmp_path)})
    other = read_case(tmp_path / "other.json")
    assert other.run != case.run and first_difference(case, other).startswith("weights[0].path: ")
    write_case(tmp_path / "other.json", **{**given, "started": "2001-01-01T00:00:00Z"})
    assert first_difference(case, read_case(tmp_path / "other.json")) is None
    for change, told in (
        ({"results": given["results"][:2]}, "videos: "),
        ({"settings": {"format": 5}}, "settings.format: 4, and 5"),
    ):
        write_case(tmp_path / "other.json", **{**given, **change})
        assert first_difference(case, read_case(tmp_path / "other.json")).startswith(told)
    given["results"][0].score = 0.75
    write_case(tmp_path / "other.json", **given)
    assert first_difference(case, read_case(tmp_path / "other.json")) == "videos[a,b.mp4].score: 0.25, and 0.75"


def test_cases_that_are_too_deep(made):
    case = read_case(made[0])
    for depth in (300, 900, 5000):
        deep = []
        for _ in range(depth):
            deep = [deep]
        other = case.model_copy(update={"settings": {"format": deep}})
        if depth == 300:
            assert first_difference(other, other) is None
        else:
            with pytest.raises(InputError, match="too deep"):
                first_difference(other, other)


def test_which_flags_are_repeated():
    """What makes scores, with what was chosen by itself; no places of files, nothing of the machine."""
    args = Namespace(
        models=["a"], test_dir="b", output="c", workers=3, batch_size=None, engine="auto", detector="mtcnn"
    )
    settings = {"system": "ntechlab", "device": "cpu", "precision": "fp32", "engine": "torch", "batch_size": 2}
    assert repeatable(args, settings) == {
        "system": "ntechlab",
        "models": ["a"],
        "device": "cpu",
        "precision": "fp32",
        "engine": "torch",
        "batch_size": 2,
        "detector": "mtcnn",
    }
