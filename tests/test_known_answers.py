"""The known answers, held against the libraries themselves, and which of them notice that something is off."""

import cv2
import numpy as np
import pytest
import torch
from facenet_pytorch import MTCNN
from PIL import Image

from faces import face_detector
from inference import known_answers, known_checks, known_scores
from inference.findings import FAILED, NOT_HERE, OK
from inference.known_answers import FRAME, decoded, read_answers
from inference.made_input import CODECS, COUNT, RATE, made_frames, made_pixels, made_planes, write_made_video
from systems.fixed_weights import fix_weights
from systems.imagenet import IMAGENET_MEAN, IMAGENET_STD
from systems.registry import SYSTEMS
from systems.seferbekov import ensemble
from systems.seferbekov.models import DeepFakeClassifier
from tests.engines import DETECTORS

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def answers():
    return read_answers()


@pytest.fixture(scope="module")
def face():
    """The made-up face in the frame that is looked at, and its picture."""
    return made_frames()[FRAME][94:151, 130:181]


def middle(image):
    top, left = (image.shape[0] - 24) // 2, (image.shape[1] - 24) // 2
    return image[top : top + 24, left : left + 24]


def padded(image, side):
    square = np.zeros((side, side, 3), np.uint8)
    top, left = (side - image.shape[0]) // 2, (side - image.shape[1]) // 2
    square[top : top + image.shape[0], left : left + image.shape[1]] = image
    return square


def apart(found, known):
    return np.abs(found.astype(float) - known.astype(float)).max()


# the answers


def test_resized_by_pillow(answers):
    frame = Image.fromarray(made_frames()[FRAME])
    for name, size, rows, columns in (
        ("half", (160, 120), slice(47, 75), slice(65, 90)),
        ("third", (106, 80), slice(31, 50), slice(43, 60)),
    ):
        resized = np.asarray(frame.resize((size[0], 240)).resize(size))[rows, columns]
        top, left = (max(0, (length - 24) // 2) for length in resized.shape[:2])
        assert apart(resized[top : top + 24, left : left + 24], decoded(answers["steps"][name])) == 0


def test_resized_by_opencv(answers, face):
    """A face of 51 x 57 pixels, to 40 by the mean of areas, and to 100 by cubics."""
    smaller = padded(cv2.resize(face, (35, 40), interpolation=cv2.INTER_AREA), 40)
    larger = padded(cv2.resize(face, (89, 100), interpolation=cv2.INTER_CUBIC), 100)
    assert apart(middle(smaller), decoded(answers["steps"]["smaller"])) == 0
    assert apart(middle(larger), decoded(answers["steps"]["larger"])) == 0


def test_colours_by_the_standard(answers):
    """ITU-R BT.601, limited range, from the planes; chroma lies between the pixels that share it."""
    planes = made_planes(made_frames()[FRAME]).astype(float)
    luma = planes[:240]
    blue, red = (np.kron(planes[first : first + 60].reshape(120, 160), np.ones((2, 2))) for first in (240, 300))
    y = (luma - 16) * 255 / 219
    b, r = (blue - 128) * 255 / 224, (red - 128) * 255 / 224
    rgb = np.stack([y + 1.402 * r, y - 0.344136 * b - 0.714136 * r, y + 1.772 * b], axis=2).clip(0, 255)
    known = decoded(answers["steps"]["colours"])
    assert np.abs(middle(rgb[94:151, 130:181]) - known).mean() < 1.5


def test_times(answers):
    indices, times = decoded(answers["steps"]["times"])
    assert indices.tolist() == list(range(COUNT)) and times == pytest.approx(np.arange(COUNT) / RATE, abs=1e-9)


def test_faces_as_facenet_pytorch_finds_them(answers):
    """On frames of half their size, as the released pipeline searches them."""
    detector = MTCNN(margin=0, thresholds=[0.7, 0.8, 0.8], device="cpu")
    for number, known in zip((0, FRAME, 21), decoded(answers["detect"]), strict=True):
        boxes, scores = detector.detect(Image.fromarray(made_frames()[number]).resize((160, 120)))
        assert [*(2 * boxes[0]), scores[0]] == pytest.approx(known.tolist(), abs=1e-3)


def test_a_network_as_pytorch_computes_it(answers):
    network = fix_weights(DeepFakeClassifier("tf_efficientnet_b0_ns"), 1, 1.5).eval()
    network.fc.weight.data *= 150
    network.fc.bias.data += 1
    pixels = torch.from_numpy(made_pixels((1, 64, 64, 3))).permute(0, 3, 1, 2) / 255
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    with torch.no_grad():
        probability = network((pixels - mean) / std).sigmoid()
    assert decoded(answers["systems"]["seferbekov"]["models"]) == pytest.approx(probability.numpy()[0], abs=1e-5)


def philox(counter, key):
    """Philox 4x64-10 (Salmon et al., SC 2011): four numbers of 64 bits."""
    a, b, c, d = counter, 0, 0, 0
    for _ in range(10):
        left, right = 0xD2E7470EE14C6C93 * a, 0xCA5A826395121157 * c
        low = 2**64 - 1
        a, b, c, d = (right >> 64) ^ b ^ key[0], right & low, (left >> 64) ^ d ^ key[1], left & low
        key = (key[0] + 0x9E3779B97F4A7C15) & low, (key[1] + 0xBB67AE8584CAA73B) & low
    return [a, b, c, d]


def test_fixed_weights_are_those_of_the_generator():
    """Philox's first numbers for the seed and the CRC-32 of the tensor's name, from -1 to 1, times the deviation."""
    assert philox(0, (0, 0))[0] == 0x16554D9ECA36314C  # of its authors' test vectors
    layer = fix_weights(torch.nn.Linear(3, 2), 1, 2.0)
    raw = philox(1, (1, 0x07CD5541)) + philox(2, (1, 0x07CD5541))
    expected = [2 * ((number >> 40) / 2**23 - 1) for number in raw[:6]]
    assert layer.weight.flatten().tolist() == pytest.approx(expected, abs=1e-6)
    assert layer.bias.tolist() == [0, 0]


# what is noticed


def findings(answers, folder):
    """What is found of the steps, by their names."""
    return {finding.check: finding for finding in known_checks.check_steps(answers, folder)}


def failed(found):
    return [name for name, finding in found.items() if finding.state == FAILED]


def test_all_steps_are_as_they_must_be(answers, tmp_path):
    found = findings(answers, tmp_path)
    assert {finding.state for finding in found.values()} == {OK} and len(found) == 8


@pytest.mark.parametrize(
    "wrong, names",
    [
        (cv2.INTER_LINEAR, ["resize: OpenCV, smaller", "resize: OpenCV, larger"]),
        (cv2.INTER_NEAREST, ["resize: OpenCV, smaller", "resize: OpenCV, larger"]),
        (cv2.INTER_AREA, ["resize: OpenCV, larger"]),
    ],
)
def test_another_resize_of_opencv(answers, tmp_path, monkeypatch, wrong, names):
    resize = cv2.resize
    monkeypatch.setattr(cv2, "resize", lambda image, size, interpolation: resize(image, size, interpolation=wrong))
    assert failed(findings(answers, tmp_path)) == names


def test_another_resize_of_pillow(answers, tmp_path, monkeypatch):
    resize = Image.Image.resize
    monkeypatch.setattr(Image.Image, "resize", lambda image, size: resize(image, size, Image.Resampling.LANCZOS))
    found = findings(answers, tmp_path)
    assert "resize: Pillow, to a third" in failed(found) and "off by up to" in found["resize: Pillow, to a third"].text


def test_other_colours(answers, tmp_path, monkeypatch):
    """BT.709 instead of BT.601; blue for red; a frame too early."""
    from faces import pixels, video

    to_rgb = video.to_rgb
    for wrong in (
        lambda path, frame: frame.to_ndarray(format="rgb24", src_colorspace=1),
        lambda path, frame: to_rgb(path, frame)[..., ::-1],
        lambda path, frame: np.roll(to_rgb(path, frame), 2, axis=1),
    ):
        monkeypatch.setattr(video, "to_rgb", wrong)
        assert failed(findings(answers, tmp_path)) == [f"decode: colours of frames, {codec}" for codec in CODECS]
    assert pixels.to_rgb is to_rgb


def test_a_step_that_fails_is_told_of(answers, tmp_path, monkeypatch):
    def broken(*args, **kwargs):
        raise MemoryError("none left")

    monkeypatch.setattr(cv2, "resize", broken)
    found = findings(answers, tmp_path)
    assert failed(found) == ["resize: OpenCV, smaller", "resize: OpenCV, larger"]
    assert found["resize: OpenCV, smaller"].text == "MemoryError: none left"


def test_an_encoder_that_is_not_there(answers, tmp_path, monkeypatch):
    monkeypatch.setitem(CODECS, "nonsense", CODECS.pop("libx264"))
    try:
        found = findings(answers, tmp_path)
    finally:
        CODECS["libx264"] = CODECS.pop("nonsense")
    assert found["decode: times of frames, nonsense"].state == NOT_HERE and failed(found) == []


def test_a_detector_that_sees_something_else(answers, monkeypatch):
    """Frames turned upside down: no face; frames with the colours of others: other boxes."""
    frames = known_answers.made_frames
    monkeypatch.setattr(known_answers, "made_frames", lambda: [frame[::-1].copy() for frame in frames()])
    finding = next(iter(known_checks.check_detectors(answers, CPU)))
    assert finding.state == FAILED and "faces in frames of one" in finding.text
    monkeypatch.setattr(known_answers, "made_frames", lambda: [np.roll(frame, 1, axis=1) for frame in frames()])
    assert [finding.state for finding in known_checks.check_detectors(answers, CPU)] == [FAILED] * len(usable())


def usable():
    return [engine for engine in face_detector.ENGINES if known_checks.is_usable(engine, CPU)]


@pytest.fixture(scope="module")
def seferbekov(tmp_path_factory):
    """The winner's system with fixed weights, and the made-up video."""
    folder = tmp_path_factory.mktemp("known")
    return known_scores.fixed_system("seferbekov", folder / "seferbekov"), write_made_video(folder)


def told(system, video, answers, precision="fp32"):
    found = known_scores.scores_of(system, system.open(CPU, "fp32", "torch"), video)
    return known_scores.what_is_off(found, answers["systems"]["seferbekov"], precision)


def test_a_system_is_as_it_must_be(seferbekov, answers):
    assert told(*seferbekov, answers) == []


def test_another_normalisation(seferbekov, answers, monkeypatch):
    """That of other networks: 0.5 and 0.5. Where faces are and what they look like is as it must be."""
    monkeypatch.setattr(ensemble, "IMAGENET_MEAN", (0.5, 0.5, 0.5))
    monkeypatch.setattr(ensemble, "IMAGENET_STD", (0.5, 0.5, 0.5))
    off = told(*seferbekov, answers)
    assert off[0].startswith("normalisation or network: the scores of made-up pixels is off by")
    assert [line.split(":")[0] for line in off if "crop" in line or "detection" in line] == []


def test_blue_for_red_in_a_network(seferbekov, answers, monkeypatch):
    monkeypatch.setattr(ensemble, "IMAGENET_MEAN", IMAGENET_MEAN[::-1])
    assert any(line.startswith("normalisation or network") for line in told(*seferbekov, answers))


def test_other_pictures_of_faces(seferbekov, answers, monkeypatch):
    from systems.seferbekov import faces

    crop = faces.crop_face
    monkeypatch.setattr(faces, "crop_face", lambda frame, bbox: crop(frame, bbox - 10))
    off = told(*seferbekov, answers)
    assert off[0].startswith("crop: the picture of a face") and not any("network" in line for line in off)


def test_a_network_of_other_weights(seferbekov, answers, tmp_path, monkeypatch):
    from systems.seferbekov import known_answer

    monkeypatch.setattr(known_answer, "_SEED", 2)
    other = known_scores.fixed_system("seferbekov", tmp_path / "other")
    assert any(line.startswith("normalisation or network") for line in told(other, seferbekov[1], answers))


@pytest.mark.parametrize("engine", DETECTORS)
@pytest.mark.parametrize("name", SYSTEMS)
def test_each_system_on_each_engine(answers, tmp_path, seferbekov, name, engine):
    system = known_scores.fixed_system(name, tmp_path / name)
    if engine not in system.predictor.engines_on(CPU):
        pytest.skip("not one of its engines")
    found = known_scores.scores_of(system, system.open(CPU, "fp32", engine), seferbekov[1])
    assert known_scores.what_is_off(found, answers["systems"][name], "fp32") == []
    assert known_scores.largest_error(found, answers["systems"][name]) < 1e-4
