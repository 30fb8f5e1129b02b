"""The reader against OpenCV reading in sequence, on every kind of file it takes a short cut on and on damaged ones."""

import os
import shutil

import av
import numpy as np
import pytest

from faces import pixels, video, video_file
from faces.packets import ALONE, SHOWN, START
from faces.pixels import part_to_rgb
from faces.video import VideoError, iter_frames
from tests import media

ENCODINGS = {
    "b-pyramid": {"crf": "23", "g": "30", "bf": "3", "b-pyramid": "normal"},
    "many keyframes": {"crf": "23", "g": "5", "bf": "2"},
    "one keyframe": {"crf": "23", "g": "999", "bf": "8"},
    "open gop": {"crf": "23", "g": "10", "bf": "3", "x264-params": "open-gop=1"},
    "no b-frames": {"crf": "23", "bf": "0", "g": "20"},
    "intra only": {"crf": "30", "g": "1"},
    "full range": {"crf": "23", "color_range": "pc"},
    "slices": {"crf": "23", "x264-params": "slices=4"},
}


def read(path, indices):
    return dict(iter_frames(path, lambda count: indices))


def assert_same_as_opencv(path, indices):
    expected = media.opencv_frames(path)
    frames = read(path, indices)
    assert list(frames) == sorted({i for i in indices if i < len(expected)})
    for index, frame in frames.items():
        assert frame.dtype == np.uint8 and frame.flags.c_contiguous
        np.testing.assert_array_equal(frame, expected[index])


@pytest.mark.parametrize("name", ENCODINGS)
@pytest.mark.parametrize("indices", [[0, 7, 8, 19, 44, 59], [59], [0], list(range(60)), [33]], ids=str)
def test_same_frames_as_reading_in_sequence(tmp_path_factory, name, indices):
    path = tmp_path_factory.getbasetemp() / f"encoding {name}.mp4"
    if not path.exists():
        media.write_video(path, media.face_frames(60, 320, 180, 90), options=ENCODINGS[name])
    assert_same_as_opencv(path, indices)


@pytest.mark.parametrize("codec", ["mpeg4", "mjpeg", "libx265"])
def test_codecs_without_a_short_cut(tmp_path, codec):
    pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    options = {"x265-params": "log-level=none"} if codec == "libx265" else {}
    path = media.write_video(
        tmp_path / "v.mp4", media.face_frames(30, 320, 180, 90), codec=codec, options=options, pix_fmt=pix_fmt
    )
    assert_same_as_opencv(path, [0, 3, 17, 29])


def test_decodes_less_than_everything(face_video, monkeypatch):
    decoded = []
    original = video._decode

    def counting(context, packet):
        frames = original(context, packet)
        decoded.extend(frames)
        return frames

    monkeypatch.setattr(video, "_decode", counting)
    assert list(read(face_video, [0, 39])) == [0, 39]
    assert 2 <= len(decoded) < 20  # of 40


def test_frame_is_missing_where_it_was_expected(face_video, monkeypatch):
    """If the short cut does not deliver, the frames come from decoding everything, in order."""
    lie = SHOWN | START | ALONE  # nothing refers to anything
    monkeypatch.setattr(video, "inspector_of", lambda context: lambda packet: lie)
    assert_same_as_opencv(face_video, [0, 5, 21, 38])


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_rotation_tag(tmp_path, face_video, degrees):
    path = shutil.copy(face_video, tmp_path / "rotated.mp4")
    media.set_rotation(path, degrees)
    expected = media.opencv_frames(path)[5]
    frame = read(path, [5])[5]
    assert frame.shape == ((360, 640, 3) if degrees == 180 else (640, 360, 3))
    np.testing.assert_array_equal(frame, expected)
    ((_, held),) = video.iter_held_frames(path, lambda count: [5])
    assert held.shape == frame.shape
    np.testing.assert_array_equal(held.rgb(), expected)
    (crop,) = held.crops([((10, 300), (20, 90))])
    np.testing.assert_array_equal(crop, expected[10:301, 20:91])


def made_frame(draw, name, width, height):
    frame = av.VideoFrame(width, height, name)
    for plane in frame.planes:
        pixels = np.frombuffer(plane, np.uint8)
        pixels[:] = draw.integers(0, 256, len(pixels), dtype=np.uint8)
    return frame


@pytest.mark.parametrize("name", ["yuv420p", "yuvj420p", "yuv444p", "yuv422p", "yuv420p10le", "rgb24", "gray"])
def test_crops_of_a_held_frame(name):
    """Equal to the bit to what lies there in the whole picture, whatever its size, range and tags, and of boxes that
    reach beyond it; a part is converted where that is so."""
    draw = np.random.default_rng(0)
    in_parts = 0
    for size in ((640, 360), (854, 480), (333, 200), (332, 201), (64, 64), (63, 90), (7, 5), (1000, 66)):
        frame = made_frame(draw, name, *size)
        frame.color_range, frame.colorspace = int(draw.choice([0, 1, 2])), int(draw.choice([1, 2, 5, 6, 9]))
        held, (width, height) = video.HeldFrame("a.mp4", frame), size
        corners = (draw.random((20, 2)) * [height, width]).astype(int)
        ends = corners + (draw.random((20, 2)) * [height, width]).astype(int)
        boxes = [((y1, y2), (x1, x2)) for (y1, x1), (y2, x2) in zip(corners.tolist(), ends.tolist(), strict=True)]
        boxes += [((0, height - 1), (0, width - 1)), ((height - 1, height + 9), (width - 1, width + 9))]
        whole = held.rgb()
        for (rows, cols), crop in zip(boxes, held.crops(boxes), strict=True):
            np.testing.assert_array_equal(crop, whole[rows[0] : rows[1] + 1, cols[0] : cols[1] + 1])
        in_parts += part_to_rgb(frame, *boxes[0]) is not None
    assert in_parts >= 3 if name in ("yuv420p", "yuvj420p", "yuv444p") else not in_parts


def test_a_conversion_that_differs_at_its_ends(monkeypatch):
    """Then every crop is cut out of the whole picture."""
    frame = made_frame(np.random.default_rng(0), "yuv444p", 640, 360)
    whole = video.HeldFrame("a.mp4", frame).rgb()
    part = pixels._part
    monkeypatch.setattr(pixels, "_part", lambda *args: part(*args) ^ 1)
    pixels._parts_are_exact.cache_clear()
    try:
        (crop,) = video.HeldFrame("a.mp4", frame).crops([((10, 20), (30, 40))])
    finally:
        pixels._parts_are_exact.cache_clear()
    np.testing.assert_array_equal(crop, whole[10:21, 30:41])


def test_variable_frame_rate(tmp_path):
    draw = np.random.default_rng(0)
    timestamps = np.cumsum(draw.integers(1, 40, 50)).tolist()
    path = media.write_video(tmp_path / "vfr.mp4", media.face_frames(50, 320, 180, 90), timestamps=timestamps)
    assert_same_as_opencv(path, [0, 1, 13, 30, 49])


def test_fragmented_file_without_a_frame_count(tmp_path):
    options = {"movflags": "frag_keyframe+empty_moov"}
    path = media.write_video(
        tmp_path / "fragmented.mp4", media.face_frames(30, 320, 180, 90), container_options=options
    )
    counts = []
    frames = dict(iter_frames(path, lambda count: counts.append(count) or [0, count - 1]))
    assert counts == [30] and list(frames) == [0, 29]


@pytest.mark.parametrize("width, height", [(1, 1), (3, 5), (321, 179)])
def test_odd_sizes(tmp_path, width, height):
    frames = [np.full((height, width, 3), 40 * i, np.uint8) for i in range(3)]
    path = media.write_video(tmp_path / "odd.mp4", frames, pix_fmt="yuv444p", options={"crf": "10"})
    assert_same_as_opencv(path, [0, 1, 2])


def test_indices_are_sorted_made_unique_and_cut(face_video):
    assert list(read(face_video, [7, 3, 3, 39, 40, 1000])) == [3, 7, 39]


def test_negative_index_is_the_callers_mistake(face_video):
    with pytest.raises(ValueError, match="negative frame index -1"):
        read(face_video, [-1])


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
def test_cut_file_with_its_index_at_the_end_is_unreadable(tmp_path, face_video, part):
    data = face_video.read_bytes()
    path = tmp_path / "cut.mp4"
    path.write_bytes(data[: int(len(data) * part)])
    with pytest.raises(VideoError, match=r"cut\.mp4: can't be read"):
        read(path, [0, 20])


@pytest.mark.parametrize("part", [0.3, 0.5, 0.9])
def test_cut_file_with_its_index_in_front_gives_what_is_there(tmp_path, part):
    path = media.write_video(
        tmp_path / "whole.mp4",
        media.face_frames(60, 320, 180, 90),
        container_options={"movflags": "faststart"},
        options={"crf": "20", "g": "15"},
    )
    expected = media.opencv_frames(path)
    data = path.read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(data[: int(len(data) * part)])
    counts = []
    frames = dict(iter_frames(cut, lambda count: counts.append(count) or range(count)))
    assert counts == [60]  # as the header says
    assert 0 < len(frames) < 60 and list(frames) == list(range(len(frames)))
    for index in list(frames)[:-4]:  # the last ones may be damaged
        np.testing.assert_array_equal(frames[index], expected[index])


def test_damage_in_the_middle_leaves_the_rest(tmp_path, face_video):
    data = bytearray(face_video.read_bytes())
    start = data.index(b"mdat") + len(data) // 3
    data[start : start + 300] = bytes(300)
    path = tmp_path / "damaged.mp4"
    path.write_bytes(data)
    frames = read(path, range(40))
    assert len(frames) >= 30 and list(frames) == sorted(frames)
    np.testing.assert_array_equal(frames[0], read(face_video, [0])[0])
    np.testing.assert_array_equal(frames[39], read(face_video, [39])[39])


@pytest.mark.parametrize(
    "content, reason",
    [(b"", "is empty"), (b"not a video\n" * 50, "can't be read"), (bytes(5000), "can't be read")],
    ids=["empty", "text", "zeros"],
)
def test_no_video(tmp_path, content, reason):
    path = tmp_path / "x.mp4"
    path.write_bytes(content)
    with pytest.raises(VideoError, match=rf"x\.mp4: {reason}"):
        read(path, [0])


def test_audio_only(tmp_path):
    with pytest.raises(VideoError, match="holds no video stream"):
        read(media.write_audio(tmp_path / "audio.mp4"), [0])


def test_missing_file(tmp_path):
    with pytest.raises(VideoError, match=r"gone\.mp4: can't be opened \(No such file"):
        read(tmp_path / "gone.mp4", [0])


def test_named_pipe_does_not_block(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(VideoError, match="not a regular file"):
        read(tmp_path / "pipe.mp4", [0])


def test_a_playlist_does_not_open_other_files(tmp_path, face_video):
    shutil.copy(face_video, tmp_path / "good.mp4")
    (tmp_path / "list.mp4").write_text("ffconcat version 1.0\nfile good.mp4\n")
    with pytest.raises(VideoError, match="can't be read"):
        read(tmp_path / "list.mp4", [0])


@pytest.mark.parametrize("name", ["2024:01/v.mp4", "http:v.mp4", "-v.mp4", "é \n.mp4", "\udcff.mp4"])
def test_names_are_only_names(tmp_path, face_video, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    if "/" in name:
        os.mkdir(name.split("/")[0])
    shutil.copy(face_video, name)
    assert list(read(name, [3])) == [3]


def test_tags_that_are_not_utf8(tmp_path, face_video):
    path = tmp_path / "latin.mp4"
    path.write_bytes(face_video.read_bytes().replace(b"VideoHandler", b"Vid\xe9oHandler"))
    assert list(read(path, [3])) == [3]


def test_frames_that_an_edit_list_cuts_away_do_not_count(tmp_path):
    """Negative timestamps at the start are written as an edit list that hides these frames."""
    path = media.write_video(
        tmp_path / "v.mp4", media.face_frames(40, 320, 180, 90), timestamps=[10 * i - 100 for i in range(40)]
    )
    shown = media.opencv_frames(path)
    assert len(shown) < 40
    counts = []
    frames = dict(iter_frames(path, lambda count: counts.append(count) or range(count)))
    assert counts == [len(shown)] and list(frames) == list(range(len(shown)))
    for index, frame in frames.items():
        np.testing.assert_array_equal(frame, shown[index])


def test_rotation_that_is_none(tmp_path, face_video):
    data = bytearray(face_video.read_bytes())
    start = data.index(b"tkhd") + 44
    data[start : start + 36] = bytes(36)
    path = tmp_path / "zeros.mp4"
    path.write_bytes(data)
    assert read(path, [0])[0].shape == media.opencv_frames(path)[0].shape == (360, 640, 3)


def test_no_permission(tmp_path, face_video):
    path = shutil.copy(face_video, tmp_path / "locked.mp4")
    read(path, [0])  # everything that reading imports is loaded
    path.chmod(0)
    tmp_path.chmod(0o755)
    was_root = os.geteuid() == 0
    if was_root:
        os.seteuid(65534)  # root may read everything
    try:
        with pytest.raises(VideoError, match="Permission denied"):
            read(path, [0])
    finally:
        if was_root:
            os.seteuid(0)


def test_frames_too_large(face_video, monkeypatch):
    monkeypatch.setattr(video_file, "MAX_PIXELS", 640 * 360 - 1)
    with pytest.raises(VideoError, match="640x360"):
        read(face_video, [0])
