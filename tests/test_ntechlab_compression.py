"""NtechLab's compression augmentation: published draws, frame counts and distortions, and FFmpeg's own filters."""

import random
from fractions import Fraction

import av
import av.filter
import cv2
import numpy as np
import pytest

from faces.video import iter_frames
from systems.ntechlab.compression import (
    PIX_FMTS,
    TUNES,
    Compression,
    compress,
    decode,
    draw_compression,
    encode,
    frame_numbers,
    kept_images,
)
from systems.ntechlab.dataset import SAMPLED_FRAMES
from tests import media
from tests.ntechlab import GOLDEN, golden, video_path

needs_golden = pytest.mark.skipif(not GOLDEN.is_dir(), reason="no ../shared")
MILD = Compression(fps=30, scale=1, crf=17, tune="film")


@pytest.fixture(scope="module")
def images():
    """50 images of 120x88 with a face that drifts."""
    return [frame[:120, :88] for frame in media.face_frames(50, width=100, height=120, face=70)]


@needs_golden
def test_published_draws():
    expected = golden("augmentation.json")["compression_draws"]
    for seed, parameters, following in expected["draws"]:
        draw = random.Random(seed)
        drawn = draw_compression(draw)
        found = drawn and [drawn.fps, *drawn.size(expected["height"], expected["width"]), drawn.crf, drawn.tune]
        assert found == parameters
        assert draw.random() == following


def test_drawn_ranges():
    drawn = [draw_compression(random.Random(seed)) for seed in range(4000)]
    some = [compression for compression in drawn if compression]
    assert 0.46 < len(some) / len(drawn) < 0.54
    assert {compression.fps for compression in some} == set(range(15, 31))
    assert {compression.crf for compression in some} == set(range(17, 40))
    assert {compression.tune for compression in some} == set(TUNES)
    assert all(0.25 <= compression.scale <= 1 for compression in some)


@pytest.mark.parametrize(
    ("scale", "size", "expected"), [(1, (253, 187), (252, 186)), (0.25, (10, 14), (2, 4)), (0.25, (3, 1), (2, 2))]
)
def test_sizes_are_even_and_never_zero(scale, size, expected):
    """round(2.5) is 2, round(3.5) is 4."""
    assert Compression(fps=30, scale=scale, crf=20, tune="film").size(*size) == expected


@needs_golden
def test_published_frame_numbers():
    for count, frames, clip in golden("augmentation.json")["index_map"]:
        assert frame_numbers(SAMPLED_FRAMES["large_crop"], count) == frames
        assert frame_numbers(SAMPLED_FRAMES["seq"], count) == clip


def test_kept_images_by_hand():
    """At 20 frames a second the images lie at 0, .67, 1.33, 2, 2.67, and what is shown ends at 3.33."""
    assert kept_images(5, 20) == [0, 2, 3]
    assert kept_images(50, 30) == list(range(50))
    assert kept_images(1, 15) == [0]


@needs_golden
def test_published_frame_counts():
    counts = golden("compression.json")["frame_counts"]
    assert {fps: len(kept_images(50, int(fps))) for fps in counts} == counts


def filtered(frames: list[av.VideoFrame], *filters: tuple[str, str]) -> list[av.VideoFrame]:
    """Frames, 30 a second, through filters of FFmpeg."""
    graph = av.filter.Graph()
    first = frames[0]
    source = graph.add_buffer(width=first.width, height=first.height, format=first.format, time_base=Fraction(1, 30))
    graph.link_nodes(source, *(graph.add(*arguments) for arguments in filters), graph.add("buffersink"))
    graph.configure()
    for number, frame in enumerate(frames):
        frame.pts, frame.time_base, frame.duration = number, Fraction(1, 30), 1
        graph.vpush(frame)
    graph.vpush(None)
    found = []
    while True:
        try:
            found.append(graph.vpull())
        except (av.error.BlockingIOError, av.error.EOFError):
            return found


@pytest.mark.parametrize("count", [50, 8, 1])
def test_images_are_kept_as_by_ffmpeg(count):
    for fps in range(15, 31):
        numbered = [av.VideoFrame.from_ndarray(np.full((8, 8), i, np.uint8), format="gray") for i in range(count)]
        shown = [int(frame.to_ndarray()[0, 0]) for frame in filtered(numbered, ("fps", str(fps)))]
        assert kept_images(count, fps) == shown


@pytest.mark.parametrize("pix_fmt", PIX_FMTS)
@pytest.mark.parametrize("size", [(120, 88), (62, 44)])
def test_frames_are_those_of_ffmpeg(images, pix_fmt, size):
    """Scaled and converted by its filters, there and back, around the same encoder."""
    compression = Compression(fps=20, scale=1, crf=23, tune="film")
    rgb = [av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24") for image in images]
    scaled = filtered(rgb, ("fps", "20"), ("scale", f"{size[1]}:{size[0]}:flags=bicubic"), ("format", pix_fmt))
    encoder = av.CodecContext.create("libx264", "w")
    encoder.height, encoder.width, encoder.pix_fmt = *size, pix_fmt
    encoder.framerate, encoder.time_base, encoder.thread_count = Fraction(20), Fraction(1, 20), 1
    encoder.options = {"crf": "23", "tune": "film", "x264-params": "cpu-independent=1"}
    packets = [packet for frame in (*scaled, None) for packet in encoder.encode(frame)]
    decoder = av.CodecContext.create("h264", "r")
    decoded = [frame for packet in (*packets, None) for frame in decoder.decode(packet)]
    expected = [frame.to_ndarray() for frame in filtered(decoded, ("scale", "flags=bicubic"), ("format", "rgb24"))]
    assert len(expected) == 33
    found = compress(images, compression, size, [9, 37], pix_fmt=pix_fmt)
    np.testing.assert_array_equal(found, [expected[number] for number in frame_numbers([9, 37], 33)])


@pytest.mark.parametrize("tune", TUNES)
def test_encoding_ends_early_with_the_same_frames(images, tune):
    compression = Compression(fps=30, scale=1, crf=28, tune=tune)
    everything = list(encode(images, compression, (120, 88)))
    until_31 = list(encode(images, compression, (120, 88), last=31))
    assert len(everything) == 50 and 32 <= len(until_31) <= 36  # with the frames that those before them look at
    assert [bytes(packet) for packet in until_31] == [bytes(packet) for packet in everything[: len(until_31)]]
    found = compress(images, compression, (120, 88), SAMPLED_FRAMES["seq"])
    np.testing.assert_array_equal(found, decode(everything, SAMPLED_FRAMES["seq"]))


@pytest.mark.parametrize("width", [88, 272])
def test_the_same_bytes_each_time(images, width):
    """272 pixels are 17 macroblocks, at which x264's AVX-512 code reads what nobody has written."""
    images = [cv2.resize(image, (width, 240)) for image in images]
    compression = Compression(fps=30, scale=1, crf=28, tune="film")
    streams = {b"".join(map(bytes, encode(images, compression, (240, width)))) for _ in range(4)}
    assert len(streams) == 1


def test_images_that_are_dropped_are_not_asked_for(images):
    class Counted(list):
        def __getitem__(self, number):
            asked.append(number)
            return super().__getitem__(number)

    asked = []
    compress(Counted(images), Compression(fps=15, scale=0.5, crf=30, tune="film"), (60, 44), [9, 13])
    assert asked == list(range(0, 50, 2))


def test_short_tracks(images):
    """Ten images: the frames are spread over them, 9 / 50 * 10 rounds to 2."""
    early, late = compress(images[:10], MILD, (120, 88), [9, 37])
    assert nearest(early, images) == 2 and nearest(late, images) == 7
    first, second = compress(images[:1], MILD, (120, 88), [9, 37])
    assert np.array_equal(first, second)


def nearest(frame: np.ndarray, images: list[np.ndarray]) -> int:
    return int(np.argmin([np.abs(frame.astype(int) - image).mean() for image in images]))


@pytest.mark.parametrize("pix_fmt", PIX_FMTS)
def test_colours_come_back(pix_fmt):
    image = np.zeros((64, 64, 3), np.uint8)
    image[:] = 200, 100, 30
    (frame,) = compress([image] * 3, MILD, (64, 64), [0], pix_fmt=pix_fmt)
    np.testing.assert_allclose(frame, image, atol=3)


@pytest.mark.parametrize("tune", TUNES)
@pytest.mark.parametrize("pix_fmt", PIX_FMTS)
def test_smallest_frames(tune, pix_fmt):
    compression = Compression(fps=15, scale=0.25, crf=39, tune=tune)
    frames = compress([np.full((1, 1, 3), 128, np.uint8)] * 10, compression, (2, 2), [0, 49], pix_fmt=pix_fmt)
    np.testing.assert_allclose(frames, np.full((2, 2, 2, 3), 128), atol=8)


@pytest.fixture(scope="module")
def track():
    """The golden track: the crop of a fake's 50 frames."""
    left, top = 541, 41
    frames = dict(iter_frames(video_path("634_660.mp4"), lambda count: range(162, 212)))
    return [frames[number][top : top + 396, left : left + 273] for number in range(162, 212)]


@needs_golden
def test_published_distortion(track):
    """Bytes, and differences to the source after resizing back, within 10 % of what the published way gave."""
    for case in golden("compression.json")["distortion"]:
        compression = Compression(**{key: case[key] for key in ("fps", "scale", "crf", "tune")})
        size = compression.size(*track[0].shape[:2])
        assert size == (case["height"], case["width"])
        packets = list(encode(track, compression, size))
        frames = decode(packets, range(case["frames"]))
        assert sum(packet.size for packet in packets) == pytest.approx(case["bytes"], rel=0.1)
        differences = [
            np.abs(cv2.resize(frames[number], (273, 396)).astype(float) - image).mean((0, 1))
            for number, image in zip(frame_numbers(range(50), len(frames)), track, strict=True)
        ]
        assert np.mean(differences) == pytest.approx(case["mean_abs_difference"], rel=0.1)
        assert np.mean(differences, axis=0) == pytest.approx(case["by_channel"], rel=0.1)
        means = [frames[number].mean() for number in (0, len(frames) // 2, -1)]
        assert means == pytest.approx(case["frame_means"], rel=0.005)
