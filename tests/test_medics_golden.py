"""Parity with what the published Medics code produced on real videos. Skipped where ../shared is absent."""

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from engines.native.winograd import on_winograd
from faces.video import iter_frames
from systems.medics import cutmix
from systems.medics.buckets import RealFakeBuckets
from systems.medics.clips import cut_clips, cut_face, plan_clips
from systems.medics.mini_videos import cut_mini_videos, plan_mini_videos
from systems.medics.models import MODELS, NETWORKS, load_model, p_fake_of_clips, p_fake_of_frames
from systems.medics.sampling import Detections, FacePictures, chunks_of, detection_images, plan_tracks
from systems.medics.settings import Attempt, Settings
from systems.medics.strategy import p_fake_of_faces, score_video
from systems.medics.traceable import traceable
from tests import media, processes
from tests.engines import needs_avx512
from training.config import read_config, schedule_of

GOLDEN = media.SHARED / "golden" / "medics"
VIDEOS = {path.stem: path for path in (media.SHARED / "videos").rglob("*.mp4")}
NAMES = ("634", "634_660", "brtujopkby", "facenet_video", "lynaeydofd")
CONFIGS = Path(__file__).resolve().parents[1] / "configs" / "medics"
NETWORK_MODELS = ("i3d", "res34", "mc3_112", "r2p1_112", "seresnext50")  # one of each network
SETTINGS = Settings()
pytestmark = pytest.mark.skipif(not GOLDEN.is_dir(), reason="no ../shared")


def golden(name):
    return json.loads((GOLDEN / name).read_text())


def fingerprint(picture):
    return cv2.resize(picture.astype(float), (16, 16), interpolation=cv2.INTER_AREA)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """The folder of the fixed checkpoints, one of each network."""
    folder = tmp_path_factory.mktemp("medics")
    command = [sys.executable, str(GOLDEN / "make_checkpoints.py"), str(folder), *NETWORK_MODELS]
    processes.run(command, check=True, stdout=processes.DEVNULL)
    return folder


@pytest.fixture(scope="module")
def clips():
    """The clips of models/logits.json, 32 frames of each, uint8 (1, 32, 256, 256, 3)."""
    cut = {}
    for name, each in golden("models/logits.json")["clips"].items():
        start = each["frames"][0]
        frames = iter_frames(VIDEOS[each["video"]], lambda count, start=start: range(start, start + 32))
        cut[name] = torch.from_numpy(np.stack([cut_face(frame, each["rows"], each["cols"]) for _, frame in frames]))
    return {name: clip[None] for name, clip in cut.items()}


def model_of(name, checkpoints):
    return load_model(name, checkpoints / MODELS[name].file)


@pytest.mark.parametrize("name", NAMES)
def test_clips_and_mini_videos(name):
    expected, boxes = golden(f"preprocessing/{name}.json"), golden(f"preprocessing/{name}.boxes.json")["boxes"]
    size = {"width": expected["width"], "height": expected["height"]}
    plans = plan_clips(boxes, frame_count=expected["frames"], **size)
    assert [
        (plan.file_name(f"{name}.mp4"), plan.chunk, plan.face, plan.frames, plan.rows, plan.cols) for plan in plans
    ] == [
        (clip["file"], clip["chunk"], clip["face"], *(tuple(clip[key]) for key in ("frames", "rows", "cols")))
        for clip in expected["clips"]
    ]
    pictures = {}
    wanted = {plan.video_frames[k] for plan in plans for k in (0, 74, 148)}
    mini_plans = []
    for mini in expected["mini_videos"]:
        found = plan_mini_videos(boxes, start=mini["start"], **size)
        assert [(plan.side, plan.squares[[0, 25, 49]].tolist()) for plan in found] == [
            (face["side"], face["boxes"]) for face in mini["faces"]
        ]
        mini_plans += found
        wanted |= {plan.video_frames[k] for plan in found for k in (0, 25, 49)}
    for index, frame in iter_frames(VIDEOS[name], lambda count: sorted(wanted)):
        for plan, picture in cut_clips(plans, [(index, frame)]):
            pictures[f"clip{plan.chunk}_{plan.face}_frame{index - plan.video_frames.start}"] = picture
        for plan, picture in cut_mini_videos(mini_plans, [(index, frame)]):
            pictures[f"mini{plan.start}_{plan.face}_frame{index - plan.start}"] = picture
    stored = np.load(GOLDEN / "preprocessing" / f"{name}.npz")
    assert stored.files
    for key in stored.files:
        np.testing.assert_allclose(fingerprint(pictures[key]), stored[key], atol=0.01, err_msg=key)


def geometry(frames, rows, cols):
    return {"frames": list(frames), "rows": list(rows), "cols": list(cols)}


def unit_cases():
    return golden("preprocessing/unit_cases.json")["cases"] if GOLDEN.is_dir() else {}


@pytest.mark.parametrize("case", unit_cases())
def test_unit_cases_of_clips(case):
    expected = unit_cases()[case]
    plans = plan_clips(expected["boxes"], frame_count=150, width=640, height=480)
    # boxes that leave at the top or left are clipped, by decision, and vanish as published
    key = "training_clips" + "_when_boxes_are_clipped_to_the_frame" * (case == "negative")
    assert [geometry(plan.frames, plan.rows, plan.cols) for plan in plans] == expected[key]


@pytest.mark.parametrize("case", unit_cases())
def test_unit_cases_of_inference(case):
    expected = unit_cases()[case]
    rows = []
    for boxes in expected["boxes"][:10]:
        boxes = np.array(boxes or [], np.float32).reshape(-1, 4)
        rows.append(Detections(boxes=boxes, probabilities=0.99 - 0.05 * np.arange(len(boxes))))
    halved = Attempt(scale=1 / 6, thresholds=(0.8, 0.8, 0.9), most_faces=5)  # of a frame 640 pixels wide
    settings = Settings(frames_2d=100)
    tracks = plan_tracks(rows, range(100), halved, width=640, height=480, settings=settings)
    faces = [geometry((t.video_frames.start, t.video_frames.stop), t.rows, t.cols) for t in tracks]
    squares = [
        {"count": len(s), "first": s[0].tolist(), "frame_5": s[5].tolist(), "last": s[-1].tolist()}
        for s in (track.squares for track in tracks)
    ]
    if case == "negative":  # clipped, by decision: the face is there to the end
        assert faces == [geometry((0, 99), (0, 118), (200, 278))]
        return
    if case == "crossing":  # by decision a square larger than the frame is clipped to it
        for square in (expected["inference_squares"][0][key] for key in ("first", "frame_5", "last")):
            assert square[1] == -12
            square[1] = 0
    assert (faces, squares) == (expected["inference_faces"], expected["inference_squares"])


@pytest.mark.parametrize("engine", ["torch", pytest.param("avx512", marks=needs_avx512)])
@pytest.mark.parametrize("name", NETWORK_MODELS[:4])
@torch.inference_mode()
def test_logits_of_clips(name, engine, checkpoints, clips):
    expected = golden("models/logits.json")["models"][name]["cases"]
    model = model_of(name, checkpoints)
    if engine == "avx512":
        model.network = on_winograd(traceable(model.network), threads=2)
    if name == "i3d":  # 64 frames would be needed
        noise = noise_clip(12, 45, 224)
        logits = model.network(model.normalise(noise))
        np.testing.assert_allclose(logits[0], expected["noise_12_length_45"]["logits"], atol=1e-3)
        return
    np.testing.assert_allclose(model.logits(clips["real"])[0], expected["real"]["logits"], atol=1e-3)
    if name == "mc3_112":
        mirrored = model.logits(clips["real"].flip(3))
        np.testing.assert_allclose(mirrored[0], expected["real_mirrored"]["logits"], atol=1e-3)


@torch.inference_mode()
def test_logits_of_frames(checkpoints, clips):
    expected = golden("models/logits.json")["models"]["seresnext50"]["cases"]
    model = model_of("seresnext50", checkpoints)
    logits = model.logits(clips["real"][:, ::4])
    np.testing.assert_allclose(logits[0], expected["real_32_frames"]["frame_logits"][::4], atol=1e-3)
    for name in ("fake", "third"):
        np.testing.assert_allclose(
            model.logits(clips[name][:, :1])[0, 0], expected[f"{name}_frame_0"]["logit"], atol=1e-3
        )
    # 250, and so far from any picture that the order of additions moves it by 0.4; with one thread of the CPU that the
    # reference used it agrees to 1e-5
    noise = model.network(model.normalise(noise_clip(21, 1, 256)))
    np.testing.assert_allclose(noise[0], expected["noise_21"]["logit"], rtol=0.005)


def noise_clip(seed, frames, size):
    cells = np.random.RandomState(seed).randint(0, 256, (-(-frames // 4), size // 8, size // 8, 3)).astype(np.uint8)
    return torch.from_numpy(cells.repeat(4, 0).repeat(8, 1).repeat(8, 2)[None, :frames])


@pytest.mark.parametrize("model", MODELS)
def test_keys(model):
    described = golden("checkpoints/models.json")[model]
    assert described["file"] == MODELS[model].file
    with torch.device("meta"):
        state = NETWORKS[MODELS[model].network]().state_dict()
    shapes = {key: list(value.shape) for key, value in state.items()}
    assert shapes == golden("checkpoints/keys.json")[described["arch"]]


@pytest.mark.parametrize("case", range(3))
def test_cutmix_in_three_dimensions(case):
    expected = golden("training/cutmix.json")["three_d"][case]
    n, _, *sizes = expected["shape"]
    lam = cutmix.larger_share(np.array(expected["beta_draw"]))
    np.testing.assert_allclose(lam, expected["lambda_before"])
    centres = np.stack([expected[f"centre_{axis}"] for axis in "thw"], axis=1)
    mix = cutmix.cutmix_of(lam, np.array(expected["permutation"]), centres, sizes)
    assert mix.boxes.transpose(1, 2, 0).tolist() == [expected[axis] for axis in "thw"]
    np.testing.assert_allclose(mix.lam, expected["lambda"], atol=1e-9)
    batch = torch.arange(1.0, n + 1).view(n, 1, 1, 1, 1).expand(expected["shape"]).contiguous()
    sums = cutmix.mix_batch(batch, mix).double().sum((1, 2, 3, 4)).float()  # as the reference rounds them
    assert sums.tolist() == expected["sum_pasted_from_originals"]
    loss = cutmix.mixed_cross_entropy(torch.tensor(expected["logits"]), torch.tensor(expected["labels"]), mix)
    assert float(loss) == pytest.approx(expected["loss"], abs=2e-6)


def test_cutmix_and_mixup_in_two_dimensions():
    expected = golden("training/cutmix.json")["two_d"]
    lam = cutmix.larger_share(np.array(expected["beta_draw"]))
    sources = np.array(expected["permutation"])
    centres = np.stack([expected["centre_h"], expected["centre_w"]], axis=1)
    mix = cutmix.cutmix_of(lam, sources, centres, expected["shape"][2:])
    assert mix.boxes.transpose(1, 2, 0).tolist() == [expected["h"], expected["w"]]
    np.testing.assert_allclose(mix.lam, expected["lambda"], atol=1e-9)
    logits, labels = torch.tensor(expected["logits"]), torch.tensor(expected["labels"])
    loss = cutmix.mixed_binary_cross_entropy(logits, labels, mix)
    assert float(loss) == pytest.approx(expected["cutmix_loss"], abs=2e-6)
    loss = cutmix.mixed_binary_cross_entropy(logits, labels, cutmix.Mix(lam=lam, sources=sources, boxes=None))
    assert float(loss) == pytest.approx(expected["mixup_loss_with_lambda_before"], abs=2e-6)


def test_buckets():
    *tables, full = golden("training/buckets.json")
    for table in tables:
        buckets = RealFakeBuckets(reals=table["reals"], fakes=table["fakes"])
        found = [buckets.bucket(number) for number in range(table["reals"])]
        assert [[each[0], each[-1]] for each in found] == table["fake_buckets_first_last"]
        assert len(buckets) == table["epoch_length"]
    assert full["never_drawn"] > 0  # which is why ours are in integers


@pytest.mark.parametrize("model", MODELS)
def test_schedules(model):
    expected = golden("training/schedules.json")[model]
    config = read_config(CONFIGS / f"{model}.json").optimizer
    planned = schedule_of(config.schedule, expected["total_steps"])
    if model == "seresnext50":
        for step, rate in expected["step: lr used in that step"].items():
            assert planned(int(step), config.learning_rate) == pytest.approx(rate, rel=1e-8)
        return
    stepper = torch.optim.AdamW([torch.zeros(1, requires_grad=True)])
    assert config.learning_rate == expected["max_lr"]
    for step, (rate, beta1) in expected["step: [lr, beta1] used in that step"].items():
        assert planned(int(step), config.learning_rate) == pytest.approx(rate, rel=1e-8)
        planned.set_beta1(stepper, int(step))
        assert stepper.param_groups[0]["betas"][0] == pytest.approx(beta1, abs=1e-6)


@pytest.mark.parametrize("optimizer, steps", [pytest.param("Adam", 3, marks=pytest.mark.slow), ("AdamW", 1)])
def test_training_steps(optimizer, steps, checkpoints, clips):
    expected = golden("training/step.json")
    run = expected["runs"][optimizer]
    model = model_of("mc3_112", checkpoints).train().requires_grad_(True)
    batch = torch.cat([clips[name][:, :16, 16:240, 16:240] for name in ("real", "fake")])
    batch = torch.nn.functional.avg_pool3d(model.normalise(batch), (1, 2, 2))
    parameters = dict(model.network.named_parameters())
    before = {name: value.detach().clone() for name, value in parameters.items()}
    stepper = getattr(torch.optim, optimizer)(model.parameters(), weight_decay=run["weight_decay"])
    planned = schedule_of(read_config(CONFIGS / "mc3_112.json").optimizer.schedule, run["total_steps"])
    for number, step in enumerate(run["steps"][:steps]):
        group = stepper.param_groups[0]
        group["lr"] = planned(number, run["max_lr"])
        planned.set_beta1(stepper, number)
        assert (group["lr"], group["betas"][0]) == pytest.approx((step["lr"], step["beta1"]))
        stepper.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(batch), torch.tensor([1, 0]))
        loss.backward()
        norm = torch.nn.utils.get_total_norm([value.grad for value in parameters.values()])
        stepper.step()
        for name, wanted in step["values"].items():
            np.testing.assert_allclose(parameters[name].detach().flatten()[:3], wanted[:3], atol=2e-6, err_msg=name)
        if number > 0:  # later on rounding grows
            continue
        assert loss.item() == pytest.approx(step["loss"], rel=1e-3)
        assert norm.item() == pytest.approx(step["gradient_norm"], rel=1e-3)
        for name, wanted in step["gradient_norms"].items():
            assert parameters[name].grad.norm().item() == pytest.approx(wanted, rel=1e-3), name
        for name, wanted in step["change_norms"].items():
            assert (parameters[name] - before[name]).norm().item() == pytest.approx(wanted, rel=1e-3), name


@pytest.mark.parametrize("case", range(6))
def test_ensemble(case):
    expected = golden("inference/ensemble.json")["cases"][case]
    p_fake = {
        name: [float(p_fake_of_clips(torch.tensor(face)).mean()) for face in faces]
        for name, faces in zip(MODELS, expected["logits_3d[model][face][plain, mirrored][fake, real]"], strict=False)
    }
    p_fake["seresnext50"] = [float(p_fake_of_frames(torch.tensor([f]))) for f in expected["logits_2d[face][frame]"]]
    result = score_video(p_fake, SETTINGS)
    np.testing.assert_allclose(list(result.model_scores.values()), expected["model_scores"], atol=1e-6)
    assert result.score == pytest.approx(expected["score"], abs=1e-6)


def tracks_of(name, expected):
    """The tracks of a video by the detections that are given, and its decoded frames' pictures."""
    frames = iter_frames(VIDEOS[name], lambda count: range(min(count, SETTINGS.frame_limit)))
    first = next(iter_frames(VIDEOS[name], lambda count: [0]))[1]
    (chunk,) = chunks_of(frames.look().frame_count, SETTINGS)
    height, width = first.shape[:2]
    for given, attempt in zip(expected["attempts"], SETTINGS.attempts, strict=False):
        image = detection_images(first, SETTINGS)[attempt.scale]
        assert list(image.shape[1::-1]) == given["size"]
        rows = [
            Detections(
                boxes=np.array(boxes or [], np.float32).reshape(-1, 4), probabilities=np.array(probabilities or [])
            )
            for boxes, probabilities in zip(given["boxes"], given["probs"], strict=True)
        ]
        tracks = plan_tracks(rows, chunk, attempt, width=width, height=height, settings=SETTINGS)
        if tracks:
            return tracks, frames
    raise AssertionError("no track")


@pytest.mark.parametrize("name", NAMES)
def test_tracks(name):
    expected = golden(f"inference/{name}.json")
    tracks, _ = tracks_of(name, expected)
    assert [geometry((t.video_frames.start, t.video_frames.stop), t.rows, t.cols) for t in tracks] == [
        geometry(face["frames"], face["rows"], face["cols"]) for face in expected["faces"]
    ]
    assert [track.squares.tolist() for track in tracks] == [face["boxes_2d"] for face in expected["faces"]]
    # the fingerprints of the frames that are needed, of the 2D network's before they are resized
    stored = np.load(GOLDEN / "inference" / f"{name}.npz")
    wanted = {key: (int(key[4]), int(key.rsplit("frame", 1)[1])) for key in stored.files}
    indices = sorted({tracks[face].video_frames[frame] for face, frame in wanted.values()})
    frames = dict(iter_frames(VIDEOS[name], lambda count: indices))
    assert wanted
    for key, (number, place) in wanted.items():
        track, frame = tracks[number], frames[tracks[number].video_frames[place]]
        x1, y1, x2, y2 = track.squares[place] if "2d" in key else (0, 0, 0, 0)
        picture = frame[y1:y2, x1:x2] if "2d" in key else cut_face(frame, track.rows, track.cols)
        np.testing.assert_allclose(fingerprint(picture), stored[key], atol=0.01, err_msg=key)


@pytest.mark.slow
def test_probabilities_of_a_face(checkpoints):
    """The third face of facenet_video, 39 frames, by the two models that take least time."""
    expected = golden("inference/facenet_video.json")
    tracks, frames = tracks_of("facenet_video", expected)
    pictures = FacePictures(tracks[2:]).add_all(frames)
    for name in ("mc3_112", "seresnext50"):
        model = model_of(name, checkpoints)
        p_fake = p_fake_of_faces(model, pictures.clips[:1] if model.spec.is_3d else pictures.squares[:1])[0]
        assert p_fake == pytest.approx(expected["faces"][2]["models"][name]["p_fake"], abs=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_scores_from_probabilities(name):
    expected = golden(f"inference/{name}.json")
    p_fake = {model: [face["models"][model]["p_fake"] for face in expected["faces"]] for model in MODELS}
    result = score_video(p_fake, SETTINGS)
    assert result.model_scores == pytest.approx(expected["model_scores"], abs=1e-6)
    assert result.score == pytest.approx(expected["score"], abs=5e-4)
