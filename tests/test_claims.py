"""What a small file claims costs neither memory nor time; what a long video holds is read."""

import struct
import zlib

import numpy as np
import pytest

from benchmarks.bounded import bounded
from faces import video, video_file
from faces.claims import claims
from faces.packets import H264
from faces.video import VideoError, iter_frames
from faces.video_file import MAX_FRAMES, MAX_TRACKS
from tests import media

MOST_BYTES, MOST_SECONDS = 10**9, 60
DAY = 24 * 3600


def numbers(*values):
    return struct.pack(f">{len(values)}I", *values)


def box(kind, *parts):
    content = b"".join(parts)
    return numbers(8 + len(content)) + kind + content


def rebuilt(data, boxes):
    """An MP4 with some boxes replaced: by bytes, or by what a function makes of the content."""
    out, at = b"", 0
    while at < len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        content = data[at + 8 : at + size]
        if kind in boxes:
            out += boxes[kind](content) if callable(boxes[kind]) else boxes[kind]
        elif kind in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"moof", b"traf"):
            out += box(kind, rebuilt(content, boxes))
        else:
            out += data[at : at + size]
        at += size
    return out


def times(count, ticks=512):
    return box(b"stts", numbers(0, 1, count, ticks))


def tables(data, count, size):
    """Of a track whose samples all have one size and lie in one chunk."""
    return {
        b"stsz": box(b"stsz", numbers(0, size, count)),
        b"stts": times(count),
        b"stsc": box(b"stsc", numbers(0, 1, 1, count, 1)),
        b"stco": box(b"stco", numbers(0, 1, data.index(b"mdat") + 4)),
        b"stss": b"",
        b"ctts": b"",
        b"edts": b"",
    }


def edits(count):
    return box(b"edts", box(b"elst", numbers(0, count), numbers(2**31 - 1, 0, 1 << 16) * count))


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    path = tmp_path_factory.mktemp("plain") / "plain.mp4"
    return media.write_video(path, media.face_frames(12, 96, 64, 40)).read_bytes()


@pytest.fixture(scope="module")
def fragments(tmp_path_factory):
    path = tmp_path_factory.mktemp("fragments") / "fragments.mp4"
    options = {"movflags": "frag_keyframe+empty_moov"}
    return media.write_video(path, media.face_frames(12, 96, 64, 40), container_options=options).read_bytes()


def read_all(path):
    """How many frames there are, or what is said; within bounds."""

    def read():
        try:
            return sum(1 for _ in iter_frames(path, range))
        except VideoError as error:
            return str(error)

    outcome = bounded(read, seconds=MOST_SECONDS, most_bytes=2 * MOST_BYTES)
    assert outcome.result is not None, f"{outcome.exit_code} after {outcome.seconds:.0f} s: {outcome.output[-1000:]}"
    assert outcome.grown < MOST_BYTES
    return outcome.result


def trun(count):
    return box(b"trun", numbers(1, count, 0x100))


CLAIMS = {
    "samples": lambda plain, fragments: rebuilt(plain, tables(plain, 30_000_000, 100)),
    "empty samples": lambda plain, fragments: rebuilt(
        plain, tables(plain, 30_000_000, 1) | {b"stsz": box(b"stz2", numbers(0, 4, 2**32 - 1))}
    ),
    "a fragment": lambda plain, fragments: rebuilt(fragments, {b"trun": trun(30_000_000)}),
    "fragments": lambda plain, fragments: rebuilt(fragments, {b"trun": trun(10**6) * 30}),
    "edits": lambda plain, fragments: rebuilt(plain, tables(plain, 10**6, 1) | {b"edts": edits(60)}),
}


@pytest.mark.parametrize("kind", CLAIMS)
def test_tables_of_an_mp4(tmp_path, plain, fragments, kind):
    path = tmp_path / "v.mp4"
    path.write_bytes(CLAIMS[kind](plain, fragments))
    assert path.stat().st_size < 5000
    assert read_all(path).endswith("v.mp4: lists over 8388608 packets in its tables, the limit; cut it into parts")


def claiming(count):
    """A fragment of samples of one byte, which need no table."""
    header = box(b"tfhd", numbers(0x020018, 1, 1, 1))
    return box(b"moof", box(b"mfhd", numbers(0, 9)), box(b"traf", header, box(b"trun", numbers(0, count))))


NONSENSE = numbers(4) + b"free"  # a box that is smaller than its header
MILLIONS = claiming(30_000_000)


def parts(data):
    """What comes before the first fragment, the movie's header in it, and the first fragment with its pictures."""
    start = data.index(b"moof") - 4
    fragment, pictures = (struct.unpack_from(">I", data, at)[0] for at in (start, data.index(b"mdat") - 4))
    header = data.index(b"moov") - 4
    return data[:header], data[header + 8 : start], data[start : start + fragment + pictures]


def indexed(data, *sizes, rest):
    """The file with an index of fragments, which have these sizes beside the first one, and the `rest` behind that."""
    front, header, first = parts(data)
    rows = b"".join(numbers(size, 512, 9 << 28) for size in (len(first), *sizes))
    index = box(b"sidx", numbers(0, 1, 15360, 0, 0), struct.pack(">HH", 0, 1 + len(sizes)), rows)
    return front + box(b"moov", header) + index + first + rest


def in_header(data, extra, front=b""):
    start, header, first = parts(data)
    return start + front + box(b"moov", header, extra) + first


def compressed(data, extra=b"", claimed=None):
    """The movie's header as old QuickTime files have it."""
    front, header, first = parts(data)
    content = header + extra
    size = numbers(len(content) if claimed is None else claimed)
    packed = box(b"moov", box(b"cmov", box(b"dcom", b"zlib"), box(b"cmvd", size, zlib.compress(content, 9))))
    filler = box(b"free", bytes(max(len(header) - len(packed), 0)))  # the fragment says where in the file it lies
    return front + packed + filler + first


def in_description(content):
    return box(b"stsd", content[:8], box(b"avc1", content[16:94], MILLIONS, content[94:]))


def often(fragments):
    """A property of a picture that belongs to it a hundred times is looked at as often."""
    associations = box(b"ipma", numbers(0, 100), bytes((0, 1, 1, 0x81)) * 100)
    return in_header(fragments, box(b"iprp", box(b"ipco", claiming(300_000)), associations))


ELSEWHERE = {
    "behind nonsense": lambda data: indexed(data, 16, len(MILLIONS), rest=box(b"free", b"") + NONSENSE + MILLIONS),
    "in the pictures": lambda data: indexed(
        data, 24, len(MILLIONS), rest=box(b"free", b"") + NONSENSE + box(b"mdat", MILLIONS)
    ),
    "again and again": lambda data: indexed(
        data, *[8] * 100, len(claiming(300_000)) + 8, rest=box(b"free", b"") * 100 + claiming(300_000) + NONSENSE
    ),
    "in tags": lambda data: in_header(data, box(b"meta", numbers(0), box(b"hdlr", bytes(25)), MILLIONS)),
    "in a list": lambda data: in_header(data, box(b"ilst", MILLIONS)),
    "in protection": lambda data: in_header(data, box(b"sinf", box(b"schi", MILLIONS))),
    "in a description": lambda data: rebuilt(data, {b"stsd": in_description}),
    "in a header left behind": lambda data: in_header(data, b"", box(b"hoov", parts(data)[1], MILLIONS)),
    "compressed": lambda data: compressed(data, MILLIONS),
    "much compressed": lambda data: compressed(data, box(b"free", bytes(10**8))),
    "much compressed by its word": lambda data: compressed(data, claimed=2**32 - 1),
    "a property": often,
    "encrypted samples": lambda data: rebuilt(data, {b"trun": box(b"senc", numbers(0, 200_000_000)) + trun(1)}),
    "sizes of encrypted samples": lambda data: rebuilt(data, {b"trun": box(b"saiz", bytes(5), numbers(10**7))}),
}


@pytest.mark.parametrize("kind", ELSEWHERE)
def test_tables_where_no_standard_has_them(tmp_path, fragments, kind):
    """FFmpeg reads them there: 300 MB to some GB in files of some kilobytes."""
    path = tmp_path / "v.mp4"
    path.write_bytes(ELSEWHERE[kind](fragments))
    assert path.stat().st_size < 200_000
    assert read_all(path).endswith("v.mp4: lists over 8388608 packets in its tables, the limit; cut it into parts")


def test_an_index_of_fragments(tmp_path):
    """Each fragment counts once, also where the file is cut, or its index is of another file."""
    path = tmp_path / "v.mp4"
    options = {"movflags": "frag_keyframe+empty_moov+dash+global_sidx"}
    frames = media.face_frames(12, 96, 64, 40)
    data = media.write_video(path, frames, options={"g": "4"}, container_options=options).read_bytes()
    assert data.count(b"moof") == 3 and claims(path) == (12, 1, 0) and read_all(path) == 12
    path.write_bytes(data[: data.rindex(b"mdat") + 40])
    assert claims(path) == (12, 1, 0) and read_all(path) == 12 - 4
    start = data.index(b"sidx") + 28
    path.write_bytes(data[:start] + numbers(1000) + data[start + 4 :])
    assert claims(path) == (12, 1, 0) and read_all(path) == 12


def test_a_compressed_header(tmp_path, fragments):
    path = tmp_path / "v.mov"
    path.write_bytes(compressed(fragments))
    assert claims(path) == (12, 1, 0) and read_all(path) == 12


def with_chapters(data, count, place=0):
    """Chapters whose titles are all the same 65535 bytes of the file."""
    title = b"\xff\xff" + b"a" * 65535
    start = data.index(b"trak") - 4
    track = data[start : start + struct.unpack_from(">I", data, start)[0]]
    texts = {
        b"tkhd": lambda content: box(b"tkhd", content[:12], numbers(2), content[16:]),
        b"hdlr": box(b"hdlr", numbers(0, 0), b"text", bytes(13)),
        b"stsd": box(b"stsd", numbers(0, 1), box(b"text", bytes(6), b"\0\1", bytes(43))),
        b"stsz": box(b"stsz", numbers(0, len(title), count)),
        b"stts": times(count),
        b"stsc": box(b"stsc", numbers(0, 1, 1, 1, 1)),
        b"stco": box(b"stco", numbers(0, count), numbers(place) * count),
        b"edts": b"",
    }
    told = rebuilt(track, {b"mdia": lambda content: box(b"tref", box(b"chap", numbers(2))) + box(b"mdia", content)})
    made = rebuilt(data, {b"trak": told + rebuilt(track, texts)})
    return made + box(b"mdat", title) if place else with_chapters(data, count, len(made) + 8)


def test_chapters(tmp_path, plain):
    """Each takes what its title takes, which 1.3 GB of a file of 150 kB did."""
    path = tmp_path / "v.mp4"
    path.write_bytes(with_chapters(plain, 100))
    assert claims(path) == (112, 2, 100) and read_all(path) == 12
    path.write_bytes(with_chapters(plain, 20_000))
    assert read_all(path).endswith("v.mp4: lists 20000 chapters, over the limit of 1024; remove them")


def test_tables_that_are_true(tmp_path, plain, fragments):
    for data in (plain, fragments):
        path = tmp_path / "v.mp4"
        path.write_bytes(data)
        assert claims(path) == (12, 1, 0)
    assert claims(media.write_video(tmp_path / "v.avi", media.face_frames(2), codec="mpeg4")) == (0, 0, 0)


def test_more_frames_than_the_limit(tmp_path, plain):
    path = tmp_path / "v.mp4"
    path.write_bytes(rebuilt(plain, tables(plain, MAX_FRAMES + 1, 1)))
    assert read_all(path).endswith(f"v.mp4: has over {MAX_FRAMES} frames, the limit; cut it into parts")


def test_a_day_of_video_and_sound_is_within_the_limits(tmp_path, plain):
    """25 frames a second, and plain sound: 48000 samples a second, of which FFmpeg puts many in one entry."""
    assert max(DAY * 25, 2 * 3600 * 60) < MAX_FRAMES
    data = rebuilt(plain, tables(plain, DAY * 25, 1))
    start = data.index(b"trak") - 4
    track = data[start : start + struct.unpack_from(">I", data, start)[0]]
    sound = rebuilt(
        track,
        {
            b"hdlr": box(b"hdlr", numbers(0, 0), b"soun", bytes(13)),
            b"stsz": box(b"stsz", numbers(0, 2, DAY * 48000)),
            b"stts": times(DAY * 48000, 1),
            b"stsc": box(b"stsc", numbers(0, 1, 1, 48000, 1)),
            b"stco": box(b"stco", numbers(0, DAY), bytes(4 * DAY)),
        },
    )
    path = tmp_path / "v.mp4"
    path.write_bytes(rebuilt(data, {b"trak": track + sound}))
    assert claims(path) == (DAY * 25 + DAY * 47, 2, 0)
    video_file._check_claims(path)


def test_an_index_of_many_frames_that_are_not_there(tmp_path, plain):
    """The frames that a cut file has lost count, in compact arrays."""
    path = tmp_path / "v.mp4"
    path.write_bytes(rebuilt(plain, tables(plain, 2_000_000, 100)))
    counts = []
    with pytest.raises(VideoError, match="holds no frame that can be decoded"):
        list(iter_frames(path, lambda count: counts.append(count) or [0, count - 1]))
    assert counts[0] > 1_900_000
    assert "holds no frame" in read_all(path)


def test_many_tiny_packets(tmp_path, plain):
    """A megabyte of packets that no decoder takes: neither a list of objects for each, nor hours of trying."""
    count = 300_000
    path = tmp_path / "v.mp4"
    path.write_bytes(rebuilt(plain, tables(plain, count, 4) | {b"mdat": box(b"mdat", b"\xff" * 4 * count)}))
    assert "holds no frame" in read_all(path)


def test_decoding_ends_where_nothing_comes(face_video, monkeypatch):
    tried = []
    monkeypatch.setattr(video, "_MOST_BARREN", 10)
    monkeypatch.setattr(video, "_decode", lambda context, packet: tried.append(packet) or [])
    with pytest.raises(VideoError, match="holds no frame that can be decoded"):
        list(iter_frames(face_video, range))
    assert len(tried) <= 2 * (10 + 2)


def test_packets_that_lie_in_each_other(tmp_path, plain):
    """A table may say that all of many large samples are the same bytes."""
    data = rebuilt(plain, {b"mdat": box(b"mdat", bytes(400_000))})
    overlapping = tables(data, 2000, 300_000) | {
        b"stsc": box(b"stsc", numbers(0, 1, 1, 1, 1)),
        b"stco": box(b"stco", numbers(0, 2000), numbers(data.index(b"mdat") + 4) * 2000),
    }
    path = tmp_path / "v.mp4"
    path.write_bytes(rebuilt(data, overlapping))
    assert read_all(path).endswith("v.mp4: has packets of more than 64 times its bytes")


def test_many_tracks(tmp_path, plain):
    start = plain.index(b"trak") - 4
    track = plain[start : start + struct.unpack_from(">I", plain, start)[0]]
    path = tmp_path / "v.mp4"
    path.write_bytes(rebuilt(plain, {b"trak": track * (MAX_TRACKS + 1)}))
    assert read_all(path).endswith(f"v.mp4: has {MAX_TRACKS + 1} tracks, over the limit of {MAX_TRACKS}")
    path.write_bytes(rebuilt(plain, {b"trak": track * 40}))
    assert read_all(path) == 12


def test_many_tracks_of_another_container(tmp_path):
    path = media.write_video(tmp_path / "v.nut", media.face_frames(2, 96, 64, 40), codec="mpeg4", options={})
    assert read_all(path) == 2
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(video_file._OPTIONS, "max_streams", "0")
        with pytest.raises(VideoError, match=f"or has over {MAX_TRACKS} tracks"):
            next(iter_frames(path, range))


def matroska(data, kind, element, count):
    """A Matroska file with many empty elements before its tracks."""
    segment, tracks = data.index(bytes.fromhex("18538067")), data.index(bytes.fromhex("1654ae6b"))
    content = element * count
    added = kind + (1 << 56 | len(content)).to_bytes(8, "big") + content
    return data[: segment + 4] + b"\1" + b"\xff" * 7 + added + data[tracks:]


@pytest.mark.parametrize(
    "kind, element", [("1654ae6b", "ae80"), ("1941a469", "61a780"), ("1254c367", "737380"), ("1c53bb6b", "bb80")]
)
def test_elements_of_matroska(tmp_path, kind, element):
    """Tracks, attachments, tags, cues."""
    path = media.write_video(tmp_path / "v.mkv", media.face_frames(12, 96, 64, 40))
    path.write_bytes(matroska(path.read_bytes(), bytes.fromhex(kind), bytes.fromhex(element), 500_000))
    result = read_all(path)
    assert result == 12 or "holds no video stream" in result or "can't be read" in result


@pytest.mark.parametrize("size", [2**28, 2**40, 2**56 - 2])
def test_sizes_of_matroska(tmp_path, size):
    """What is private to a codec, in a file of some kilobytes."""
    path = media.write_video(tmp_path / "v.mkv", media.face_frames(12, 96, 64, 40))
    data = path.read_bytes()
    private = data.index(bytes.fromhex("63a2"))
    path.write_bytes(data[: private + 2] + (1 << 56 | size).to_bytes(8, "big") + data[private + 3 :])
    read_all(path)


@pytest.mark.parametrize("place", [16, 28, 32, 36, 44])
@pytest.mark.parametrize("value", [1, 2**28, 2**31 - 1, 2**32 - 1])
def test_numbers_of_an_avi(tmp_path, place, value):
    path = media.write_video(tmp_path / "v.avi", media.face_frames(12, 96, 64, 40), codec="mpeg4", options={})
    data = bytearray(path.read_bytes())
    for chunk in (b"avih", b"strh"):
        at = data.index(chunk) + 8 + place
        data[at : at + 4] = value.to_bytes(4, "little")
    path.write_bytes(data)
    read_all(path)


def png(width, height):
    def chunk(kind, content):
        return numbers(len(content)) + kind + content + numbers(zlib.crc32(kind + content))

    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(bytes(width + 1)) for _ in range(height)) + packer.flush()
    header = numbers(width, height) + b"\x08\0\0\0\0"
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def test_pictures_larger_than_the_header_says(tmp_path, plain):
    """FFmpeg looks into the first packets when it opens a file, with decoders of its own."""
    picture = png(30000, 30000)

    def description(content):
        return box(b"stsd", content[:8], numbers(86), b"png ", content[16:40], bytes(4), content[44:94])

    data = rebuilt(plain, {b"mdat": box(b"mdat", picture)})
    path = tmp_path / "v.mov"
    path.write_bytes(rebuilt(data, tables(data, 1, len(picture)) | {b"stsd": description}))
    assert "holds no" in read_all(path)


def test_ever_new_parameter_sets(monkeypatch):
    """They are known by digests, and not for ever: beyond some they count as new, which costs time and no frame."""
    monkeypatch.setattr("faces.packets._MOST_PARAMETER_SETS", 3)
    inspector = H264(b"")
    assert [inspector.is_new(bytes([8, number])) for number in (1, 1, 2, 3, 4, 4, 1)] == [1, 0, 1, 1, 1, 1, 0]
    assert len(inspector.parameter_sets) == 3
    assert max(len(digest) for digest in inspector.parameter_sets) == 16


def test_indices_of_any_kind(face_video):
    frames = iter_frames(face_video, lambda count: (index for index in [2**70, np.int64(3), 3, 39, 40]))
    assert [index for index, _ in frames] == [3, 39]
    assert all(type(index) is int for index, _ in iter_frames(face_video, lambda count: np.arange(2)))
