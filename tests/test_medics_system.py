"""The Medics' system as a user runs it, with two of its models: faces, scores, settings, and bad input."""

import csv
import json
import shutil

import numpy as np
import pytest
import torch

import predict_folder
from engines.choice import choose_engine
from faces import face_detector
from faces.video import iter_frames
from inference.opening import engine_of
from systems.medics.clips import cut_face
from systems.medics.models import MODELS, load_model, save_model
from systems.medics.sampler import ClipSampler
from systems.medics.sampling import Detections
from systems.medics.settings import Settings
from systems.medics.starting_weights import starting_model
from systems.medics.strategy import p_fake_of_faces
from systems.medics.system import MedicsPredictor
from systems.sample import Account, Sample
from tests import media, mjpeg
from tests.engines import needs_openvino

CLIPS, SQUARES = MODELS["mc3_112"].file, MODELS["seresnext50"].file
COLUMNS = ["video", "face", "first_frame", "last_frame", "x1", "y1", "x2", "y2", "detector_score"]
BOX = (94, 107, 127, 152)  # of the face in every frame, as MTCNN has it
WITH_FACE, WITHOUT = media.face_frames(1, 320, 180, 90), media.noise_frames(1, 320, 180)
# every second frame is searched, where a face must be in four: short clips make fast tests
QUICK = {"frame_step": 2, "frames_2d": 3}
QUICKLY = ("--engine", "torch")  # which compiles no network for a few frames


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A 3D model and the 2D one, with random weights under their published names; large last layers move the scores
    away from 0.5."""
    folder = tmp_path_factory.mktemp("weights")
    for seed, name in enumerate(("mc3_112", "seresnext50")):
        model = starting_model(name, seed=seed, pretrained=False)
        with torch.no_grad():
            model.network.fc.weight.mul_(20)
        save_model(folder / MODELS[name].file, model)
    return folder


@pytest.fixture
def folder(tmp_path):
    """An empty folder for videos."""
    (tmp_path / "videos").mkdir()
    return tmp_path / "videos"


def settings_file(tmp_path, content):
    path = tmp_path / "settings.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def run(weights, folder, output, *more, models=(CLIPS,), settings=QUICK):
    settings = ["--clip-settings", settings_file(output.parent, settings)] if settings else []
    return predict_folder.main(
        [
            *("--weights-dir", str(weights), "--models", *models, "--test-dir", str(folder), "--output", str(output)),
            *("--faces-csv", str(output.with_name("faces.csv")), "--device", "cpu", "--workers", "1"),
            *map(str, [*settings, *more]),
        ]
    )


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def labels_of(output):
    return {row["filename"]: float(row["label"]) for row in rows_of(output)}


def summary_of(output):
    return json.loads(output.with_suffix(".summary.json").read_text())


@pytest.fixture(scope="module")
def finished(weights, tmp_path_factory):
    """One run of both models over some videos: the path of its CSV."""
    root = tmp_path_factory.mktemp("run")
    (root / "videos").mkdir()
    media.write_video(root / "videos" / "face.mp4", WITH_FACE * 9)
    media.write_video(root / "videos" / "late.mp4", WITHOUT * 6 + WITH_FACE * 7)
    media.write_video(root / "videos" / "none.mp4", WITHOUT * 9)
    media.write_video(root / "videos" / "short.mp4", WITH_FACE * 6)
    (root / "videos" / "text.mp4").write_text("I am no video\n" * 99)
    more = ("--report", root / "report.html")
    assert run(weights, root / "videos", root / "submission.csv", *more, models=(CLIPS, SQUARES)) == 0
    return root / "submission.csv"


def test_faces(finished):
    rows = rows_of(finished.with_name("faces.csv"))
    assert list(rows[0]) == [*COLUMNS, CLIPS, SQUARES, "track"]
    assert [[row[name] for name in COLUMNS[:4]] for row in rows] == [
        ["face.mp4", "0", "0", "8"],
        ["late.mp4", "0", "6", "12"],
    ]
    for row in rows:
        assert [int(row[name]) for name in COLUMNS[4:8]] == pytest.approx(BOX, abs=3)
        assert 0.9 < float(row["detector_score"]) <= 1


def test_what_the_clip_model_says_of_the_clip(finished, weights):
    row = rows_of(finished.with_name("faces.csv"))[0]
    x1, y1, x2, y2 = (int(row[name]) for name in COLUMNS[4:8])
    frames = iter_frames(finished.parent / "videos" / "face.mp4", range)
    clip = np.stack([cut_face(frame, (y1, y2 - 1), (x1, x2 - 1)) for _, frame in frames])
    expected = p_fake_of_faces(load_model("mc3_112", weights / CLIPS), [clip])[0]
    assert float(row[CLIPS]) == pytest.approx(expected, abs=1e-5) and abs(expected - 0.5) > 0.001


def test_scores(finished):
    labels = labels_of(finished)
    assert list(labels) == ["face.mp4", "late.mp4", "none.mp4", "short.mp4", "text.mp4"]
    for row in rows_of(finished.with_name("faces.csv")):
        assert float(row[CLIPS]) != float(row[SQUARES])
        assert labels[row["video"]] == pytest.approx((float(row[CLIPS]) + float(row[SQUARES])) / 2, abs=1e-6)
    assert [labels[name] for name in ("none.mp4", "short.mp4", "text.mp4")] == [0.5] * 3


def test_summary(finished):
    summary = summary_of(finished)
    assert summary["scored"] == 2 and summary["no_face"] == ["none.mp4", "short.mp4"] and not summary["failed"]
    assert list(summary["unreadable"]) == ["text.mp4"]
    assert summary["notes"] == {
        "none.mp4": ["frames 0 to 8: no face; they are not scored"],
        "short.mp4": ["frames 0 to 5: 12 boxes, but no face in 4 sampled frames in sequence; they are not scored"],
    }
    settings = summary["settings"]["settings"]
    assert (settings["frame_step"], settings["frame_limit"]) == (2, 100)
    assert summary["settings"]["system"] == "medics"
    assert summary["settings"]["engine"] == engine_of(MedicsPredictor(), "auto", torch.device("cpu"))


def test_report(finished):
    page = finished.with_name("report.html").read_text()
    assert (
        "the mean over the faces of each model, then over the models" in page and CLIPS in page and "late.mp4" in page
    )
    detector = choose_engine("auto", torch.device("cpu"), face_detector.ENGINES)
    assert f"<dt>Faces found by</dt><dd>mtcnn on {detector}</dd>" in page


def test_what_is_done_is_not_done_again(finished, weights, capsys, monkeypatch):
    before = finished.read_bytes(), finished.with_name("faces.csv").read_bytes()
    monkeypatch.setattr("systems.medics.clip_models.ClipModels.score", None)
    assert run(weights, finished.parent / "videos", finished, models=(CLIPS, SQUARES)) == 0
    assert "Predicting 5 videos, 4 of them done before" in capsys.readouterr().out
    assert (finished.read_bytes(), finished.with_name("faces.csv").read_bytes()) == before


def test_overwrite(weights, folder, tmp_path, capsys):
    media.write_video(folder / "face.mp4", WITH_FACE * 3)
    labels = []
    for more in ((), ("--overwrite",)):
        assert run(weights, folder, tmp_path / "out.csv", *QUICKLY, *more, settings={**QUICK, "least_rows": 2}) == 0
        assert "done before" not in capsys.readouterr().out
        labels.append(labels_of(tmp_path / "out.csv"))
    assert labels[0] == labels[1]


def test_published_settings(weights, folder, tmp_path):
    """Every tenth frame is searched, and three rows of faces are no track."""
    media.write_video(folder / "face.mp4", WITH_FACE * 34)
    media.write_video(folder / "short.mp4", WITH_FACE * 30)
    assert run(weights, folder, tmp_path / "out.csv", settings=None) == 0
    (row,) = rows_of(tmp_path / "faces.csv")
    assert [row[name] for name in COLUMNS[:4]] == ["face.mp4", "0", "0", "33"]
    assert summary_of(tmp_path / "out.csv")["no_face"] == ["short.mp4"]


def test_whole_videos(weights, folder, tmp_path):
    """Part after part; without the flag the first frames alone."""
    settings = {**QUICK, "least_rows": 2}
    media.write_video(folder / "face.mp4", WITH_FACE * 7)
    for more, expected in (((), [["0", "0", "2"]]), (("--whole-video",), [["0", "0", "2"], ["1", "3", "5"]])):
        assert run(weights, folder, tmp_path / "out.csv", *QUICKLY, "--frame-limit", 3, *more, settings=settings) == 0
        rows = rows_of(tmp_path / "faces.csv")
        assert [[row[name] for name in COLUMNS[1:4]] for row in rows] == expected
        mean = np.mean([float(row[CLIPS]) for row in rows])
        assert labels_of(tmp_path / "out.csv")["face.mp4"] == pytest.approx(mean, abs=1e-6)
    notes = summary_of(tmp_path / "out.csv")["notes"]["face.mp4"]
    assert len(notes) == 1 and notes[0].startswith("frames 6 to 6: ")


def samples_of(path) -> tuple[list[Sample], Account]:
    """What both models see of a video, by a detector that finds a face in each frame that is not black."""

    def detect(images, thresholds, factor):
        boxes = [np.float32([[140, 160, 190, 228]])[: int(image.any())] for image in images]
        return [Detections(boxes=each, probabilities=np.ones(len(each))) for each in boxes]

    models = {0: MODELS["mc3_112"], 1: MODELS["seresnext50"]}
    account = Account()
    return list(ClipSampler(models=models, detect=detect, settings=Settings(**QUICK)).samples(path, account)), account


@pytest.mark.parametrize("broken", ["unreadable", "small"])
def test_frames_that_are_missing_move_no_face(tmp_path, broken):
    """A frame that is searched can't be read, or has another size."""
    frames = WITH_FACE * 9
    frames[2] = media.face_frames(1, 64, 36, 18)[0] if broken == "small" else frames[2]
    path = mjpeg.write_pictures(tmp_path / "damaged.avi", frames, unreadable=[2] if broken == "unreadable" else [])
    (clip, squares), account = samples_of(path)
    assert clip.frames == (0, 1, 3, 4, 5, 6, 7, 8) and clip.pixels.shape == (8, 256, 256, 3)
    assert squares.frames == (0, 1) and squares.pixels.shape == (2, 256, 256, 3)
    assert account.notes == ["8 of 9 frames of face 0 can be read, and have the size of the video's first"]


def test_what_a_frame_tells_is_noted(tmp_path):
    path = media.write_video(tmp_path / "hdr.mp4", WITH_FACE * 9, color={"color_trc": 16})
    _, account = samples_of(path)
    assert len(account.notes) == 1 and account.notes[0].startswith("HDR")


def test_a_clip_too_short_for_a_model(weights, folder, tmp_path):
    """A model that can't take it does not count."""
    shutil.copy(weights / SQUARES, tmp_path / SQUARES)
    save_model(tmp_path / MODELS["i3d"].file, starting_model("i3d", seed=0, pretrained=False))
    media.write_video(folder / "face.mp4", WITH_FACE * 7)
    models = (MODELS["i3d"].file, SQUARES)
    assert run(tmp_path, folder, tmp_path / "out.csv", *QUICKLY, models=models) == 0
    (row,) = rows_of(tmp_path / "faces.csv")
    assert row[MODELS["i3d"].file] == ""
    assert labels_of(tmp_path / "out.csv")["face.mp4"] == pytest.approx(float(row[SQUARES]), abs=1e-6)
    assert run(tmp_path, folder, tmp_path / "alone.csv", *QUICKLY, models=models[:1]) == 0
    assert summary_of(tmp_path / "alone.csv")["no_face"] == ["face.mp4"]


def refused(capsys, reason, weights, folder, output, *more, **kwargs):
    """The run ends with one line that gives the reason, and writes no CSV."""
    media.write_video(folder / "face.mp4", WITH_FACE * 7)
    assert run(weights, folder, output, *more, **kwargs) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error: " in line]
    assert reason in line and not output.exists()


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        (
            {"frame_stepp": 2},
            "settings.json: frame_stepp: unknown key; allowed: frame_limit, whole_video, frame_step, ",
        ),
        ({"frame_step": 2.5}, "settings.json: frame_step is 2.5; give 1 or more"),
        ({"least_rows": "4"}, "settings.json: least_rows is '4'; give 1 or more"),
        ({"frame_step": 1, "least_rows": 1}, "settings.json: least_rows is 1; give 2 or more where every frame is"),
        ({"frame_limit": 30}, "settings.json: frame_limit is 30; give 31 or more, or no track is found"),
        ({"whole_video": 1}, "settings.json: whole_video is 1; give true or false"),
        ({"clamp": [0.9, 0.1]}, "settings.json: clamp is (0.9, 0.1); give lowest and highest score, from 0 to 1"),
        ({"clamp": 0.1}, "settings.json: clamp is 0.1; give lowest and highest score"),
        ({"no_face": None}, "settings.json: no_face is None; give from 0 to 1"),
        ({"model_weights": {"i4d": 1}}, "settings.json: unknown model 'i4d'; use one of i3d, "),
        ({"model_weights": {"i3d": -1}}, "settings.json: model_weights[i3d] is -1; give 0 or more"),
        ({"model_weights": {"i3d": 10**400}}, "settings.json: model_weights[i3d] is 1000"),
        ({"clamp": [0, 10**400]}, "settings.json: clamp is (0, 1000"),
        ({"model_weights": [1]}, "settings.json: model_weights is (1,); give a weight for each name"),
        ({"attempts": 3}, "settings.json: attempts is (); give one attempt or more"),
        (
            {"attempts": [{"scale": 1, "thresholds": [0, 0, 0], "most_faces": 1}] * 17},
            "give one attempt or more, 16 at most",
        ),
        ({"attempts": [3]}, "settings.json: 3: must be an object with some of the keys scale, thresholds, most_faces"),
        ({"attempts": [{"scale": 1}]}, "settings.json: thresholds is missing in {'scale': 1}"),
        (
            {"attempts": [{"scale": 2, "thresholds": [0, 0, 0], "most_faces": 1}]},
            "settings.json: scale is 2; give above 0 and at most 1",
        ),
        ("[]", "settings.json: must be an object of keys and values"),
        ("{", "settings.json: is not JSON"),
    ],
)
def test_settings_that_make_no_sense(weights, folder, tmp_path, capsys, settings, reason):
    refused(capsys, reason, weights, folder, tmp_path / "out.csv", settings=settings)


def test_settings_that_are_not_there(weights, folder, tmp_path, capsys):
    more = ("--clip-settings", tmp_path / "nowhere.json")
    refused(capsys, "nowhere.json: can't be read (No such file", weights, folder, tmp_path / "out.csv", *more)


def test_a_frame_limit_without_a_track(weights, folder, tmp_path, capsys):
    reason = "--frame-limit: frame_limit is 30; give 31 or more, or no track is found"
    refused(capsys, reason, weights, folder, tmp_path / "out.csv", "--frame-limit", 30, settings=None)


def test_a_name_that_tells_no_model(weights, folder, tmp_path, capsys):
    shutil.copy(weights / CLIPS, tmp_path / "mine.model")
    reason = (
        f"mine.model: its name tells no model of The Medics; give the file the name of its like: {MODELS['i3d'].file}"
    )
    args = (tmp_path, folder, tmp_path / "out.csv", "--system", "medics")
    refused(capsys, reason, *args, models=("mine.model",))


def test_weights_of_another_network(weights, folder, tmp_path, capsys):
    shutil.copy(weights / SQUARES, tmp_path / CLIPS)
    reason = f"{CLIPS}: holds the network SEResNeXt50, and mc3_112 is mc3_18; use it as one of seresnext50, or name"
    refused(capsys, reason, tmp_path, folder, tmp_path / "out.csv")


def test_an_engine_that_runs_none_of_its_models(weights, folder, tmp_path, capsys):
    reason = "--engine native: this system's models run on avx512, openvino, onnxruntime, torch"
    refused(capsys, reason, weights, folder, tmp_path / "out.csv", "--engine", "native")


@needs_openvino
def test_engines_agree(finished, weights, folder, tmp_path):
    """In fp32 to rounding; bf16 is another run with scores of its own."""
    shutil.copy(finished.parent / "videos" / "face.mp4", folder)
    expected = float(rows_of(finished.with_name("faces.csv"))[0][CLIPS])  # on OpenVINO in fp32
    for engine, precision, most in (("torch", "fp32", 1e-5), ("openvino", "bf16", 0.01)):
        assert run(weights, folder, tmp_path / "out.csv", "--engine", engine, "--precision", precision) == 0
        label = labels_of(tmp_path / "out.csv")["face.mp4"]
        assert label == pytest.approx(expected, abs=most)
        assert (abs(label - expected) > 1e-5) == (precision == "bf16")
    assert len(list(tmp_path.glob("out.*.jsonl"))) == 2


def test_another_systems_flag(weights, folder, tmp_path, capsys):
    reason = "--detector: is not for system medics, which takes --frame-limit, --whole-video, --clip-settings"
    refused(capsys, reason, weights, folder, tmp_path / "out.csv", "--detector", "mtcnn")
