"""explain.py as a user runs it, with each system; what its page says, that nothing in it can run, and bad input."""

import base64
import hashlib
import json
import re
import shutil

import cv2
import numpy as np
import pytest
import torch

import explain
from inference.explained_faces import ExplainedFace, places_by_score
from inference.explanation_page import About, Explanation, page
from inference.explanation_pictures import face_picture
from inference.heat import Deletion
from systems import registry
from systems.medics.models import OURS, save_checkpoint
from systems.medics.starting_weights import starting_model
from systems.ntechlab.checkpoints import save_classifier
from systems.ntechlab.models import create_network
from systems.sample import Sample, ScoredFace
from tests import media
from tests.test_report import HOSTILE, Page
from tests.toy_system import network

WIDTH, HEIGHT = 320, 180
TURNED = "\udcff\u202egpj.mp4"


def run(video, weights, out, *more, models=("first",)):
    return explain.main(
        [
            *("--video", str(video), "--weights-dir", str(weights), "--models", *models, "--out", str(out)),
            *("--device", "cpu", "--engine", "torch", "--draws", "2", *map(str, more)),
        ]
    )


def outcomes(source):
    """Of each face whether the test was passed, None where there was nothing to test."""
    words = re.findall(r"<strong>(Deletion test passed|Deletion test not passed|No heat)", source)
    return [{"Deletion test passed": True, "Deletion test not passed": False, "No heat": None}[word] for word in words]


@pytest.fixture(scope="module")
def short_video(tmp_path_factory):
    """45 frames of one face, 30 a second."""
    path = tmp_path_factory.mktemp("short") / "short.mp4"
    return media.write_video(path, media.face_frames(45, WIDTH, HEIGHT, 90))


# the three systems, and a fourth


@pytest.fixture(scope="module")
def explained(face_video, weights_dir, tmp_path_factory):
    """A page of the winner's system with two models, and what was printed."""
    out = tmp_path_factory.mktemp("out") / "new" / "page.html"
    assert run(face_video, weights_dir, out, "--faces", 3, models=("first", "second")) == 0
    return out.read_text()


def test_the_winners_system(explained, face_video, weights_dir):
    """Three faces of 32, each with the face, its heat, what was blacked out, and its frame."""
    text = Page(explained).text
    assert "the 3 with the highest scores of 32" in text and len(outcomes(explained)) == 3
    scores = [float(score) for score in re.findall(r"Face \d: frame \d+, at \d\.\d\d s, score (\d\.\d{3})", text)]
    assert len(scores) == 3 and scores == sorted(scores, reverse=True)
    assert hashlib.sha256(face_video.read_bytes()).hexdigest() in text
    assert all(hashlib.sha256((weights_dir / name).read_bytes()).hexdigest() in text for name in ("first", "second"))
    assert "Grad-CAM" in text and "fp32 (torch on cpu)" in text and "at 2 other places" in text
    pictures = [base64.b64decode(data) for data in re.findall(r"data:image/webp;base64,([^\"]+)", explained)]
    assert len(pictures) == 4 * 3
    sizes = [cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).shape[:2] for data in pictures]
    assert sizes[0] == sizes[1] == sizes[2] and max(sizes[0]) == 256 and sizes[3] == (270, 480)


def test_scores_and_times_are_those_of_the_face(explained):
    """Of each face the mean of its models; a frame's time is its number by 30."""
    text = Page(explained).text
    faces = re.findall(r"frame (\d+), at (\d\.\d\d) s, score (\d\.\d{3})", text)
    by_model = re.findall(r"first(\d\.\d{4})\s*second(\d\.\d{4})", text)
    assert len(by_model) == 3
    for (frame, second, score), models in zip(faces, by_model, strict=True):
        assert float(second) == pytest.approx(int(frame) / 30, abs=0.006)
        assert float(score) == pytest.approx(np.mean([float(each) for each in models]), abs=0.001)


def test_the_same_by_occlusion(face_video, weights_dir, tmp_path, capsys):
    assert run(face_video, weights_dir, tmp_path / "page.html", "--faces", 1, "--method", "occlusion") == 0
    source = (tmp_path / "page.html").read_text()
    assert "occlusion: by how much a black square" in source and len(outcomes(source)) == 1
    printed = capsys.readouterr().out
    told = {True: "the deletion test holds", False: "the deletion test fails", None: "no heat"}
    assert told[outcomes(source)[0]] in printed and str(tmp_path / "page.html") in printed


def test_ntechlabs_system(short_video, tmp_path):
    """Single images and sequences, of which some are mirrored for the models, and none on the page."""
    for role in ("large_crop", "seq"):
        torch.manual_seed(len(role))
        classifier = create_network(role, media.ENCODER)
        save_classifier(tmp_path / role, classifier, role=role, encoder=media.ENCODER)
    size = {"width": WIDTH, "height": HEIGHT, "frames": 45}
    boxes = [{"frame": 6 * number, "boxes": [[100, 40, 160, 100]], "scores": [0.95]} for number in range(8)]
    (tmp_path / "found.json").write_text(json.dumps({"short.mp4": {**size, "detections": boxes}}))
    more = ("--detections", tmp_path / "found.json", "--faces", 8)
    assert run(short_video, tmp_path, tmp_path / "page.html", *more, models=("large_crop", "seq")) == 0
    text = Page((tmp_path / "page.html").read_text()).text
    # of 22 frames six go to the first model, and two sequences of seven to the other
    assert "the 8 with the highest scores of 8" in text
    assert text.count("5 of 7 frames") == 2 and text.count("large_crop0.") == 6 and text.count("seq0.") == 2
    assert text.count("the models saw it mirrored") == 4 and "Box from 85, 25 to 175, 115" in text


def test_the_medics_system(short_video, tmp_path):
    """A 3D network's clip: five of its frames side by side."""
    model = starting_model("res10", seed=0, pretrained=False)
    with torch.no_grad():
        model.network.fc.weight.mul_(20)
    save_checkpoint(tmp_path / "clips", model)
    assert OURS["res10"].is_3d
    (tmp_path / "quick.json").write_text(json.dumps({"frame_step": 2, "frame_limit": 16}))
    more = ("--clip-settings", tmp_path / "quick.json")
    assert run(short_video, tmp_path, tmp_path / "page.html", *more, models=("clips",)) == 0
    source = (tmp_path / "page.html").read_text()
    assert "the 1 with the highest scores of 1" in source and "5 of 15 frames" in source
    assert "frames 0 to 14, 0.00 to 0.47 s" in source
    strip = base64.b64decode(re.search(r"data:image/webp;base64,([^\"]+)", source)[1])
    assert cv2.imdecode(np.frombuffer(strip, np.uint8), cv2.IMREAD_COLOR).shape == (144, 5 * 144, 3)


def test_models_that_count_nothing(short_video, tmp_path, capsys):
    save_checkpoint(tmp_path / "clips", starting_model("res10", seed=0, pretrained=False))
    quick = {"frame_step": 2, "frame_limit": 16, "model_weights": {"res10": 0}}
    (tmp_path / "quick.json").write_text(json.dumps(quick))
    more = ("--clip-settings", tmp_path / "quick.json")
    assert run(short_video, tmp_path, tmp_path / "page.html", *more, models=("clips",)) == 1
    assert "error: --clip-settings: its model_weights are 0 for all models" in capsys.readouterr().err


@pytest.fixture
def toy(monkeypatch, tmp_path):
    """A folder with a checkpoint of a system that has no gradients to give, and a video whose right half is lit."""
    monkeypatch.setitem(registry.SYSTEMS, "toy", "tests.toy_system")
    network.save(tmp_path / "low", network.ToyNetwork(0.2))
    frame = np.full((64, 96, 3), 16, np.uint8)
    frame[:, 48:] = 220
    return media.write_video(tmp_path / "lit.mp4", [frame] * 12).parent


def test_a_system_without_gradients_is_explained_by_occlusion(toy):
    """It judges brightness, so that the lit half is what counts, and blacking it out is what lowers the score."""
    assert run(toy / "lit.mp4", toy, toy / "page.html", models=("low",)) == 0
    source = (toy / "page.html").read_text()
    assert "occlusion" in source and outcomes(source) == [True]
    heat = base64.b64decode(re.findall(r"data:image/webp;base64,([^\"]+)", source)[1])
    left, right = np.hsplit(cv2.imdecode(np.frombuffer(heat, np.uint8), cv2.IMREAD_COLOR)[:, : 96 * 3 // 2], 2)
    assert right.mean() > 2 * left.mean()


def test_it_has_no_gradients_to_ask_for(toy, capsys):
    assert run(toy / "lit.mp4", toy, toy / "page.html", "--method", "gradcam", models=("low",)) == 1
    err = capsys.readouterr().err
    assert err == "error: --method gradcam: system toy gives no gradients; use --method occlusion\n"


# which faces


def scored(frame, *probabilities, **more):
    box = (0, 0, 9, 9)
    return ScoredFace(frame=frame, face=0, bbox=box, detector_score=0.9, probabilities=list(probabilities), **more)


def test_the_highest_faces_come_first_and_of_equal_ones_the_earlier():
    faces = [scored(0, 0.2, 0.4), scored(3, 0.9, 0.7), scored(3, 0.5, 0.5), scored(6, 1.0, 0.6)]
    assert places_by_score(faces, lambda role: 1) == [[1], [3], [2], [0]]


def test_samples_of_one_clip_are_one_face():
    """A face of two clips' models and one of squares, each for its own; their weights count, and what has none is left
    out."""
    clip = {"frames": (0, 1, 2)}
    faces = [
        scored(0, 0.9, model=0, role="a", **clip),
        scored(0, 0.3, model=1, role="b", **clip),
        scored(0, 0.7, model=2, role="c", frames=(0, 1)),
    ]
    assert places_by_score(faces, lambda role: 1) == [[2], [0, 1]]  # 0.7, 0.6
    assert places_by_score(faces, {"a": 3, "b": 1, "c": 1}.get) == [[0, 1], [2]]  # 0.75, 0.7
    assert places_by_score(faces, {"a": 1, "b": 0, "c": 0}.get) == [[0, 1]]


# the page


def explanation(score=0.9, *, after=(0.2, 0.8), heat=True, flipped=False, model=None):
    pixels = np.full((1, 40, 30, 3), 90, np.uint8)
    sample = Sample(
        pixels=None, frames=(7,), track=0, bbox=(1, 2, 31, 42), detector_score=0.9, flipped=flipped, model=model
    )
    test = Deletion(share=0.2, before=score, hottest=after[0], random=after[1], draws=20, pixels=pixels)
    return Explanation(
        face=ExplainedFace(samples=[sample], scored=[sample.scored([score])], weights=[1.0], pixels=pixels),
        heat=np.zeros((1, 40, 30), np.float32),
        deletion=test if heat else None,
        frame=face_picture(pixels, flipped=False),
    )


def about(**more):
    return About(
        **{
            "video": "a.mp4",
            "digest": "0" * 64,
            "score": 0.75,
            "verdict": "the mean",
            "models": {"first": "1" * 64},
            "faces": 9,
            "method": "gradcam",
            "draws": 20,
            "precision": "fp32",
            "engine": "torch on cpu",
            **more,
        }
    )


def test_the_page_says_whether_the_test_was_passed():
    text = Page(page(about(), [explanation(), explanation(after=(0.8, 0.2)), explanation(after=(1.0, 0.9))])).text
    assert "The heat of 1 of 3 faces passes the deletion test." in text
    assert (
        "Deletion test passed. Blacking out the hottest 20% lowers the score by 0.700, from 0.900 to 0.200; blacking "
        "out as many pixels elsewhere lowers the score by 0.100 on the mean of 20 draws, to 0.800." in text
    )
    assert text.count("Deletion test not passed: don’t rely on this heat.") == 2
    assert "raises the score by 0.100, from 0.900 to 1.000" in text and text.count("Try --method occlusion.") == 2
    assert "Try --method" not in page(about(method="occlusion"), [explanation(after=(0.8, 0.2))])
    assert "No face looks fake" not in text and "no proof" in text


def test_a_face_without_heat_and_one_that_looks_real():
    text = Page(page(about(), [explanation(0.1, heat=False)])).text
    assert "No heat, no test." in text and "The heat of 0 of 1 faces passes" in text
    assert "No face looks fake to the models: the highest score is 0.100." in text


def test_a_face_that_no_time_is_known_of():
    text = Page(page(about(), [explanation()])).text
    assert "Face 1: frame 7, score 0.900" in text and "Box from 1, 2 to 31, 42 in pixels of the frame." in text


def test_names_are_text_and_nothing_can_run():
    hostile = {HOSTILE: "1" * 64, "</style><script>alert(1)</script>": "2" * 64}
    given = [explanation(model=1, flipped=True)]
    source = page(about(video=TURNED + HOSTILE, models=hostile, notes=['"><script>alert(2)</script>']), given)
    shown = Page(source)
    assert shown.text.count(HOSTILE) >= 3 and "\\udcff\\u202egpj.mp4" in shown.text
    assert '"><script>alert(2)</script>' in shown.text and shown.text.count("</style><script>") == 2
    assert shown.named("script") == [] and all(each["src"].startswith("data:image/webp") for each in shown.named("img"))
    assert not [name for _, attributes in shown.tags for name in attributes if name.startswith("on") or name == "style"]


def test_the_policy_knows_the_style_alone():
    source = page(about(), [explanation()])
    style = source.split("<style>")[1].split("</style>")[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    (policy,) = [each["content"] for each in Page(source).named("meta") if "http-equiv" in each]
    assert policy == (
        f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    assert "$" not in source


@pytest.mark.parametrize("width", [390, 1280])
def test_in_a_browser(browser, tmp_path, width):
    """Nothing of hostile names runs, nothing is asked for, and nothing is wider than the window."""
    names = {HOSTILE: "1" * 64, "</style><script>alert(1)</script>": "2" * 64, "a" * 200: "3" * 64}
    given = [explanation(model=place, flipped=True) for place in range(3)] + [explanation(0.2, heat=False, model=0)]
    (tmp_path / "page.html").write_text(page(about(video="b" * 200 + HOSTILE, models=names), given))
    browser.call(
        "Emulation.setDeviceMetricsOverride", width=width, height=844, deviceScaleFactor=2, mobile=width == 390
    )
    browser.open(tmp_path / "page.html")
    shown, whole = (browser.evaluate(f"document.documentElement.{name}") for name in ("clientWidth", "scrollWidth"))
    assert width - 20 <= shown == whole  # less a scroll bar
    assert browser.evaluate("document.images.length") == 3 * 4 + 3
    assert browser.evaluate("[...document.images].every(each => each.naturalWidth > 0 && each.offsetWidth > 0)")
    assert browser.evaluate("getComputedStyle(document.querySelector('.pictures')).display") == "grid"
    methods = [event["method"] for event in browser.events]
    for bad in (
        "Page.javascriptDialogOpening",
        "Runtime.exceptionThrown",
        "Log.entryAdded",
        "Runtime.consoleAPICalled",
    ):
        assert bad not in methods, browser.events
    urls = [
        each["params"]["request"]["url"] for each in browser.events if each["method"] == "Network.requestWillBeSent"
    ]
    assert {url.split(":")[0] for url in urls} == {"file", "data"} and sum(url.startswith("file") for url in urls) == 1


# bad input


def refused(capsys, *args, **kwargs):
    """The one line of a run that fails, after which there is no page."""
    capsys.readouterr()
    assert run(*args, **kwargs) == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    return lines[0]


def test_a_video_that_cannot_be_read(weights_dir, tmp_path, capsys):
    out = tmp_path / "page.html"
    (tmp_path / "text.mp4").write_text("I am no video\n" * 99)
    line = refused(capsys, tmp_path / "text.mp4", weights_dir, out)
    assert line.startswith(f"error: --video {tmp_path}/text.mp4: can't be read") and "name another file" in line
    line = refused(capsys, tmp_path / "missing.mp4", weights_dir, out)
    assert (
        line == f"error: --video {tmp_path}/missing.mp4: can't be opened (No such file or directory); name another file"
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["text.mp4"]


def test_a_video_without_a_face(noise_video, weights_dir, tmp_path, capsys):
    line = refused(capsys, noise_video, weights_dir, tmp_path / "page.html")
    assert line == f"error: --video {noise_video}: no face was found in it, so that there is nothing to explain"
    assert list(tmp_path.iterdir()) == []


def test_checkpoints_of_another_kind(face_video, weights_dir, tmp_path, capsys):
    out = tmp_path / "page.html"
    assert "no checkpoint third" in refused(capsys, face_video, weights_dir, out, models=("third",))
    (tmp_path / "broken").write_bytes(b"no checkpoint")
    assert "broken: refused: it is no plain file of weights" in refused(
        capsys, face_video, tmp_path, out, models=("broken",)
    )
    line = refused(capsys, face_video, weights_dir, out, "--system", "medics")
    assert "its system is seferbekov, not medics" in line
    line = refused(capsys, face_video, weights_dir, out, "--whole-video")
    assert line.startswith("error: --whole-video: is not for system seferbekov")
    assert not out.exists()


def test_a_place_that_cannot_be_written(face_video, weights_dir, tmp_path, capsys):
    """Told before anything is computed."""
    (tmp_path / "file").write_text("")
    line = refused(capsys, face_video, weights_dir, tmp_path / "file" / "page.html")
    assert line.startswith(f"error: --out {tmp_path}/file/page.html: can't be written")
    assert refused(capsys, face_video, weights_dir, tmp_path).startswith(f"error: --out {tmp_path}: is a folder")
    shutil.copy(face_video, tmp_path / "a.mp4")
    line = refused(capsys, tmp_path / "a.mp4", weights_dir, tmp_path / "a.mp4")
    assert "is an input" in line and (tmp_path / "a.mp4").stat().st_size


def test_a_number_of_faces_that_makes_no_sense(face_video, weights_dir, tmp_path, capsys):
    for number in ("0", "65", "x"):
        with pytest.raises(SystemExit):
            run(face_video, weights_dir, tmp_path / "page.html", "--faces", number)
        assert "is not a whole number from 1 to 64" in capsys.readouterr().err
