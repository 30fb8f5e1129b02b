"""Variants of videos: what each does to frames, by numbers worked by hand, and to files."""

import dataclasses
import os

import av
import numpy as np
import pytest

from evaluation import robustness_videos
from evaluation.robustness_frames import CHANGES, Place
from evaluation.robustness_videos import has_encoder, make_video
from evaluation.variants import IDENTITY, VARIANTS
from faces.video import VideoError, iter_frames, probe
from tests import media

COUNT, WIDTH, HEIGHT = 20, 320, 192
PLACE = Place(video="a.mp4", index=3)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """20 frames of 320x192 with a face, 30 a second."""
    path = tmp_path_factory.mktemp("source") / "a.mp4"
    return media.write_video(path, media.face_frames(COUNT, WIDTH, HEIGHT, 120), options={"crf": "10"})


@pytest.fixture(scope="module")
def made(source, tmp_path_factory):
    """Variants of it by name, each made when it is first asked for."""
    folder = tmp_path_factory.mktemp("made")

    def make(name):
        output = folder / name / source.name
        if not output.exists():
            output.parent.mkdir()
            make_video(str(source), output, VARIANTS[name])
        return output

    return make


def frames_of(path):
    return [frame for _, frame in iter_frames(path, range)]


def mean_error(first, second):
    return np.mean([np.abs(one.astype(int) - two).mean() for one, two in zip(first, second, strict=True)])


def change(kind, frame, amount=1.0, place=PLACE):
    changed = CHANGES[kind](frame, amount, place)
    assert changed.dtype == np.uint8 and changed.ndim == 3 and changed.shape[2] == 3
    return changed


def test_every_variant_is_one_that_can_be_made():
    for name, variant in VARIANTS.items():
        assert variant.name == name and variant.about and "\n" not in variant.about
        assert {each.kind for each in variant.changes} <= CHANGES.keys()
        assert variant.codec is None or variant.codec in robustness_videos._OPTIONS
    assert next(iter(VARIANTS)) == IDENTITY and len({variant.digest for variant in VARIANTS.values()}) == len(VARIANTS)
    other_words = dataclasses.replace(VARIANTS["blur"], about="other words")
    assert other_words.digest == VARIANTS["blur"].digest != dataclasses.replace(other_words, crf=17).digest


def test_sizes():
    frame = np.zeros((270, 482, 3), np.uint8)
    assert change("scale", frame, 0.5).shape == (136, 240, 3)  # 135 to 136, 241 to 240
    assert change("scale", frame, 0.25).shape == (68, 120, 3)
    assert change("scale", frame[:3, :3], 0.25).shape == (2, 2, 3)
    assert change("crop", frame, 0.8).shape == (216, 386, 3)  # 385.6
    tall = np.zeros((1280, 720, 3), np.uint8)
    assert change("shorter_side", tall, 480).shape == (854, 480, 3)  # 853.3
    assert change("shorter_side", frame, 480) is frame


def test_crop_takes_the_centre():
    frame = np.arange(10 * 10 * 3, dtype=np.uint16).astype(np.uint8).reshape(10, 10, 3)
    assert np.array_equal(change("crop", frame, 0.8), frame[1:9, 1:9])


def test_tables_of_brightness_and_contrast():
    frame = np.array([[[0, 100, 200]]], np.uint8)
    assert change("brightness", frame, 1.4).tolist() == [[[0, 140, 255]]]
    assert change("brightness", frame, 0.6).tolist() == [[[0, 60, 120]]]
    assert change("contrast", frame, 1.5).tolist() == [[[0, 86, 236]]]  # 127.5 - 41.25, 127.5 + 108.75


def test_grey_is_brightness_in_all_channels():
    frame = np.array([[[255, 0, 0], [0, 255, 0], [10, 20, 30]]], np.uint8)
    assert change("grey", frame).tolist() == [[[76] * 3, [150] * 3, [18] * 3]]  # 0.299 R + 0.587 G + 0.114 B


def test_flip_and_rotate():
    frame = np.zeros((101, 101, 3), np.uint8)
    frame[50, 90] = 255
    assert change("flip", frame)[50, 10].tolist() == [255] * 3
    turned = change("rotate", frame, 90.0)
    assert turned[10, 50].tolist() == [255] * 3 and turned.sum() == 3 * 255
    assert change("rotate", np.full((100, 100, 3), 200, np.uint8), 10.0)[0, 0].tolist() == [0] * 3


def test_blur_keeps_brightness_and_spreads_it():
    frame = np.zeros((181, 181, 3), np.uint8)
    frame[80:101, 80:101] = 250
    blurred = change("blur", frame, 1 / 90)  # a sigma of 2 pixels
    assert blurred[90, 90, 0] == 250 and 100 < blurred[80, 90, 0] < 150 and 0 < blurred[77, 90, 0] < 50
    assert blurred.astype(float).mean() == pytest.approx(frame.mean(), rel=0.01)


def test_noise_is_drawn_by_video_and_frame():
    frame = np.full((100, 100, 3), 128, np.uint8)
    noisy = change("noise", frame, 10.0)
    assert np.array_equal(noisy, change("noise", frame, 10.0))
    drawn = noisy.astype(float) - 128
    assert drawn.std() == pytest.approx(10, rel=0.03) and abs(drawn.mean()) < 0.3
    for other in (Place(video="b.mp4", index=3), Place(video="a.mp4", index=4), Place(video="\udcff.mp4", index=3)):
        assert not np.array_equal(noisy, change("noise", frame, 10.0, other))


@pytest.mark.parametrize(("kind", "amount", "moves"), [("text", 3, False), ("shapes", 6, False), ("dots", 60, True)])
def test_what_is_drawn_over_frames(kind, amount, moves):
    frame = np.full((192, 320, 3), 77, np.uint8)
    drawn = change(kind, frame, amount)
    share = (drawn != frame).any(axis=2).mean()
    assert 0.005 < share < 0.4 and (frame == 77).all()
    later = change(kind, frame, amount, Place(video="a.mp4", index=4))
    assert np.array_equal(drawn, later) != moves
    assert not np.array_equal(drawn, change(kind, frame, amount, Place(video="b.mp4", index=3)))


def test_identity_is_the_file_itself(source, made):
    assert made(IDENTITY).read_bytes() == source.read_bytes() and os.path.samefile(made(IDENTITY), source)


@pytest.mark.parametrize("name", [name for name in VARIANTS if name != IDENTITY])
def test_every_variant_is_encoded(source, made, name):
    variant, path = VARIANTS[name], made(name)
    info = probe(path)
    sides = {"half": (160, 96), "quarter": (80, 48), "crop": (256, 154)}
    assert (info.width, info.height) == sides.get(name, (WIDTH, HEIGHT))
    assert info.frame_count == (10 if name == "fps15" else COUNT)
    with av.open(str(path)) as container:
        codec = {"libx265": "hevc", "libvpx-vp9": "vp9"}.get(variant.codec, "h264")
        assert [stream.codec_context.name for stream in container.streams] == [codec]
    assert os.listdir(path.parent) == [path.name]


def test_less_is_left_with_a_higher_rate_factor(source, made):
    before = frames_of(source)
    errors = {name: mean_error(before, frames_of(made(name))) for name in ("crf23", "crf28", "crf35", "crf40")}
    assert list(errors.values()) == sorted(errors.values()) and errors["crf23"] < 4 < errors["crf40"]
    sizes = [made(name).stat().st_size for name in errors]
    assert sizes == sorted(sizes, reverse=True)
    again = mean_error(before, frames_of(made("generations")))
    assert errors["crf23"] < again < errors["crf35"]


def test_flip_and_grey_as_a_person_sees_them(source, made):
    before, flipped = frames_of(source), frames_of(made("flip"))
    assert mean_error([frame[:, ::-1] for frame in before], flipped) < 4 < mean_error(before, flipped)
    for frame in frames_of(made("grey")):
        assert np.ptp(frame.astype(int), axis=2).max() <= 2  # what limited range rounds


def test_every_other_frame_at_15_a_second(source, made):
    kept, before = frames_of(made("fps15")), frames_of(source)
    assert mean_error(before[::2], kept) < 3
    info = iter_frames(made("fps15"), range).look()
    assert np.allclose(np.diff(info.times), 2 / 30, atol=1e-3)


def test_slow_and_uneven_frames_keep_their_times(tmp_path):
    stamps = [0, 15, 45, 50, 140, 141, 290, 300]  # of 300 a second: 50, 141 are less than a 15th after the one before
    path = media.write_video(tmp_path / "a.mkv", media.noise_frames(8), timestamps=stamps)
    output = tmp_path / "out" / "a.mkv"
    output.parent.mkdir()
    make_video(str(path), output, VARIANTS["fps15"])
    times = iter_frames(output, range).look().times
    # ticks of a 15th of a second are 20 apart: 0, then the first from 20 on, from 60 on, from 160 on, from 300 on
    assert np.allclose(times * 300, [0, 45, 140, 290, 300], atol=0.5)


def test_the_same_video_gives_the_same_bytes(source, made, tmp_path):
    for name in ("crf28", "hevc", "vp9", "noise"):
        make_video(str(source), tmp_path / source.name, VARIANTS[name])
        assert (tmp_path / source.name).read_bytes() == made(name).read_bytes(), name


def test_odd_sides_and_turned_videos(tmp_path):
    odd = media.write_video(tmp_path / "odd.mp4", media.face_frames(4, 161, 121, 60), pix_fmt="yuv444p")
    make_video(str(odd), tmp_path / "out.mp4", VARIANTS["crf23"])
    assert frames_of(tmp_path / "out.mp4")[0].shape == (120, 160, 3)
    turned = media.write_video(tmp_path / "turned.mp4", media.face_frames(4, 160, 120, 60))
    media.set_rotation(turned, 90)
    make_video(str(turned), tmp_path / "out2.mp4", VARIANTS["crf23"])
    before, after = frames_of(turned), frames_of(tmp_path / "out2.mp4")
    assert after[0].shape == (160, 120, 3) and mean_error(before, after) < 6


def test_what_cant_be_encoded_is_told(source, tmp_path, monkeypatch):
    data = source.read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(data[: len(data) // 2])
    tiny = media.write_video(tmp_path / "tiny.mp4", [np.zeros((1, 1, 3), np.uint8)] * 2, pix_fmt="yuv444p")
    for path, reason in ((cut, "cut.mp4: [a-z]"), (tiny, "too small"), (tmp_path / "none.mp4", "can't be opened")):
        with pytest.raises(VideoError, match=reason):
            make_video(str(path), tmp_path / "out.mp4", VARIANTS["crf40"])
        assert not (tmp_path / "out.mp4").exists()
    monkeypatch.setitem(robustness_videos._OPTIONS["libx264"], "profile", "none of that name")
    with pytest.raises(VideoError, match="can't be encoded again"):
        make_video(str(source), tmp_path / "out.mp4", VARIANTS["crf40"])
    assert sorted(os.listdir(tmp_path)) == ["cut.mp4", "tiny.mp4"]


def test_has_encoder():
    assert has_encoder("libx264") and not has_encoder("libnone")
