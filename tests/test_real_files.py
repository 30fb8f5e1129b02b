"""The reader on files as cameras, recorders, phones and editors write them: every frame that is shown, of the right
track, upright, in the published pipeline's colours."""

import io
import os
import struct
from pathlib import Path

import av
import numpy as np
import pytest
from av.bitstream import BitStreamFilterContext

from faces import pixels, video
from faces.video import iter_frames, probe
from tests import media

FRAMES = 48


@pytest.fixture(scope="module")
def pictures():
    return media.face_frames(FRAMES, 160, 96, 60)


def read_all(path):
    frames = iter_frames(path, range)
    return dict(frames), frames.info


def decoded(path, stream=0):
    """All frames of a video stream, by the plain decoder: the oracle."""
    with av.open(str(path)) as container:
        return [pixels.to_rgb(str(path), frame) for frame in container.decode(video=stream)]


def assert_whole(path, expected):
    """As many frames as the decoder gives, each the same, and any choice of them too."""
    frames, info = read_all(path)
    assert info.frame_count == len(expected) and list(frames) == list(range(len(expected)))
    for index, frame in frames.items():
        np.testing.assert_array_equal(frame, expected[index])
    draw = np.random.default_rng(0)
    for count in (1, 2, 5):
        wanted = sorted(draw.choice(len(expected), count, replace=False).tolist())
        chosen = dict(iter_frames(path, lambda n, wanted=wanted: wanted))
        assert list(chosen) == wanted
        assert all((chosen[index] == expected[index]).all() for index in wanted)
    return info


X265 = "log-level=none:keyint=12:min-keyint=12:scenecut=0:bframes=3"
KINDS = {
    "hevc open gop.mp4": {"codec": "libx265", "options": {"x265-params": f"{X265}:open-gop=1"}},
    "hevc closed gop.mkv": {"codec": "libx265", "options": {"x265-params": f"{X265}:open-gop=0"}},
    "hevc.ts": {"codec": "libx265", "options": {"x265-params": f"{X265}:open-gop=1"}},
    "h264.ts": {"options": {"g": "12", "bf": "3"}},
    "h264 open gop.mkv": {"options": {"x264-params": "keyint=12:open-gop=1:bframes=3"}},
    "h264 interlaced.mp4": {"options": {"flags": "+ildct+ilme", "g": "12", "bf": "2"}},
    "h264 fragments.mp4": {"options": {"g": "10"}, "container_options": {"movflags": "frag_keyframe"}},
    "vp8 hidden.webm": {"codec": "libvpx", "options": {"auto-alt-ref": "1", "lag-in-frames": "16", "b": "90k"}},
    "vp9 hidden.webm": {"codec": "libvpx-vp9", "options": {"lag-in-frames": "16", "g": "20", "cpu-used": "5"}},
    "av1.mp4": {"codec": "libsvtav1", "options": {"preset": "10", "g": "16"}},
    "mpeg4.avi": {"codec": "mpeg4", "options": {"g": "12"}},
    "mpeg4 b-frames.mp4": {"codec": "mpeg4", "options": {"g": "12", "bf": "2"}},
    "mpeg2.mpg": {"codec": "mpeg2video", "options": {"g": "12", "bf": "2"}},
    "mjpeg.mov": {"codec": "mjpeg", "pix_fmt": "yuvj420p", "options": {}},
    "prores.mov": {"codec": "prores_ks", "pix_fmt": "yuv422p10le", "options": {}},
    "ffv1.mkv": {"codec": "ffv1", "options": {"g": "8"}},
    "wmv2.avi": {"codec": "wmv2", "options": {}},
}


@pytest.mark.parametrize("name", KINDS)
def test_every_frame_that_is_shown(tmp_path, pictures, name):
    path = media.write_video(tmp_path / name, pictures, **KINDS[name])
    expected = decoded(path)
    assert len(expected) == FRAMES
    assert_whole(path, expected)


@pytest.mark.skipif(not hasattr(os, "sched_getscheduler"), reason="no priorities as Linux has them")
def test_an_encoder_s_priority_does_not_stay(tmp_path, pictures):
    """SVT-AV1's would, for root, and with it whatever a later test starts would keep the machine to itself."""
    before = os.sched_getscheduler(0), os.sched_getparam(0).sched_priority
    media.write_video(tmp_path / "av1.mp4", pictures, **KINDS["av1.mp4"])
    assert (os.sched_getscheduler(0), os.sched_getparam(0).sched_priority) == before


def test_avi_whose_header_counts_too_many_or_too_few(tmp_path, pictures):
    path = media.write_video(tmp_path / "v.avi", pictures, codec="mpeg4", options={})
    data = bytearray(path.read_bytes())
    for count in (1000, 7):
        struct.pack_into("<I", data, data.index(b"avih") + 24, count)
        struct.pack_into("<I", data, data.index(b"strh") + 40, count)
        path.write_bytes(data)
        info = assert_whole(path, decoded(path))
        assert info.notes == [f"its header counts {count} frames, and {FRAMES} are shown"]


def test_frames_that_were_dropped_do_not_count(tmp_path, pictures):
    """A recorder that could not follow writes empty ones."""
    path = media.write_video(
        tmp_path / "v.avi", pictures, codec="mpeg4", options={}, timestamps=[30 * i for i in range(FRAMES)]
    )
    assert_whole(path, decoded(path))


def test_edit_list_of_several_segments(tmp_path, pictures):
    """The middle is cut out: segments of 16 frames each, from the file's first and last third."""
    path = media.write_video(tmp_path / "v.mp4", pictures, options={"g": "8", "bf": "0"})
    expected = decoded(path)
    write_edit_list(path, [(0, 16), (32, 16)])
    frames, info = read_all(path)
    assert info.frame_count == 32 == len(decoded(path))
    for index, frame in frames.items():
        np.testing.assert_array_equal(frame, expected[index if index < 16 else index + 16])


def write_edit_list(path, segments):
    """Segments as (first frame, frames), for a file of 30 frames a second (ISO/IEC 14496-12, elst)."""
    data = bytearray(path.read_bytes())
    movie = struct.unpack_from(">I", data, data.index(b"mvhd") + 16)[0]
    media_scale = struct.unpack_from(">I", data, data.index(b"mdhd") + 16)[0]
    entries = b"".join(
        struct.pack(">Iihh", count * movie // 30, first * media_scale // 30, 1, 0) for first, count in segments
    )
    elst = struct.pack(">II", 0, len(segments)) + entries
    edts = struct.pack(">I4sI4s", 16 + len(elst), b"edts", 8 + len(elst), b"elst") + elst
    start = data.find(b"edts")
    trak = data.index(b"trak") - 4
    if start >= 0:
        size = struct.unpack_from(">I", data, start - 4)[0]
        data[start : start + 4] = b"free"  # the one that the muxer wrote
        assert size < len(data)
    end = trak + 8 + struct.unpack_from(">I", data, trak + 8)[0]
    data[end:end] = edts
    for box in (data.index(b"moov") - 4, trak):
        struct.pack_into(">I", data, box, struct.unpack_from(">I", data, box)[0] + len(edts))
    path.write_bytes(data)


@pytest.mark.parametrize("codec", ["libx264", "libx265", "mpeg2video"])
def test_recording_that_begins_in_the_middle(tmp_path, pictures, codec):
    options = {"libx264": {"x264-params": "keyint=12:open-gop=1:bframes=3"}, "libx265": {"x265-params": X265}}
    path = media.write_video(
        tmp_path / "v.ts", pictures, codec=codec, options=options.get(codec, {"g": "12", "bf": "2"})
    )
    data = path.read_bytes()
    path.write_bytes(data[len(data) // 3 // 188 * 188 :])
    expected = decoded_as_far_as_possible(path)
    assert 0 < len(expected) < FRAMES
    frames, info = read_all(path)
    assert info.frame_count == len(frames) == len(expected)
    assert all((frames[index] == expected[index]).all() for index in frames)


def decoded_as_far_as_possible(path):
    frames = []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        for packet in container.demux(stream):
            try:
                frames += [pixels.to_rgb(str(path), frame) for frame in packet.decode()]
            except av.error.FFmpegError:
                continue
    return frames


def test_timestamps_that_begin_anew(tmp_path, pictures):
    """Two recordings in one file: the second does not come before the first."""
    first = media.write_video(tmp_path / "a.ts", pictures, options={"g": "12"})
    second = media.write_video(tmp_path / "b.ts", pictures[::-1] * 2, options={"g": "12"})
    path = tmp_path / "both.ts"
    path.write_bytes(first.read_bytes() + second.read_bytes())
    frames, info = read_all(path)
    expected = decoded(first) + decoded(second)
    assert info.frame_count == len(expected)
    np.testing.assert_array_equal(frames[0], expected[0])
    np.testing.assert_array_equal(frames[len(expected) - 1], expected[-1])


def test_long_files_are_not_decoded_whole(tmp_path, pictures, monkeypatch):
    count = []
    original = video._decode
    monkeypatch.setattr(video, "_decode", lambda *args: count.append(args[1] is not None) or original(*args))
    for name in ("hevc open gop.mp4", "vp9 hidden.webm", "prores.mov"):
        path = media.write_video(tmp_path / name, pictures * 4, **KINDS[name])
        count.clear()
        assert list(dict(iter_frames(path, lambda n: [n - 1]))) == [4 * FRAMES - 1]
        assert sum(count) <= 30, name


# the display matrix


@pytest.mark.parametrize("a, b", [(-1, -1), (-1, 1), (1, -1), (1, 1)])
def test_every_turn_and_reflection(tmp_path, pictures, a, b):
    path = media.write_video(tmp_path / "v.mp4", pictures[:3])
    stored = decoded(path)[0]
    height, width = stored.shape[:2]
    ys, xs = np.mgrid[:height, :width]
    for matrix in ((a, 0, 0, b), (0, a, b, 0)):
        media.set_display_matrix(path, matrix)
        frames, info = read_all(path)
        # where each pixel goes, by the definition
        x = matrix[0] * xs + matrix[2] * ys
        y = matrix[1] * xs + matrix[3] * ys
        expected = np.zeros((np.ptp(y) + 1, np.ptp(x) + 1, 3), np.uint8)
        expected[y - y.min(), x - x.min()] = stored
        np.testing.assert_array_equal(frames[0], expected)
        assert info.notes == [] and (info.height, info.width) == expected.shape[:2]
        assert probe(path).width == expected.shape[1]


@pytest.mark.parametrize("matrix", [(0.7071, 0.7071, -0.7071, 0.7071), (0, 0, 0, 0), (1, 1, 0, 1), (2, 0, 0, 2)])
def test_other_matrices_are_named(tmp_path, pictures, matrix):
    path = media.write_video(tmp_path / "v.mp4", pictures[:3])
    stored = decoded(path)[0]
    media.set_display_matrix(path, matrix)
    frames, info = read_all(path)
    np.testing.assert_array_equal(frames[0], stored)
    assert "display matrix" in info.notes[0]


# tracks


def write_tracks(path, *tracks):
    """Each (frames, codec, disposition)."""
    with av.open(str(path), "w") as container:
        streams = []
        for frames, codec, disposition in tracks:
            stream = container.add_stream(codec, rate=30, options={})
            stream.height, stream.width = frames[0].shape[:2]
            stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            stream.disposition = disposition
            streams.append(stream)
        for stream, (frames, _, _) in zip(streams, tracks, strict=True):
            for image in frames:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            container.mux(stream.encode(None))
    return path


def test_the_track_that_players_show(tmp_path, pictures):
    small = [np.ascontiguousarray(frame[::2, ::2]) for frame in pictures]
    default = av.stream.Disposition.default
    none = av.stream.Disposition(0)
    cases = {
        "thumbnail.mov": [(small[:1], "mjpeg", none), (pictures, "libx264", default)],
        "one frame.mkv": [(pictures[:1], "mjpeg", default), (small, "libx264", none)],
        "preview.mp4": [(small, "libx264", default), (pictures, "libx264", default)],
        "disabled.mp4": [(pictures, "libx264", none), (small, "libx264", default)],
        "longer.mkv": [(pictures[:20], "libx264", none), (pictures, "libx264", none)],
    }
    for name, tracks in cases.items():
        path = write_tracks(tmp_path / name, *tracks)
        frames, info = read_all(path)
        shown = tracks[1][0]
        assert len(frames) == len(shown) and frames[0].shape == shown[0].shape, name
        assert info.notes[0].startswith("2 video tracks: #1 (") and "and not #0 (" in info.notes[0]


# colours


def retagged(path, out, filters):
    with av.open(str(path)) as source, av.open(str(out), "w") as target:
        stream = source.streams.video[0]
        copy = target.add_stream_from_template(stream)
        context = BitStreamFilterContext(filters, stream, copy)
        for packet in source.demux(stream):
            for each in context.filter(packet if packet.dts is not None else None):
                each.stream = copy
                target.mux(each)
    return out


def test_a_tag_alone_changes_no_pixel(tmp_path, pictures):
    plain = media.write_video(tmp_path / "plain.mp4", pictures[:5])
    expected, _ = read_all(plain)
    for matrix in (1, 5, 7, 8, 9):
        tags = f"h264_metadata=colour_primaries=1:transfer_characteristics=1:matrix_coefficients={matrix}"
        frames, info = read_all(retagged(plain, tmp_path / f"{matrix}.mp4", tags))
        assert all((frames[index] == expected[index]).all() for index in expected) and info.notes == []


def test_full_range_is_honoured(tmp_path, pictures):
    plain = media.write_video(tmp_path / "plain.mp4", pictures[:2])
    full = retagged(plain, tmp_path / "full.mp4", "h264_metadata=video_full_range_flag=1")
    difference = read_all(full)[0][0].astype(int) - read_all(plain)[0][0]
    assert np.abs(difference).max() > 5


@pytest.mark.parametrize("transfer, name", [(16, "PQ"), (18, "HLG")])
def test_hdr_is_named(tmp_path, pictures, transfer, name):
    plain = media.write_video(tmp_path / "plain.mp4", pictures[:2])
    path = retagged(plain, tmp_path / "hdr.mp4", f"h264_metadata=transfer_characteristics={transfer}")
    assert any(f"HDR ({name})" in note for note in read_all(path)[1].notes)


def test_pixels_that_are_not_square_are_named(tmp_path, pictures):
    plain = media.write_video(tmp_path / "plain.mp4", pictures[:2])
    path = retagged(plain, tmp_path / "sar.mp4", "h264_metadata=sample_aspect_ratio=16/11")
    frames, info = read_all(path)
    assert frames[0].shape == (96, 160, 3) and any("not square (16:11)" in note for note in info.notes)


def test_interlaced_sequences_are_told_from_their_header(tmp_path, pictures):
    from faces.packets import H264, UNDECIDED

    path = media.write_video(
        tmp_path / "v.mp4", pictures, options={"flags": "+ildct+ilme", "x264-params": "tff=1:keyint=12"}
    )
    with av.open(str(path)) as container:
        inspect = H264(container.streams.video[0].codec_context.extradata)
        assert inspect.frame_num_bits is not None
        assert not any(inspect(packet) & UNDECIDED for packet in container.demux(video=0) if packet.size)
    # a slice of a single field: macroblock 0, I, set 0, frame_num 0, field_pic_flag 1, bottom_field_flag 1
    bits = "1" + "00111" + "1" + "0" * inspect.frame_num_bits + "1" + "1" + "1"
    payload = int(bits.ljust(32, "0"), 2).to_bytes(4, "big")
    unit = b"\x65" + payload
    assert inspect(io.BytesIO(len(unit).to_bytes(4, "big") + unit).getbuffer()) & UNDECIDED


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="no /proc")
def test_frames_that_were_read_are_freed(face_video):
    """A leak of decoded frames would be 14 MB each time."""

    def resident():
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    for _ in iter_frames(face_video, range):
        before = resident()
    for _ in range(12):
        for _ in iter_frames(face_video, range):
            pass
    assert resident() - before < 60e6
