"""systems/seferbekov/sampler.py with people, and frames by time."""

import numpy as np
import pytest

from faces.sampling import spaced_in_time
from faces.video import VideoInfo, probe
from runtime.errors import InputError
from systems.sample import Account
from systems.seferbekov.faces import Face
from systems.seferbekov.sampler import FaceSampler
from systems.seferbekov.system import SeferbekovPredictor
from tests import media


class Crowd:
    """Frames in which the people of `places` (x, or None) stay where they are, for as long as `until` says."""

    def __init__(self, places, frames=10, until=None):
        self.places, self.frames, self.until = places, frames, until or {}

    def iter_frames_with_faces(self, path):
        for frame in range(self.frames):
            seen = [x for person, x in enumerate(self.places) if frame < self.until.get(person, self.frames)]
            crop = np.zeros((8, 8, 3), np.uint8)
            yield (
                frame,
                (640, 360),
                [
                    Face(frame=frame, number=number, bbox=(x, 0, x + 40, 40), score=0.9, crop=crop)
                    for number, x in enumerate(seen)
                ],
            )


def taken(sampler):
    account = Account()
    return [(sample.frames[0], sample.bbox[0]) for sample in sampler.samples("video", account)], account


def test_the_limit_is_that_of_a_track():
    samples, account = taken(FaceSampler(Crowd([0, 100, 200], until={1: 2}), max_faces=3, by_track=True))
    assert [frame for frame, x in samples if x == 0] == [0, 1, 2] == [frame for frame, x in samples if x == 200]
    assert [frame for frame, x in samples if x == 100] == [0, 1]
    assert account.frames == 10 and account.left_out == 14 and account.at_face_limit


def test_below_the_limit_nothing_is_left_out():
    samples, account = taken(FaceSampler(Crowd([0, 100]), max_faces=10, by_track=True))
    assert len(samples) == 20 and account.left_out == 0 and not account.at_face_limit


def test_without_a_limit_all_are_taken():
    samples, account = taken(FaceSampler(Crowd([0, 100, 200], frames=100), max_faces=None))
    assert len(samples) == 300 and not account.at_face_limit and account.searched == list(range(100))


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"frames_per_second": 2.0, "frames_per_video": 32}, "--frames-per-second and --frames-per-video"),
        ({"strategy": "person", "spread_faces": True}, "--spread-faces"),
    ],
)
def test_options_that_do_not_go_together(options, error):
    with pytest.raises(InputError, match=error):
        SeferbekovPredictor(**options)


def test_settings_say_what_limits_and_how_frames_are_chosen():
    published = SeferbekovPredictor().settings()
    assert published == {
        "encoder": None,
        "size": None,
        "frames_per_video": 32,
        "max_faces": 127,
        "spread_faces": False,
    }
    assert SeferbekovPredictor(strategy="person").settings() == {**published, "limit": "track"}
    by_time = SeferbekovPredictor(frames_per_second=3.0)
    assert by_time.settings()["frames_per_second"] == 3.0 and by_time.settings()["max_faces"] is None
    assert by_time.frames_per_video is None and "3 a second" in by_time.how.frames


def test_frames_by_time_of_a_steady_video():
    info = VideoInfo(frame_count=300, rate=30.0, times=5 + np.arange(300) / 30)
    assert spaced_in_time(info, 3) == list(range(0, 300, 10))
    assert spaced_in_time(info, 30) == list(range(300)) == spaced_in_time(info, 999)
    assert spaced_in_time(info, 0.5) == [0, 60, 120, 180, 240]
    assert spaced_in_time(VideoInfo(frame_count=300, rate=30.0), 3) == list(range(0, 300, 10))
    assert spaced_in_time(VideoInfo(frame_count=60), 1) == [0, 30] and spaced_in_time(VideoInfo(), 1) == []


def test_frames_by_time_of_one_that_hesitates():
    """Of each moment the frame that is on the screen then: at 1 and 2 seconds the one of 0.9 is, at 4 the last."""
    info = VideoInfo(frame_count=6, times=np.array([0.0, 0.4, 0.9, 2.5, 3.0, 3.6]))
    assert spaced_in_time(info, 1) == [0, 2, 4, 5]


@pytest.mark.parametrize("rate", [0.1, 1e-3, 1e-5, 1e-9])
def test_the_first_frame_is_always_there(rate):
    info = VideoInfo(frame_count=120, rate=30.0, times=np.arange(120) / 30)
    assert spaced_in_time(info, rate) == [0]


def test_timestamps_that_lie_take_no_memory():
    info = VideoInfo(frame_count=3, times=np.array([0.0, 1e12, 2e15]))
    assert spaced_in_time(info, 1000) == [0, 1, 2]


def test_when_frames_are_shown(tmp_path):
    stamps = np.cumsum(range(5, 17)).tolist()
    path = media.write_video(tmp_path / "vfr.mp4", media.noise_frames(12), timestamps=stamps)
    info = probe(path)
    assert len(info.times) == 12
    steps = np.diff([info.seconds_of(index) for index in range(12)])
    np.testing.assert_allclose(steps / steps[0], np.diff(stamps) / (stamps[1] - stamps[0]), rtol=1e-3)
    assert info.seconds_of(0) == 0 and VideoInfo(rate=25.0).seconds_of(50) == 2 and VideoInfo().seconds_of(3) is None
