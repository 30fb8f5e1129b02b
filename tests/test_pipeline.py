"""The pipeline with scripted detectors and models: order, bounds, and errors that end only what they concern."""

import threading
import time

import numpy as np
import pytest
import torch

from faces.sampling import evenly_spaced
from faces.video import VideoError, iter_frames
from inference.pipeline import FAILED, NO_FACE, OK, UNREADABLE, Pipeline
from runtime.errors import DeviceError
from systems.sample import Sample
from systems.seferbekov.checkpoints import load_model
from systems.seferbekov.ensemble import Ensemble, Model, build_ensemble
from systems.seferbekov.face_models import FaceModels
from systems.seferbekov.faces import Face, FaceExtractor
from systems.seferbekov.sampler import FaceSampler
from systems.seferbekov.strategy import mean_strategy, verdict_by
from tests import media
from tests.test_faces import ScriptedDetector, faces_at

SIZE = 8


class ScriptedExtractor:
    """Videos are names: "3x2" is 3 frames of 2 faces; others are what `scripts` says. Pixels are the face's number."""

    def __init__(self):
        self.scripts = {
            "unreadable": VideoError("unreadable", "is empty"),
            "broken": RuntimeError("a defect"),
            "memory": MemoryError("no room"),
        }
        self.detector = ScriptedDetector(faces_at())
        self.frames_made = 0

    def iter_frames_with_faces(self, path):
        if path in self.scripts:
            raise self.scripts[path]
        late = path.endswith("!")
        frames, faces = map(int, path.rstrip("!").split("x"))
        for frame in range(frames):
            self.frames_made += 1
            crops = [np.full((SIZE, SIZE, 3), 10 * frame + number, np.uint8) for number in range(faces)]
            yield (
                frame,
                (64, 48),
                [
                    Face(frame=frame, number=number, bbox=(number, 0, 9, 9), score=0.9, crop=crop)
                    for number, crop in enumerate(crops)
                ],
            )
        if late:
            raise ValueError("late")


def logits(images):
    """The probability is a hundredth of the pixels."""
    p = images[:, 0, 0, 0] / 100 + 0.001
    return np.log(p / (1 - p)).astype(np.float32)


def make(model=logits, *, lanes=2, batch_size=3, group=1, **kwargs):
    ensemble = Ensemble([Model(name="m", size=SIZE, logits=model)], batch_size=batch_size, lanes=lanes, group=group)
    return connected(ScriptedExtractor(), ensemble, **kwargs)


def connected(extractor, ensemble, *, strategy=mean_strategy, workers=1, apply_compression=False, **kwargs):
    models = FaceModels(ensemble, apply_compression=apply_compression)
    return Pipeline(FaceSampler(extractor, **kwargs), models, verdict_by(strategy), workers=workers)


def run(pipeline, names):
    results = {result.video: result for result in pipeline.run((name, name) for name in names)}
    assert threading.active_count() < 30
    return results


def test_scores_in_reading_order():
    result = run(make(), ["2x3"])["2x3"]
    assert (result.status, result.frames, result.error) == (OK, 2, None)
    assert [(face.frame, face.face, face.bbox[0]) for face in result.faces] == [
        (0, 0, 0),
        (0, 1, 1),
        (0, 2, 2),
        (1, 0, 0),
        (1, 1, 1),
        (1, 2, 2),
    ]
    expected = [0.001, 0.011, 0.021, 0.101, 0.111, 0.121]
    np.testing.assert_allclose([face.probabilities[0] for face in result.faces], expected, rtol=1e-4)
    assert result.score == pytest.approx(np.mean(expected), rel=1e-4) == result.model_scores[0]


def test_mean_over_models():
    models = [
        Model(name=str(value), size=SIZE, logits=lambda images, value=value: np.full(len(images), value, np.float32))
        for value in (0.0, 100.0)
    ]
    pipeline = connected(ScriptedExtractor(), Ensemble(models, batch_size=2, lanes=1))
    result = run(pipeline, ["1x1"])["1x1"]
    assert result.model_scores == [0.5, 1.0] and result.score == 0.75


def test_one_result_for_each_video_whatever_happens():
    names = ["4x2", "unreadable", "3x0", "broken", "memory", "2x1!", "1x1", "0x0"]
    results = run(make(workers=3), names)
    assert set(results) == set(names)
    assert {name: result.status for name, result in results.items()} == {
        "4x2": OK,
        "1x1": OK,
        "unreadable": UNREADABLE,
        "3x0": NO_FACE,
        "0x0": NO_FACE,
        "broken": FAILED,
        "memory": FAILED,
        "2x1!": FAILED,
    }
    for name, result in results.items():
        assert (result.score == 0.5) == (name not in ("4x2", "1x1"))
    assert results["unreadable"].error == "is empty"
    assert "RuntimeError: a defect" in results["broken"].error and "Traceback" in results["broken"].error
    assert results["3x0"].frames == 3


def test_faces_beyond_the_limit_are_not_looked_at():
    pipeline = make(max_faces=7)
    result = run(pipeline, ["50x2"])["50x2"]
    assert len(result.faces) == 7 and result.at_face_limit
    assert pipeline.sampler.extractor.frames_made == 4
    assert not run(pipeline, ["3x2"])["3x2"].at_face_limit


@pytest.mark.parametrize(
    "lanes, workers, batch_size, group", [(1, 1, 1, 1), (1, 4, 64, 1), (3, 2, 5, 5), (4, 1, 2, 2), (2, 2, 6, 3)]
)
def test_any_number_of_threads_gives_the_same(lanes, workers, batch_size, group):
    names = [f"{frames}x{faces}" for frames in range(1, 7) for faces in range(4)]
    expected = run(make(), names)
    assert run(make(lanes=lanes, workers=workers, batch_size=batch_size, group=group), names) == expected


def test_other_videos_do_not_change_a_score(face_video, weights_dir):
    """To the bit, so that a run that was stopped and goes on ends with the same CSV: batches never mix videos."""
    modules = [("first", load_model(weights_dir / "first").module, media.SIZE)]
    ensemble = build_ensemble(
        modules, device=torch.device("cpu"), precision="fp32", engine="torch", batch_size=4, lanes=2
    )
    extractor = FaceExtractor(lambda frames: iter_frames(face_video, lambda count: evenly_spaced(count, int(frames))))
    pipeline = connected(extractor, ensemble, workers=3)
    alone = run(pipeline, ["7"])["7"]
    assert len(alone.faces) == 7
    assert run(pipeline, ["5", "3", "7", "6", "1"])["7"] == alone


def test_failing_model_fails_its_videos_only():
    def sometimes(images):
        if (images == 11).any():
            raise RuntimeError("a defect of it")
        return logits(images)

    results = run(make(sometimes, batch_size=1), ["2x1", "2x2", "1x2"])
    assert [results[name].status for name in ("2x1", "2x2", "1x2")] == [OK, FAILED, OK]
    assert "a defect of it" in results["2x2"].error


def test_score_that_is_no_number():
    result = run(make(lambda images: np.full(len(images), np.nan, np.float32)), ["1x1"])["1x1"]
    assert result.status == FAILED and result.score == 0.5 and "not a number" in result.error


def test_failing_strategy_fails_its_video():
    def picky(pred):
        if len(pred) == 3:
            raise ValueError("three")
        return 0.25

    results = run(make(strategy=picky), ["1x3", "1x2"])
    assert results["1x3"].status == FAILED and results["1x2"].score == 0.25


def test_memory_does_not_grow_with_the_number_of_videos():
    """Workers wait when scoring is behind."""
    ahead = []

    def slow(images):
        time.sleep(0.002)
        return logits(images)

    pipeline = make(slow, lanes=1, batch_size=1, workers=2)

    def names():
        for i in range(12):
            ahead.append(i)
            yield "9x9", "9x9"

    for done, _ in enumerate(pipeline.run(names())):
        assert len(ahead) - done <= 6


def test_error_in_the_list_of_videos_is_raised():
    def names():
        yield "1x1", "1x1"
        raise OSError("the list is gone")

    with pytest.raises(OSError, match="the list is gone"):
        list(make().run(names()))


def test_leaving_early_stops_the_threads():
    before = threading.active_count()
    results = make().run(("3x3", "3x3") for _ in range(10**9))
    next(results)
    results.close()
    assert threading.active_count() == before


def test_a_gpu_that_fails_ends_the_run():
    """Whether in the search for faces or in a model; what was yielded before holds."""

    class Failing(ScriptedExtractor):
        def iter_frames_with_faces(self, path):
            if path == "fails":
                raise DeviceError("the GPU failed")
            return super().iter_frames_with_faces(path)

    def failing(images):
        if images[:, 0, 0, 0].max() >= 20:
            raise torch.AcceleratorError("CUDA error: unspecified launch failure")
        return logits(images)

    pipeline = make(lanes=1)
    pipeline.sampler.extractor = Failing()
    results = pipeline.run((name, name) for name in ("1x1", "fails", "2x2"))
    with pytest.raises(DeviceError, match="the GPU failed"):
        for result in results:
            assert result.status == OK
    results = make(failing, lanes=1, batch_size=1).run((name, name) for name in ("1x1", "4x1", "1x1"))
    assert next(results).video == "1x1"
    with pytest.raises(DeviceError, match=r"the GPU failed \(CUDA error: unspecified launch failure\)"):
        list(results)


def test_too_little_memory_of_a_gpu():
    """Batches are halved; one face that does not fit ends the run, instead of scores of 0.5."""

    def short(images):
        if len(np.unique(images[:, 0, 0, 0])) > most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return logits(images)

    most = 2
    assert run(make(short, batch_size=4), ["4x1"]) == run(make(batch_size=4), ["4x1"])
    most = 0
    with pytest.raises(DeviceError, match="too little free memory: give a smaller --batch-size or fewer --workers"):
        run(make(short), ["4x1"])


class Clips:
    """Samples that are each of a kind of its own, and models that could take two of a kind."""

    batch_size, group, lanes = 2, 1, 1

    def __init__(self, size):
        self.size, self.ahead, self.most = size, 0, 0

    def samples(self, path, account):
        for number in range(int(path)):
            self.ahead += 1
            self.most = max(self.most, self.ahead)
            pixels = np.full((1, 1, 1, 3), number, np.uint8)
            yield Sample(pixels=pixels, frames=(number,), track=0, bbox=(0, 0, 1, 1), detector_score=1)

    def kind(self, sample):
        return sample.frames

    def prepare(self, sample):
        return sample.pixels

    def size_of(self, prepared):
        return self.size

    def score(self, kind, batch):
        self.ahead -= len(batch)
        return [np.float32([clip.mean() / 255]) for clip in batch]


def test_clips_of_many_lengths_do_not_fill_the_memory():
    """They would wait for others of their kind until all videos are read."""
    clips = Clips(20_000_000)
    pipeline = Pipeline(clips, clips, verdict_by(mean_strategy), workers=1)
    result = run(pipeline, ["100"])["100"]
    assert [face.probabilities[0] for face in result.faces] == pytest.approx([n / 255 for n in range(100)])
    assert clips.most <= 20  # 400 MB
