"""Forty damaged copies of videos of all kinds, through the command: a row each, whatever the damage."""

import pytest

from benchmarks import damage
from tests import media

VIDEOS = {
    "end.mp4": {"options": {"g": "12"}},
    "front.mp4": {"options": {"g": "12"}, "container_options": {"movflags": "faststart"}},
    "fragments.mp4": {"options": {"g": "8"}, "container_options": {"movflags": "frag_keyframe"}},
    "v.mkv": {"options": {"g": "12"}},
    "v.ts": {"options": {"g": "12"}},
    "v.avi": {"codec": "mpeg4", "options": {}},
    "v.webm": {"codec": "libvpx", "options": {}},
    "hevc.mov": {"codec": "libx265", "options": {"x265-params": "log-level=none:keyint=8"}},
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    frames = media.face_frames(24, 320, 180, 90)
    return [media.write_video(folder / name, frames, **kwargs) for name, kwargs in VIDEOS.items()]


def test_a_row_for_each_copy(whole, weights_dir, tmp_path):
    kinds = damage.make_copies(whole, tmp_path / "copies", 40, seed=0)
    assert set(kinds.values()) == {each.__name__ for each in damage.DAMAGES}
    flags = ("--engine", "torch", "--device", "cpu", "--frames-per-video", "4")
    result = damage.predict(tmp_path / "copies", [weights_dir / "first"], *flags)
    assert damage.problems(kinds, result) == [] and result["bytes"] > 10**8
    assert 5 < result["summary"]["scored"] < 40


def test_the_same_seed_gives_the_same_copies(whole, tmp_path):
    for folder in ("a", "b"):
        damage.make_copies(whole, tmp_path / folder, 10, seed=3)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()
