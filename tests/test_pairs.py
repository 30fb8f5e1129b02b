"""Pairs: by sizes, lengths and rates, without files."""

import pytest

from faces.video import VideoInfo
from preprocessing import pairs
from runtime.errors import ItemError

REAL = {"width": 1920, "height": 1080, "frame_count": 300, "rate": 30.0}


@pytest.fixture
def matched(monkeypatch, tmp_path):
    """A function that matches a fake and an original of which this is known; the videos are looked at once each."""

    def match(fake, original=REAL):
        looked = []

        def probe(path):
            looked.append(path)
            return VideoInfo(**(fake if path.endswith("fake.mp4") else original))

        monkeypatch.setattr(pairs, "probe", probe)
        pairs._probe.cache_clear()
        result = pairs.match(f"{tmp_path}/fake.mp4", f"{tmp_path}/real.mp4")
        assert sorted(looked) == [f"{tmp_path}/fake.mp4", f"{tmp_path}/real.mp4"]
        return result

    yield match
    pairs._probe.cache_clear()


@pytest.mark.parametrize(
    "size, other",
    [
        *(((1920, 1080), (854, 480)), ((1920, 1080), (426, 240)), ((1080, 1920), (270, 480)), ((640, 480), (640, 480))),
        *(((720, 576), (360, 288)), ((1280, 534), (1920, 800)), ((500, 281), (250, 140)), ((1920, 1080), (3840, 2160))),
    ],
)
def test_one_shape_at_two_scales(matched, size, other):
    for (width, height), (w, h) in ((size, other), (other, size)):
        scale = matched({**REAL, "width": w, "height": h}, {**REAL, "width": width, "height": height}).scale
        assert scale == (w / width, h / height)


@pytest.mark.parametrize(
    "size, other",
    [
        *(((1920, 1080), (1080, 1920)), ((1920, 1080), (1920, 800)), ((1920, 1088), (1920, 1080))),
        *(((640, 480), (640, 360)), ((720, 576), (720, 540)), ((100, 100), (104, 100))),
    ],
)
def test_two_shapes(matched, size, other):
    for (width, height), (w, h) in ((size, other), (other, size)):
        with pytest.raises(
            ItemError, match=rf"fake\.mp4: has frames of {w}x{h} pixels, .* real\.mp4 of {width}x{height}:"
        ):
            matched({**REAL, "width": w, "height": h}, {**REAL, "width": width, "height": height})


def test_same_length_and_size(matched):
    match = matched({**REAL, "rate": 25.0, "notes": ["a note"]})
    assert match.scale == (1, 1) and match.warnings == ["a note"]


@pytest.mark.parametrize("count, rate", [(299, 30.0), (150, 30.0), (600, 29.97), (294, 25.0), (150, None), (0, 30.0)])
def test_another_length_is_a_warning(matched, count, rate):
    (warning,) = matched({**REAL, "frame_count": count, "rate": rate}).warnings
    assert warning.startswith(f"has {count} frames") and "its original real.mp4 300 frames at 30 a second" in warning


@pytest.mark.parametrize("count, rate", [(250, 25.0), (600, 60.0), (293, 29.0)])
def test_another_length_and_rate(matched, count, rate):
    with pytest.raises(
        ItemError, match=rf"has {count} frames at {rate:g} a second, its original real\.mp4 300 frames at 30"
    ):
        matched({**REAL, "frame_count": count, "rate": rate})
