"""DSFD: priors and boxes worked by hand, files, and the published code's outputs with fixed weights."""

import importlib.util
import math
import threading
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from engines.gpu import GpuThread
from runtime.errors import InputError
from systems.checkpoints import CheckpointError
from systems.ntechlab import dsfd
from systems.ntechlab.dsfd import DSFD, DsfdDetector, best_boxes, decode, load_dsfd, priors
from tests.ntechlab import GOLDEN, golden, video_path

needs_golden = pytest.mark.skipif(not GOLDEN.is_dir(), reason="no ../shared")


def test_priors():
    boxes = priors(64, 128, ((16, 32), (8, 16), (4, 8), (2, 4), (1, 2), (1, 1)))
    assert boxes.dtype == torch.float32 and boxes.shape == (512 + 128 + 32 + 8 + 2 + 1, 4)
    narrow, tall = 16 / 128 / math.sqrt(1.5), 16 / 64 * math.sqrt(1.5)
    np.testing.assert_allclose(boxes[0], [2 / 128, 2 / 64, narrow, tall], rtol=1e-6)
    np.testing.assert_allclose(boxes[33], [6 / 128, 6 / 64, narrow, tall], rtol=1e-6)  # row by row
    np.testing.assert_allclose(boxes[-1], [0.5, 1, 1, 1], rtol=1e-6)  # cut to the image


def test_decode():
    boxes = torch.tensor([[0.5, 0.5, 0.2, 0.4]])
    same = decode(torch.zeros(1, 4), boxes)
    np.testing.assert_allclose(same, [[0.4, 0.3, 0.6, 0.7]], rtol=1e-6)
    moved = decode(torch.tensor([[5.0, -10.0, 5 * math.log(2), 0.0]]), boxes)
    np.testing.assert_allclose(moved, [[0.4, -0.1, 0.8, 0.3]], rtol=1e-5, atol=1e-6)


def test_best_boxes():
    bboxes = torch.tensor([[0, 0, 1, 1], [0, 0, 1, 0.6], [0, 0, 1, 0.2], [2, 0, 3, 1], [4, 0, 5, 1]]).float()
    kept, scores = best_boxes(bboxes, torch.tensor([0.5, 0.9, 0.4, 0.8, 0.01]))
    # the first overlaps the second, which is better; the third overlaps it by a third; the last is hardly a face
    assert kept.tolist() == bboxes[[1, 3]].tolist() and scores.tolist() == pytest.approx([0.9, 0.8])


class OneFace(nn.Module):
    """Finds the face of the prior at the middle of the coarsest map, and notes what it was given."""

    def __init__(self):
        super().__init__()
        self.threads = set()

    def forward(self, images):
        self.images = images
        self.threads.add(threading.get_ident())
        sizes = [tuple(-(-side // stride) for side in images.shape[2:]) for stride in (4, 8, 16, 32, 64, 128)]
        count = sum(height * width for height, width in sizes)
        scores = torch.zeros(len(images), count)
        scores[:, -1] = 0.9
        return torch.zeros(len(images), count, 4), scores, sizes


@pytest.fixture
def stub(monkeypatch):
    monkeypatch.setattr(dsfd, "load_dsfd", lambda path: OneFace())
    monkeypatch.setattr(dsfd, "on_winograd", lambda network, threads: network)
    return DsfdDetector("stub")


def test_inference_frames_are_padded_and_boxes_shrink(stub):
    frames = [np.full((480, 854, 3), (10, 20, 30), np.uint8)] * 2
    found = stub.detect(frames)
    assert len(found) == 2 and stub.network.images.shape == (2, 3, 288, 512)  # 287 rows, and one more
    np.testing.assert_allclose(stub.network.images[0, :, 0, 0], [30 - 104, 20 - 117, 10 - 123], rtol=1e-5)  # BGR
    assert not stub.network.images[0, :, 287].any()
    # priors are parts of 288 rows, which are taken for parts of the frame: the prior at the fourth column, third row
    height, width = 288, 512
    x, y = 3.5 * 128 / width, min(2.5 * 128 / height, 1)
    assert found[0].bboxes.dtype == np.float32 and found[0].scores.tolist() == pytest.approx([0.9])
    side_x, side_y = min(512 / width / math.sqrt(1.5), 1), 1
    expected = [(x - side_x / 2) * 854, (y - side_y / 2) * 480, (x + side_x / 2) * 854, (y + side_y / 2) * 480]
    np.testing.assert_allclose(found[0].bboxes, [expected], rtol=1e-5)


def test_small_frames_are_enlarged_and_sizes_may_change(stub):
    frames = [np.zeros((90, 160, 3), np.uint8)] * 17 + [np.zeros((160, 90, 3), np.uint8)]
    assert len(stub.detect(frames)) == 18
    assert stub.network.images.shape == (1, 3, 512, 288)
    assert stub.detect([]) == []


def test_training_frames_are_scaled_by_area(stub):
    (found,) = stub.detect_at_area([np.zeros((1080, 1920, 3), np.uint8)])
    assert stub.network.images.shape == (1, 3, 384, 683)
    # 683 pixels are more than 1920 times the factor: what lies at the right edge lies 0.94 px beyond the frame
    factor = math.sqrt(512 * 512 / (1080 * 1920))
    right = 5.5 * 128 / 683
    assert 683 / factor == pytest.approx(1920.94, abs=0.01)
    side = 512 / 683 / math.sqrt(1.5)
    assert found.bboxes[0, 2] == pytest.approx((min(right, 1) + side / 2) * 683 / factor, rel=1e-5)


def test_one_thread_drives_a_gpu(stub):
    """Whatever the number of threads that search: each would have to prepare every layer anew."""
    stub._call = GpuThread(torch.device("cpu"))
    stub.network.threads.clear()
    frames = [np.zeros((90, 160, 3), np.uint8)] * 3
    with ThreadPoolExecutor(4) as workers:
        found = [*workers.map(stub.detect, [frames] * 8), *workers.map(stub.detect_at_area, [frames] * 8)]
    assert [len(each) for each in found] == [3] * 16 and len(stub.network.threads) == 1
    assert threading.get_ident() not in stub.network.threads


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(InputError, match=r"nothing\.pth: no such file.*--detector mtcnn"):
        load_dsfd(tmp_path / "nothing.pth")


def test_another_file_is_told(tmp_path):
    path = tmp_path / "other.pth"
    torch.save({"layer1.0.weight": torch.zeros(64, 3, 7, 7)}, path)
    with pytest.raises(CheckpointError, match=r"other\.pth: is not a DSFD"):
        load_dsfd(path)
    path.write_bytes(b"no weights")
    with pytest.raises(CheckpointError, match=r"other\.pth"):
        load_dsfd(path)


def script(name):
    specification = importlib.util.spec_from_file_location(name, GOLDEN / f"{name}.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def detector_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("dsfd") / "WIDERFace_DSFD_RES152.fp16.pth"
    state = script("make_detector").build()
    # released files may lack the counters of batches
    torch.save({key: value.half() for key, value in state.items() if not key.endswith("num_batches_tracked")}, path)
    return path


@pytest.fixture(scope="module")
def detector(detector_file):
    return DsfdDetector(detector_file)


@needs_golden
def test_keys_are_the_published_ones(detector):
    with torch.device("meta"):
        ours = {key: list(value.shape) for key, value in DSFD().state_dict().items()}
    assert ours == golden("dsfd_keys.json")


@needs_golden
def test_a_damaged_file_is_told(detector_file, tmp_path):
    state = torch.load(detector_file)
    state["conf.0.conv4.bias"][2] = float("nan")
    torch.save(state, tmp_path / "damaged.pth")
    with pytest.raises(CheckpointError, match=r"conf\.0\.conv4\.bias holds numbers that are not finite"):
        load_dsfd(tmp_path / "damaged.pth")


@needs_golden
@pytest.mark.parametrize("number", range(5))
def test_published_outputs(detector, number):
    case, raw = golden("detector.json")[number], np.load(GOLDEN / "detector_raw.npz")
    outputs = {}

    def kept(module, arguments, result):
        outputs["images"], outputs["result"] = arguments[0], result

    frame = read_frame(case)
    handle = detector.network.register_forward_hook(kept)
    try:
        if case["stage"] == "net":
            bboxes, scores = plain_network(detector.network, frame)
        else:
            detect = detector.detect if case["stage"] == "inference" else detector.detect_at_area
            (found,) = detect([frame])
            bboxes, scores = found.bboxes, found.scores
    finally:
        handle.remove()
    locations, faces, sizes = outputs["result"]
    assert list(outputs["images"].shape[2:]) == case["input"]
    assert [list(size) for size in sizes] == case["levels"]
    count = locations.shape[1]
    assert count == case["priors"]
    rows = np.arange(count) if case["stage"] == "net" else np.unique(np.linspace(0, count - 1, 300).astype(int))
    boxes = priors(*case["input"], tuple(sizes))
    for name, ours in (("loc", locations[0]), ("face", faces[0]), ("priors", boxes)):
        expected = raw[f"{number}_{name}"]
        assert np.abs(ours.numpy()[rows] - expected).max() <= 1e-4 * np.abs(expected).max()
    assert abs(len(bboxes) - case["kept"]) <= 2
    expected = np.array(case["detections"])
    pixels = [case["input"][1], case["input"][0]] * 2 if case["stage"] == "net" else 1
    assert np.abs((bboxes[: len(expected)] - expected[:, :4]) * pixels).max() <= 0.05
    np.testing.assert_allclose(scores[: len(expected)], expected[:, 4], rtol=0, atol=1e-4)


def plain_network(network, frame):
    with torch.inference_mode():
        image = torch.from_numpy(frame[..., ::-1].copy()).permute(2, 0, 1).float()
        images = (image - torch.tensor([104.0, 117.0, 123.0]).view(3, 1, 1))[None]
        locations, scores, sizes = network(images)
        bboxes, scores = best_boxes(decode(locations[0], priors(*images.shape[2:], tuple(sizes))), scores[0])
    return bboxes.numpy(), scores.numpy()


def read_frame(case):
    """The part of a frame, RGB, that a case is of."""
    capture = cv2.VideoCapture(str(video_path(case["video"].split("/")[1])))
    for _ in range(case["frame"] + 1):
        _, frame = capture.read()
    y1, y2, x1, x2 = case["crop"]
    frame = frame[y1:y2, x1:x2, ::-1]
    assert int(frame.sum(dtype=np.int64)) == case["sum"]
    return np.ascontiguousarray(frame)
