"""The Medics' inference: settings, detection attempts, tracks, pictures and scores, worked out by hand."""

import weakref
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from runtime.errors import DeviceError
from runtime.memory import MemoryBudget
from systems.medics import clip_models, sampling, strategy, uploads
from systems.medics.models import MODELS, create_model
from systems.medics.sampling import Detections, FacePictures, Track, chunks_of, find_tracks, plan_tracks
from systems.medics.settings import Attempt, Settings
from systems.system import Machine

SETTINGS = Settings()
GPU = torch.device("cuda", 0)
WIDTH, HEIGHT = 1920, 1080  # searched at 480x270
FACE, OTHER = [100, 50, 140, 90], [300, 50, 340, 90]


def found(*boxes, probabilities=None):
    probabilities = [0.9] * len(boxes) if probabilities is None else probabilities
    return Detections(boxes=np.array(boxes, np.float32).reshape(-1, 4), probabilities=np.array(probabilities))


def plan(rows, chunk=range(100), attempt=0, settings=SETTINGS):
    return plan_tracks(rows, chunk, settings.attempts[attempt], width=WIDTH, height=HEIGHT, settings=settings)


def test_chunks():
    assert chunks_of(338, SETTINGS) == [range(100)]
    assert chunks_of(95, SETTINGS) == [range(95)] and chunks_of(0, SETTINGS) == []
    whole = Settings(whole_video=True)
    assert chunks_of(250, whole) == [range(100), range(100, 200), range(200, 250)]
    assert list(sampling.sampled_frames(range(200, 250), whole)) == [200, 210, 220, 230, 240]
    assert list(sampling.sampled_frames(range(95), SETTINGS))[-1] == 90


def test_a_track_is_one_box_through_time():
    (track,) = plan([found(FACE)] * 10)
    assert track.video_frames == range(99) and track.rows == (200, 356) and track.cols == (400, 556)
    # 39 pixels wide and high: a square of 46 about 119.5, four times as large in the frame
    assert track.squares.shape == (32, 4) and track.squares[0].tolist() == [384, 184, 568, 368]
    assert track.confidence == pytest.approx(0.9)


def test_tracks_of_later_chunks():
    (track,) = plan([found(FACE)] * 5, chunk=range(200, 248))
    assert track.video_frames == range(200, 248)  # the video ends before the track would
    (track,) = plan([found()] + [found(FACE)] * 9, chunk=range(100, 200))
    assert track.video_frames == range(110, 199)


def test_a_face_that_drifts_out_at_the_top_stays():
    rows = [found([100, 20 - 6 * row, 140, 60 - 6 * row]) for row in range(10)]
    (track,) = plan(rows)
    assert track.video_frames == range(99) and track.rows == (0, 4 * 59)


def test_tracks_have_four_rows_and_missing_ones_are_filled():
    assert plan([found(FACE)] * 3 + [found()] * 7) == []
    assert len(plan([found(FACE)] * 4 + [found()] * 6)[0].video_frames) == 39
    (track,) = plan([found(FACE)] * 5 + [found()] + [found(FACE)] * 4)
    assert track.video_frames == range(99) and track.confidence == pytest.approx(0.81)  # filled rows count 0


def test_the_surest_tracks_come_first():
    rows = [found(FACE, OTHER, probabilities=[0.8, 0.95])] * 10
    assert [track.cols[0] for track in plan(rows)] == [1200, 400]
    assert [track.cols[0] for track in plan(rows, attempt=2)] == [1200]  # of low thresholds the first one only
    six = found(
        *([20 + 70 * i, 50, 60 + 70 * i, 90] for i in range(6)), probabilities=[0.9 + i / 100 for i in range(6)]
    )
    assert [track.cols[0] for track in plan([six] * 10)] == [4 * (20 + 70 * i) for i in (5, 4, 3, 2, 1)]


def test_the_later_of_two_boxes_counts():
    (track,) = plan([found(FACE, FACE, probabilities=[0.9, 0.6])] * 10)
    assert track.confidence == pytest.approx(0.6)


def search(answer, settings=SETTINGS, frames=10, told=None):
    """find_tracks with a detector that answers by (longest side, thresholds); what it was asked."""
    asked = []
    told = [] if told is None else told

    def detect(images, thresholds, factor):
        asked.append((max(images[0].shape[:2]), thresholds, factor, len(images)))
        return [answer(max(image.shape[:2]), thresholds) for image in images]

    frame = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    images = [sampling.detection_images(frame, settings) for _ in range(frames)]
    size = {"width": WIDTH, "height": HEIGHT}
    return find_tracks(images, range(100), detect, **size, settings=settings, tell=told.append), asked


def test_attempts_are_made_until_a_track_is_found():
    tracks, asked = search(lambda side, thresholds: found(FACE))
    assert len(tracks) == 1 and asked == [(480, (0.8, 0.8, 0.9), 0.71, 10)]
    tracks, asked = search(lambda side, thresholds: found(FACE) if side == 960 and thresholds[0] == 0.5 else found())
    assert [(side, thresholds[2]) for side, thresholds, *_ in asked] == [(480, 0.9), (960, 0.9), (480, 0.5), (960, 0.5)]
    assert tracks[0].cols == (200, 278)


def test_no_track_is_told():
    told = []
    assert search(lambda side, thresholds: found(), told=told)[0] == []
    assert search(lambda side, thresholds: found(FACE), frames=3, told=told)[0] == []
    assert told == [
        "frames 0 to 99: no face; they are not scored",
        "frames 0 to 99: 12 boxes, but no face in 4 sampled frames in sequence; they are not scored",
    ]


def test_videos_of_any_size_are_searched_alike():
    for size in ((1280, 720), (480, 270), (720, 1280), (3840, 2160)):
        image = sampling.detection_images(np.zeros((size[1], size[0], 3), np.uint8), SETTINGS)[0.25]
        assert max(image.shape[:2]) == 480


def test_a_frame_smaller_than_what_is_searched():
    (track,) = plan_tracks(
        [found([10, 10, 11, 11])] * 10, range(100), SETTINGS.attempts[0], width=32, height=18, settings=SETTINGS
    )
    (squares,) = FacePictures([track]).add_all((index, np.zeros((18, 32, 3), np.uint8)) for index in range(100)).squares
    assert squares.shape == (32, 256, 256, 3)


def test_pictures_are_cut_in_order():
    tracks = [
        Track(
            video_frames=range(2, 5), rows=(0, 255), cols=(0, 255), squares=np.array([[0, 0, 64, 64]] * 2), confidence=1
        ),
        Track(video_frames=range(4, 6), rows=(8, 9), cols=(8, 9), squares=np.array([[8, 8, 80, 80]]), confidence=1),
    ]
    pictures = FacePictures(tracks)
    assert pictures.wanted == [2, 3, 4, 5]
    pictures.add_all((index, np.full((300, 300, 3), index, np.uint8)) for index in range(10) if index != 3)
    first, second = pictures.clips
    assert first[:, 5, 5, 0].tolist() == [2, 4] and second[:, 5, 5, 0].tolist() == [4, 5]
    assert [len(each) for each in pictures.squares] == [1, 1]
    assert first.shape == (2, 256, 256, 3) and pictures.squares[1].shape == (1, 256, 256, 3)
    assert FacePictures(tracks).clips[0].shape == (0, 256, 256, 3)


class Brightness:
    """A model that answers with the mean of the left half of what it sees."""

    def __init__(self, name):
        self.spec, self.device = MODELS[name], torch.device("cpu")

    def p_fake(self, clips):
        self.seen = clips
        return clips[:, :, :, :128].float().mean((1, 2, 3, 4)) / 255


def test_3d_models_see_the_clip_and_its_mirror_image():
    clip = np.zeros((4, 256, 256, 3), np.uint8)
    clip[:, :, :128] = 255
    model = Brightness("i3d")
    assert strategy.p_fake_of_faces(model, [clip]).tolist() == [0.5]
    assert model.seen.shape == (2, 4, 256, 256, 3) and torch.equal(model.seen[0], model.seen[1].flip(2))


def test_the_2d_model_sees_even_frames_mirrored():
    squares = np.zeros((3, 256, 256, 3), np.uint8)
    squares[:, :, :128] = 255
    model = Brightness("seresnext50")
    assert strategy.p_fake_of_faces(model, [squares]).tolist() == pytest.approx([1 / 3])
    assert model.seen[0, :, 0, 0, 0].tolist() == [0, 255, 0] and (squares[:, :, :128] == 255).all()


def test_pictures_go_to_a_gpu_once(monkeypatch):
    """Though several models ask for them; only those that were asked for last stay, and arrays that only look alike, or
    come to lie where another did, are others."""
    sent = []

    def staged(shape, device):
        host = np.zeros(shape, np.uint8)

        def to(where, non_blocking):
            assert where == device == GPU and non_blocking
            sent.append(int(host[0, 0]))
            return torch.from_numpy(host)

        return SimpleNamespace(numpy=lambda: host, to=to)

    monkeypatch.setattr(uploads, "staged", staged)
    to_gpu = uploads.Uploads(GPU, most_bytes=250)
    arrays = [np.full((10, 10), value, np.uint8) for value in range(3)]
    for number in (0, 1, 0, 1, 2, 1, 2, 0):
        assert (to_gpu(arrays[number]).numpy() == number).all()
    assert sent == [0, 1, 2, 0]
    for value in range(3, 40):
        assert (to_gpu(np.full((10, 10), value, np.uint8)).numpy() == value).all()
    large = np.full((100, 10), 99, np.uint8)  # more than is to stay: alone
    assert to_gpu(large) is to_gpu(large) and sent == [0, 1, 2, 0, *range(3, 40), 99]
    assert to_gpu.clear() and not to_gpu.clear()
    there = weakref.ref(to_gpu(large))
    assert sent[-2:] == [99, 99]
    del large
    to_gpu(arrays[0])
    assert there() is None and to_gpu._bytes == 100  # what nobody waits for any more does not stay
    on_cpu = uploads.Uploads(torch.device("cpu"))
    assert on_cpu(arrays[1]).data_ptr() == arrays[1].ctypes.data
    assert on_cpu(arrays[1][:, ::-1]).shape == (10, 10)


def test_little_memory_of_a_gpu(monkeypatch):
    """Batches are halved; one face that does not fit, and a failing GPU, end the run in a line."""
    machine = Machine(
        device=torch.device("cpu"), precision="fp32", engine="torch", workers=1, lanes=1, memory=MemoryBudget(2**20)
    )
    models = clip_models.ClipModels({0: create_model("res10")}, machine)
    faces, counts = [np.full((1, 2, 2, 3), value, np.uint8) for value in range(5)], []

    def short_of_memory(model, faces, to_tensor):
        counts.append(len(faces))
        if len(faces) > most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return np.float32([face.mean() for face in faces])

    monkeypatch.setattr(clip_models, "p_fake_of_faces", short_of_memory)
    most = 2
    assert models.score((0, 1), faces).tolist() == [[0], [1], [2], [3], [4]] and counts == [5, 2, 3, 1, 2]
    most = 0
    with pytest.raises(DeviceError, match="too little free memory: give a smaller --batch-size"):
        models.score((0, 1), faces)
    kept = [True]

    def fits_alone(model, faces, to_tensor):
        if kept:
            raise torch.AcceleratorError("CUDA error: out of memory")
        return np.float32([face.mean() for face in faces])

    monkeypatch.setattr(clip_models, "p_fake_of_faces", fits_alone)
    monkeypatch.setattr(models._uploads, "clear", lambda: bool(kept and kept.pop()))
    assert models.score((0, 1), faces[3:4]).tolist() == [[3]]  # once the pictures that stayed are gone


def test_scores():
    score = strategy.score_video({"i3d": [0.2, 0.4], "res34": [0.9], "seresnext50": []}, SETTINGS)
    assert score.model_scores == {"i3d": pytest.approx(0.3), "res34": 0.9} and score.score == pytest.approx(0.6)
    assert strategy.score_video({"i3d": [1.0]}, SETTINGS).score == 0.999
    assert strategy.score_video({"i3d": [0.0]}, SETTINGS).score == 0.001
    assert strategy.score_video({}, SETTINGS).score == strategy.score_video({"i3d": []}, SETTINGS).score == 0.5
    weighted = Settings(model_weights={"i3d": 3, "res34": 0})
    assert strategy.score_video({"i3d": [0.2], "res34": [0.9], "mc3_112": [0.6]}, weighted).score == pytest.approx(0.3)


@pytest.mark.parametrize(
    "changes, told",
    [
        ({"frame_limit": 30}, "frame_limit is 30; give 31 or more"),
        ({"frame_step": 0}, "frame_step is 0"),
        ({"least_rows": 0}, "least_rows is 0"),
        ({"frames_2d": 0}, "frames_2d is 0"),
        ({"attempts": ()}, "one attempt or more"),
        ({"model_weights": {"i3": 1}}, "unknown model 'i3'"),
        ({"model_weights": {"i3d": -1}}, r"model_weights\[i3d\] is -1"),
        ({"clamp": (0.9, 0.1)}, "clamp is"),
        ({"no_face": 2}, "no_face is 2"),
    ],
)
def test_settings_that_make_no_sense(changes, told):
    with pytest.raises(ValueError, match=told):
        Settings(**changes)


@pytest.mark.parametrize(
    "changes, told",
    [({"scale": 0}, "scale is 0"), ({"thresholds": (0.8, 2, 0.9)}, "thresholds is"), ({"most_faces": 0}, "1 or more")],
)
def test_attempts_that_make_no_sense(changes, told):
    with pytest.raises(ValueError, match=told):
        Attempt(**{"scale": 0.25, "thresholds": (0.8, 0.8, 0.9), "most_faces": 5, **changes})
