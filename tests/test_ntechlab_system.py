"""NtechLab's system as a user runs it: every face's row worked out by hand, bad input, and the published numbers."""

import csv
import json
import shutil

import cv2
import numpy as np
import pytest
import torch

import predict_folder
from runtime.memory import MemoryBudget
from systems.ntechlab.checkpoints import PUBLISHED_FILE, PUBLISHED_NAMES, save_classifier
from systems.ntechlab.models import ROLES, create_network
from systems.ntechlab.sampler import TrackSampler
from systems.ntechlab.strategy import weighted_mean
from systems.sample import Account, Sample
from tests import media, mjpeg
from tests.ntechlab import GOLDEN, fixed_checkpoint, found, video_path

WIDTH, HEIGHT = 320, 180
FACE, CUT = (100, 40, 160, 100), (85, 25, 175, 115)  # a box, and what is cut out: half as large again
CORNER, CORNER_CUT = (-10, -10, 50, 50), (0, 0, 65, 65)
BESIDE = (400, 40, 460, 100)  # outside the frame
# frames, frames a second and the boxes of each searched frame of each video
VIDEOS = {
    "border.mp4": (45, 30, [[CORNER, BESIDE]] * 8),
    "face.mp4": (45, 30, [[FACE]] * 8),
    "none.mp4": (45, 30, [[]] * 8),
    "short.mp4": (45, 30, [[]] * 2 + [[FACE]] * 6),
    "slow.mp4": (20, 5, [[FACE]] * 7),
}
COLUMNS = ["video", "track", "model", "frame", "sequence_start", "flip", "x1", "y1", "x2", "y2", "probability"]
COLUMNS += ["person"]


def entry(frames: int, boxes: list, step: int) -> dict:
    """A video's recorded detections, `boxes` of every frame that is searched."""
    detections = [
        {"frame": 3 * step * number, "boxes": each, "scores": [0.95] * len(each)} for number, each in enumerate(boxes)
    ]
    return {"width": WIDTH, "height": HEIGHT, "frames": frames, "detections": detections}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The videos, and one of which nothing was recorded."""
    folder = tmp_path_factory.mktemp("videos")
    for name, (count, rate, _) in VIDEOS.items():
        media.write_video(folder / name, media.face_frames(count, WIDTH, HEIGHT, 90), rate=rate)
    shutil.copy(folder / "none.mp4", folder / "unknown.mp4")
    return folder


@pytest.fixture(scope="module")
def detections(tmp_path_factory):
    path = tmp_path_factory.mktemp("detections") / "detections.json"
    entries = {name: entry(count, boxes, 1 if rate < 8 else 2) for name, (count, rate, boxes) in VIDEOS.items()}
    path.write_text(json.dumps(entries))
    return path


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A small checkpoint for each role, by its name; statistics of noise and faces spread their scores."""
    folder = tmp_path_factory.mktemp("weights")
    faces = np.stack([cv2.resize(frame[:, 60:210], (192, 224)) for frame in media.face_frames(7, WIDTH, HEIGHT, 90)])
    faces = torch.from_numpy(faces).permute(0, 3, 1, 2) / 255 * 4 - 2
    for seed, role in enumerate(ROLES):
        torch.manual_seed(seed)
        network = create_network(role, media.ENCODER)
        for layer in network.modules():
            if isinstance(layer, torch.nn.BatchNorm2d):
                layer.momentum = 1.0
        with torch.no_grad():
            network.train()(torch.cat([faces, torch.randn(7, 3, 224, 192)]))
            network.classifier.weight.mul_(0.2 / network.eval()(faces).std())
        save_classifier(folder / role, network, role=role, encoder=media.ENCODER)
    return folder


def run(weights, folder, output, *more, models=ROLES):
    return predict_folder.main(
        [
            *("--weights-dir", str(weights), "--models", *models, "--test-dir", str(folder), "--output", str(output)),
            *("--device", "cpu", "--engine", "torch", "--workers", "1", *map(str, more)),
        ]
    )


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def finished(folder, weights, detections, tmp_path_factory):
    """One run over it all: the path of its CSV."""
    output = tmp_path_factory.mktemp("out") / "submission.csv"
    more = ("--faces-csv", output.with_name("faces.csv"), "--report", output.with_name("report.html"))
    assert run(weights, folder, output, "--detections", detections, *more) == 0
    return output


def test_report_tells_what_found_the_faces(finished):
    page = finished.with_name("report.html").read_text()
    assert "<dt>Faces found by</dt><dd>recorded detections</dd>" in page


def faces_of(finished, video):
    return [row for row in rows_of(finished.with_name("faces.csv")) if row["video"] == video]


def expected_rows(frames: int, cut: tuple) -> set[tuple]:
    """Model, frame, first frame of the sequence, flip and box of a track over the kept frames 0 to `frames` - 1."""
    rows = set()
    for number, start in enumerate(range(0, frames - 6, 14)):
        rows |= {("seq", frame, start, int(number % 2 == 0), *cut) for frame in range(start, start + 7)}
    for number, frame in enumerate(range(0, frames, 2)):
        rows.add(("large_crop" if number % 4 < 2 else "re", frame, frame, int(number % 2 == 0), *cut))
    return rows


@pytest.mark.parametrize(
    ("video", "frames", "cut", "counts"),
    [
        ("face.mp4", 22, CUT, {"seq": 14, "large_crop": 6, "re": 5}),
        ("border.mp4", 22, CORNER_CUT, {"seq": 14, "large_crop": 6, "re": 5}),
        ("slow.mp4", 19, CUT, {"seq": 7, "large_crop": 6, "re": 4}),
    ],
)
def test_faces_by_hand(finished, video, frames, cut, counts):
    rows = faces_of(finished, video)
    assert list(rows[0]) == COLUMNS and {row["track"] for row in rows} == {"0"}
    assert {role: sum(row["model"] == role for row in rows) for role in ROLES} == counts
    numbers = [(row["model"], *(int(row[name]) for name in COLUMNS[3:10])) for row in rows]
    assert len(numbers) == len(set(numbers)) and set(numbers) == expected_rows(frames, cut)


def test_each_image_has_its_own_probability(finished):
    probabilities = [float(row["probability"]) for row in faces_of(finished, "face.mp4")]
    assert len(set(probabilities)) == len(probabilities) and all(0 < each < 1 for each in probabilities)


def test_scores(finished):
    labels = {row["filename"]: float(row["label"]) for row in rows_of(finished)}
    assert list(labels) == [*VIDEOS, "unknown.mp4"]
    for video in ("border.mp4", "face.mp4", "slow.mp4"):
        probabilities = [float(row["probability"]) for row in faces_of(finished, video)]
        assert labels[video] == pytest.approx(weighted_mean(probabilities), abs=1e-6) and labels[video] != 0.5
    assert labels["none.mp4"] == labels["short.mp4"] == labels["unknown.mp4"] == 0.5


def test_summary(finished):
    summary = json.loads(finished.with_suffix(".summary.json").read_text())
    assert (summary["videos"], summary["scored"]) == (6, 3) and not summary["failed"]
    assert summary["no_face"] == ["none.mp4", "short.mp4"]
    assert summary["unreadable"] == {"unknown.mp4": "has no recorded detections in the file of --detections"}
    assert summary["notes"] == {
        "slow.mp4": ["it shows 5 frames a second: every one is kept (the published system kept none)"]
    }
    assert not summary["fewer_frames"] and not summary["short"]
    assert summary["settings"]["system"] == "ntechlab" and "detections" in summary["settings"]


def test_report(finished):
    page = finished.with_name("report.html").read_text()
    assert "the mean of all probabilities" in page and all(video in page for video in VIDEOS)
    assert "Scores from frame 0 to frame 40" in page


def test_what_is_done_is_not_done_again(finished, folder, weights, detections, capsys, monkeypatch):
    before = finished.read_bytes()
    monkeypatch.setattr("systems.ntechlab.track_models.TrackModels.score", None)
    assert run(weights, folder, finished, "--detections", detections) == 0
    assert "Predicting 6 videos, 5 of them done before" in capsys.readouterr().out
    assert finished.read_bytes() == before


@pytest.fixture
def one_video(folder, tmp_path):
    """A folder with the video of one face."""
    (tmp_path / "one").mkdir()
    shutil.copy(folder / "face.mp4", tmp_path / "one")
    return tmp_path / "one"


def test_overwrite(finished, one_video, weights, detections, tmp_path, capsys):
    label = {row["filename"]: row["label"] for row in rows_of(finished)}["face.mp4"]
    for more in ((), ("--overwrite",)):
        assert run(weights, one_video, tmp_path / "out.csv", "--detections", detections, *more) == 0
        assert "done before" not in capsys.readouterr().out
        assert rows_of(tmp_path / "out.csv") == [{"filename": "face.mp4", "label": label}]


def test_fewer_models_in_another_order(finished, one_video, weights, detections, tmp_path):
    faces = tmp_path / "faces.csv"
    more = ("--detections", detections, "--faces-csv", faces)
    assert run(weights, one_video, tmp_path / "out.csv", *more, models=("seq", "large_crop")) == 0
    wanted = [row for row in faces_of(finished, "face.mp4") if row["model"] != "re"]
    assert rows_of(faces) == wanted
    pooled = [float(row["probability"]) for row in wanted]
    assert float(rows_of(tmp_path / "out.csv")[0]["label"]) == pytest.approx(weighted_mean(pooled), abs=1e-6)


def test_openvino_and_other_batches_give_the_same(finished, one_video, weights, detections, tmp_path):
    pytest.importorskip("openvino")
    faces = tmp_path / "faces.csv"
    more = ("--detections", detections, "--faces-csv", faces, "--engine", "openvino", "--batch-size", "1")
    assert run(weights, one_video, tmp_path / "out.csv", *more, models=("seq",)) == 0
    expected = [row for row in faces_of(finished, "face.mp4") if row["model"] == "seq"]
    for row, other in zip(rows_of(faces), expected, strict=True):
        assert float(row.pop("probability")) == pytest.approx(float(other.pop("probability")), abs=2e-4)
        assert row == other


def test_mtcnn_finds_faces(one_video, weights, tmp_path):
    """Without the file of DSFD's weights."""
    media.write_video(one_video / "face.mp4", media.face_frames(1) * 45)
    faces = tmp_path / "faces.csv"
    assert run(weights, one_video, tmp_path / "out.csv", "--faces-csv", faces, models=("large_crop",)) == 0
    assert len(rows_of(faces)) == 6
    assert json.loads((tmp_path / "out.summary.json").read_text())["settings"]["detector"] == "mtcnn"


def test_turned_videos(one_video, weights, tmp_path):
    """Boxes are of the upright frame, and cut at its edges."""
    media.set_rotation(one_video / "face.mp4", 90)
    path, faces = tmp_path / "detections.json", tmp_path / "faces.csv"
    upright = {"width": HEIGHT, "height": WIDTH}
    path.write_text(json.dumps({"face.mp4": {**entry(45, [[(100, 240, 160, 300)]] * 8, 2), **upright}}))
    more = ("--detections", path, "--faces-csv", faces)
    assert run(weights, one_video, tmp_path / "out.csv", *more, models=("re",)) == 0
    assert {tuple(int(row[name]) for name in ("x1", "y1", "x2", "y2")) for row in rows_of(faces)} == {
        (85, 225, 175, 315)
    }


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"width": 640}, "the recorded detections are of a video of 640x180, and it has 320x180"),
        ({"detections": [{"frame": each, "boxes": [], "scores": []} for each in (0, 5, 10)]}, "no entry for frame 6"),
    ],
)
def test_detections_of_another_video(one_video, weights, tmp_path, change, reason):
    path = tmp_path / "detections.json"
    path.write_text(json.dumps({"face.mp4": {**entry(45, [[FACE]] * 8, 2), **change}}))
    assert run(weights, one_video, tmp_path / "out.csv", "--detections", path, models=("re",)) == 1
    unreadable = json.loads((tmp_path / "out.summary.json").read_text())["unreadable"]
    assert reason in unreadable["face.mp4"] and "\n" not in unreadable["face.mp4"]


def samples_of(path) -> tuple[list[Sample], Account]:
    """What the first model sees of a video with a face in each frame that can be read."""
    sampler = TrackSampler(
        {"large_crop": 0}, detect=lambda frames: [found((FACE, 0.95))] * len(frames), most=4, memory=MemoryBudget(2**30)
    )
    account = Account()
    return list(sampler.samples(str(path), account)), account


def test_frames_that_are_missing_move_no_face(tmp_path):
    """Faces are cut from the frames in which they were found, also behind one that can't be read."""
    path = mjpeg.write_pictures(tmp_path / "damaged.avi", media.face_frames(60, WIDTH, HEIGHT), unreadable=[6])
    samples, account = samples_of(path)
    assert account.frames == account.frames_wanted - 1 == 9
    assert [sample.frames[0] for sample in samples][:3] == [12, 16, 28]  # not 0, 4, 16


def test_frames_that_change_their_size(tmp_path):
    """What lies outside of a smaller frame is left out."""
    frames = media.face_frames(30, WIDTH, HEIGHT) + media.face_frames(15, 64, 36, 18)
    samples, _ = samples_of(mjpeg.write_pictures(tmp_path / "changes.avi", frames))
    assert [sample.frames[0] for sample in samples] == [0, 4, 16, 20]  # 32 and 36 are of the small ones


def test_what_a_frame_tells_is_noted(tmp_path):
    path = media.write_video(tmp_path / "hdr.mp4", media.face_frames(8, WIDTH, HEIGHT), color={"color_trc": 16})
    _, account = samples_of(path)
    assert len(account.notes) == 1 and account.notes[0].startswith("HDR")


def refused(capsys, reason, *args, **kwargs):
    """The run ends with one line that gives the reason, and writes no CSV."""
    assert run(*args, **kwargs) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error: " in line]
    assert reason in line and not args[2].exists()


def test_two_models_of_a_role(one_video, weights, detections, tmp_path, capsys):
    shutil.copytree(weights, tmp_path / "weights")
    shutil.copy(weights / "re", tmp_path / "weights" / "other")
    reason = "other is a second model of role re; give one for each of large_crop, re, seq"
    args = (tmp_path / "weights", one_video, tmp_path / "out.csv", "--detections", detections)
    refused(capsys, reason, *args, models=("re", "other"))


def test_a_model_in_the_wrong_role(one_video, weights, detections, tmp_path, capsys):
    content = torch.load(weights / "re")
    torch.save({**content, "role": "seq"}, tmp_path / "wrong")
    reason = "wrong: is a frame model, and seq is the role of a sequence model; name the right file"
    args = (tmp_path, one_video, tmp_path / "out.csv", "--detections", detections)
    refused(capsys, reason, *args, models=("wrong",))


def test_roles_of_files_that_do_not_tell(finished, one_video, weights, detections, tmp_path, capsys):
    for role in ("re", "large_crop"):
        content = torch.load(weights / role)
        del content["role"]
        torch.save(content, tmp_path / f"my {role}")
    faces = tmp_path / "faces.csv"
    args = (tmp_path, one_video, tmp_path / "out.csv", "--detections", detections, "--faces-csv", faces)
    models = ("my large_crop", "my re")
    refused(capsys, "my large_crop: neither it nor its folder's name tells its role", *args, models=models)
    for roles in (("re",), ROLES):
        reason = "--roles: give one for each of --models, in their order"
        refused(capsys, reason, *args, "--roles", *roles, models=models)
    assert run(*args, "--roles", "large_crop", "re", models=models) == 0
    assert rows_of(faces) == [row for row in faces_of(finished, "face.mp4") if row["model"] != "seq"]


def test_models_of_two_systems(one_video, weights, tmp_path, capsys):
    shutil.copy(weights / "re", tmp_path / "re")
    media.write_checkpoint(tmp_path / "winner")
    reason = "--models: are of several systems (re: ntechlab; winner: seferbekov); give those of one"
    refused(capsys, reason, tmp_path, one_video, tmp_path / "out.csv", models=("re", "winner"))


def test_another_systems_flag(one_video, weights, tmp_path, capsys):
    more = ("--spread-faces", "--system", "ntechlab")
    reason = "--spread-faces: is not for system ntechlab, which takes --detector, --detections, --roles"
    refused(capsys, reason, weights, one_video, tmp_path / "out.csv", *more)


def test_the_file_of_dsfd_is_missing(one_video, weights, tmp_path, capsys):
    reason = f"--detector dsfd: there is no {weights}/WIDERFace_DSFD_RES152.fp16.pth; put the file there, or use"
    refused(capsys, reason, weights, one_video, tmp_path / "out.csv", "--detector", "dsfd")


@pytest.mark.parametrize(
    ("content", "reason"), [(None, "No such file"), ("{", "is no JSON"), ("[]", "holds no object of videos")]
)
def test_no_recorded_detections(one_video, weights, tmp_path, capsys, content, reason):
    path = tmp_path / "detections.json"
    if content is not None:
        path.write_text(content)
    refused(capsys, reason, weights, one_video, tmp_path / "out.csv", "--detections", path)


def test_a_detector_and_recorded_detections(one_video, weights, detections, tmp_path, capsys):
    more = ("--detections", detections, "--detector", "mtcnn")
    refused(capsys, "give one of them", weights, one_video, tmp_path / "out.csv", *more)


@pytest.mark.skipif(not GOLDEN.is_dir(), reason="no ../shared")
def test_published_probabilities(tmp_path, tmp_path_factory):
    """Of one of the three fixed classifiers, over a video of two tracks."""
    video, role = "facenet_video.mp4", "large_crop"
    shutil.copytree(fixed_checkpoint(tmp_path_factory, role).parent, tmp_path / PUBLISHED_NAMES[role])
    (tmp_path / "videos").mkdir()
    shutil.copy(video_path(video), tmp_path / "videos")
    faces = tmp_path / "faces.csv"
    more = ("--detections", GOLDEN / "detections.json", "--faces-csv", faces)
    assert (tmp_path / PUBLISHED_NAMES[role] / PUBLISHED_FILE).is_file()
    assert run(tmp_path, tmp_path / "videos", tmp_path / "out.csv", *more, models=(PUBLISHED_NAMES[role],)) == 0
    expected = [row for row in rows_of(GOLDEN / "faces.csv") if (row["video"], row["model"]) == (video, role)]
    errors = []
    for row, published in zip(_in_order(rows_of(faces)), _in_order(expected), strict=True):
        errors.append(abs(float(row.pop("probability")) - float(published.pop("probability"))))
        assert row.pop("person").isdecimal()
        assert row == published
    assert len(errors) == 21 and max(errors) <= 2e-3 and sum(errors) / len(errors) <= 2e-4


def _in_order(rows):
    return sorted(rows, key=lambda row: (int(row["track"]), int(row["frame"])))
