"""Videos encoded again."""

import json
import re
from pathlib import Path

import av
import numpy as np
import pytest

from faces.video_file import VideoError
from preprocessing import compress_videos
from preprocessing.data_root import read_data_root
from tests import data, media


def streams(path):
    with av.open(str(path)) as container:
        return {stream.type: (stream.codec_context.name, stream.frames) for stream in container.streams}


def psnr(first, second):
    return 10 * np.log10(255**2 / np.mean((np.asarray(first, float) - np.asarray(second, float)) ** 2))


def rate_factor(path):
    """As x264 notes it in the file."""
    return float(re.search(rb" crf=([0-9.]+) ", path.read_bytes())[1])


def list_items(compressed, root):
    return compress_videos.list_items(compressed.parent, read_data_root(root))


@pytest.fixture
def compressed(root):
    assert compress_videos.main(["--root-dir", str(root)]) == 0
    return root / "compressed" / "dfdc_train_part_0"


def test_same_pictures_at_another_rate(root, compressed):
    real, _ = data.pair(root)
    assert len(list(compressed.iterdir())) == 5  # and nothing hidden
    before, after = media.opencv_frames(real.path), media.opencv_frames(compressed / f"{real.id}.mp4")
    assert len(before) == len(after) == 24 and before[0].shape == after[0].shape
    assert 30 < psnr(before, after) < 60
    assert streams(compressed / f"{real.id}.mp4") == {"video": ("h264", 24)}


def test_same_bytes_again(root, compressed):
    draws = {item.task[1].name: item.task[2] for item in list_items(compressed, root)}
    assert set(draws.values()) <= {23, 28, 32} and len(set(draws.values())) > 1
    assert {path.name: rate_factor(path) for path in compressed.iterdir()} == draws
    before = {path.name: path.read_bytes() for path in compressed.iterdir()}
    for _ in range(3):
        assert compress_videos.main(["--root-dir", str(root), "--overwrite"]) == 0
        assert {path.name: path.read_bytes() for path in compressed.iterdir()} == before


def test_sound_is_kept_and_pictures_are_upright(root):
    real, _ = data.pair(root)
    with_sound(real.path, media.face_frames(20, 320, 180, 90))
    assert compress_videos.main(["--root-dir", str(root)]) == 0
    result = root / "compressed" / "dfdc_train_part_0" / f"{real.id}.mp4"
    assert streams(result)["video"] == ("h264", 20) and streams(result)["audio"][0] == "aac"

    turned = media.write_video(Path(real.path), media.face_frames(20, 320, 180, 90))
    media.set_rotation(turned, 90)
    assert compress_videos.main(["--root-dir", str(root)]) == 0
    before, after = media.opencv_frames(real.path), media.opencv_frames(result)
    assert before[0].shape == after[0].shape == (320, 180, 3) and psnr(before, after) > 30


def with_sound(path, frames):
    with av.open(path, "w", format="mp4") as container:
        picture = container.add_stream("libx264", rate=30)
        picture.height, picture.width = frames[0].shape[:2]
        picture.pix_fmt = "yuv420p"
        sound = container.add_stream("aac", rate=44100, layout="mono")
        for start in range(0, 29400, 1024):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 44100, start
            container.mux(sound.encode(frame))
        for image in frames:
            container.mux(picture.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(picture.encode(None))
        container.mux(sound.encode(None))


@pytest.mark.parametrize("suffix", [".MOV", ".mkv", ".avi"])
def test_the_result_is_an_mp4_whatever_it_was(root, suffix):
    real, _ = data.pair(root)
    part, frames = Path(real.path).parent, media.face_frames(12, 160, 96, 60)
    with av.open(str(part / f"{real.id}{suffix}"), "w") as container:
        stream = container.add_stream("mpeg4", rate=30)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for image in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    (part / "metadata.json").write_text(json.dumps({f"{real.id}{suffix}": {"label": "REAL"}}))
    assert compress_videos.main(["--root-dir", str(root)]) == 0
    folder = root / "compressed" / part.name
    assert [path.name for path in folder.iterdir()] == [f"{real.id}.mp4"]
    assert streams(folder / f"{real.id}.mp4") == {"video": ("h264", 12)}


def test_what_cannot_be_encoded(root, capsys):
    real, fake = data.pair(root)
    data.cut(fake.path)
    media.write_video(real.path, [np.zeros((101, 67, 3), np.uint8)] * 3, pix_fmt="yuv444p")
    assert compress_videos.main(["--root-dir", str(root)]) == 1
    out, err = capsys.readouterr()
    assert f"  failed: {fake.id}: {fake.path}: can't be encoded again (Invalid data found when processing input)" in out
    assert f"  failed: {real.id}: {real.path}: has frames of 67x101 pixels: x264 wants even sides" in out
    assert "compressed: 3 of 5 done" in out and "2 failed" in err
    assert (
        sorted(path.name for path in (root / "compressed" / "dfdc_train_part_0").iterdir() if path.name[0] == ".") == []
    )


def test_a_video_that_is_cut_in_the_middle(root, capsys):
    real, _ = data.pair(root)
    frames = media.opencv_frames(real.path)
    media.write_video(root / "whole.mp4", frames, container_options={"movflags": "faststart"})
    (root / "whole.mp4").replace(real.path)
    data.cut(real.path, 0.7)
    assert compress_videos.main(["--root-dir", str(root)]) == 1
    assert f"  failed: {real.id}: {real.path}: " in capsys.readouterr().out
    assert not (root / "compressed" / "dfdc_train_part_0" / f"{real.id}.mp4").exists()


def test_much_sound_before_a_picture(root, monkeypatch):
    """It waits in memory, so there is a limit."""
    real, _ = data.pair(root)
    with_sound(real.path, media.face_frames(20, 320, 180, 90))
    monkeypatch.setattr(compress_videos, "_MOST_EARLY", 10)
    output = root / "compressed" / "dfdc_train_part_0" / f"{real.id}.mp4"
    with pytest.raises(VideoError, match="MiB of sound before a picture: can't be encoded again"):
        compress_videos.encode((real.path, output, 23))
    assert not output.exists()
