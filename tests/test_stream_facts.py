"""What is told of a video's stream, against what its file was made with."""

import json

import av
import pytest

from faces.stream_facts import frame_facts, stream_facts
from faces.video import iter_frames
from tests import media


def facts(path):
    frames = iter_frames(path, lambda count: [0])
    next(frames)
    return frames.info.stream


def test_of_an_mp4(face_video):
    told = facts(face_video)
    with av.open(str(face_video)) as container:
        assert told["container"] == container.format.name
    assert (told["index"], told["codec"], told["decoder"]) == (0, "h264", "h264")
    assert (told["coded_size"], told["rate"], told["pixel_format"]) == ([640, 360], "30/1", "yuv420p")
    assert told["colour_read_as"] == "BT.601, limited range" and told["turn"] is None


@pytest.mark.parametrize(
    "pix_fmt, color, read_as",
    [
        ("yuv420p", {"colorspace": 1}, "BT.601, limited range"),  # 8 bits: whatever the tag says
        ("yuv420p", {"color_range": 2}, "BT.601, full range"),
        ("yuv420p10le", {"colorspace": 9}, "BT.2020, limited range"),
        ("yuv420p10le", {"colorspace": 1, "color_range": 2}, "BT.709, full range"),
        ("yuv420p10le", {}, "BT.601, limited range"),
    ],
)
def test_colours(tmp_path, pix_fmt, color, read_as):
    path = media.write_video(tmp_path / "a.mp4", media.noise_frames(2), pix_fmt=pix_fmt, color=color)
    told = facts(path)
    assert told["colour_read_as"] == read_as and told["pixel_format"] in (pix_fmt, pix_fmt.replace("yuv", "yuvj"))
    assert told["colour"]["matrix"] == color.get("colorspace", 2)


@pytest.mark.parametrize("codec, pix_fmt, read_as", [("ffv1", "bgr0", "RGB"), ("ffv1", "gray", "BT.601, full range")])
def test_colours_that_are_none_of_a_camera(tmp_path, codec, pix_fmt, read_as):
    path = media.write_video(tmp_path / "a.mkv", media.noise_frames(2), codec=codec, pix_fmt=pix_fmt, options={})
    assert facts(path)["colour_read_as"] == read_as


@pytest.mark.parametrize(
    "degrees, turn",
    [
        (90, {"swap_axes": True, "upside_down": False, "mirror": True}),
        (180, {"swap_axes": False, "upside_down": True, "mirror": True}),
        (0, None),
    ],
)
def test_turns(tmp_path, degrees, turn):
    path = media.write_video(tmp_path / "a.mp4", media.noise_frames(2))
    media.set_rotation(path, degrees)
    assert facts(path)["turn"] == turn


def test_a_turn_that_is_not_applied(tmp_path):
    path = media.write_video(tmp_path / "a.mp4", media.noise_frames(2))
    media.set_display_matrix(path, (0.7, 0.7, -0.7, 0.7))
    assert facts(path)["turn"] is None


def test_all_of_it_is_json(face_video):
    with av.open(str(face_video)) as container:
        stream = container.streams.video[0]
        told = stream_facts(container, stream) | frame_facts(next(container.decode(stream)))
    assert json.loads(json.dumps(told)) == told
