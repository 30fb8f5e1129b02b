"""PNG files of our own making, and those of others: the very pixels that libpng gives, or a hand-over to it."""

import random
import struct
import zlib

import cv2
import numpy as np
import pytest
import skimage.data

from faces import png

FACE = np.ascontiguousarray(skimage.data.astronaut()[:120, 100:201, ::-1])  # BGR
RLE = [cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE, cv2.IMWRITE_PNG_COMPRESSION, 1]
UP = [*RLE, cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP]


@pytest.fixture(params=["isal", "zlib"])
def library(request, monkeypatch):
    """Both that may be at hand."""
    monkeypatch.setattr(png, "zlib", zlib if request.param == "zlib" else pytest.importorskip("isal.isal_zlib"))


def by_libpng(data: bytes, flags: int = cv2.IMREAD_COLOR) -> np.ndarray | None:
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        return None


def decode(data: bytes) -> np.ndarray | None:
    chunks = png.read_chunks(data)
    return None if chunks is None else png.decode(chunks)


def parts(data: bytes) -> tuple[tuple[int, ...], bytes]:
    """Header and inflated lines."""
    (_, header), *others, _ = png.read_chunks(data)
    return struct.unpack(">IIBBBBB", header), zlib.decompress(b"".join(content for _, content in others))


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def assemble(header: tuple[int, ...], deflated: bytes, *extra: bytes) -> bytes:
    image = chunk(b"IDAT", deflated)
    return b"".join((png.START, chunk(b"IHDR", struct.pack(">IIBBBBB", *header)), *extra, image, chunk(b"IEND", b"")))


def with_right_checksums(data: bytes) -> bytes:
    """Checksums of the chunks computed again, as far as chunks follow on each other."""
    data, position = bytearray(data), len(png.START)
    while position + 12 <= len(data):
        end = position + 8 + struct.unpack_from(">I", data, position)[0]
        if end + 4 > len(data):
            break
        struct.pack_into(">I", data, end, zlib.crc32(data[position + 4 : end]))
        position = end + 4
    return bytes(data)


@pytest.mark.parametrize("channels", [(), (3,)])
@pytest.mark.parametrize("height", [1, 2, 19, 20, 21, 40, 41, 77])
@pytest.mark.parametrize("width", [1, 2, 3, 7, 8, 33])
def test_any_size(library, height, width, channels):
    image = np.random.default_rng(height).integers(0, 256, (height, width, *channels), np.uint8)
    data = png.encode(image)
    assert (by_libpng(data, cv2.IMREAD_UNCHANGED) == image).all()
    assert (decode(data) == by_libpng(data)).all()
    assert decode(data).flags.c_contiguous and decode(data).dtype == np.uint8


def test_views_and_large_crops(library):
    large = cv2.resize(FACE, (803, 1100))
    for image in (FACE[3:100, 5:70], FACE[:, :, ::-1], FACE[..., 1], large):
        assert (by_libpng(png.encode(image), cv2.IMREAD_UNCHANGED) == image).all()
        assert (decode(png.encode(image)) == by_libpng(png.encode(image))).all()


def test_files_that_opencv_wrote_in_the_same_way(library):
    for image in (FACE, cv2.resize(FACE[..., 0], None, fx=2, fy=2)):  # above 16 KiB: smaller ones get small windows
        data = cv2.imencode(".png", image, UP)[1].tobytes()
        assert (decode(data) == by_libpng(data)).all()
    kinds = [kind for kind, _ in png.read_chunks(cv2.imencode(".png", FACE, UP)[1].tobytes())]
    assert kinds[1:-1] == [b"IDAT"] * (len(kinds) - 2) and len(kinds) > 3


def others() -> dict[str, bytes]:
    """Files that are not as ours are."""
    rgba = cv2.cvtColor(FACE, cv2.COLOR_BGR2BGRA)
    images = {"RGBA": rgba, "16 bits": FACE * np.uint16(256), "16 bits, grey": FACE[..., 0] * np.uint16(256)}
    files = {name: cv2.imencode(".png", image, UP)[1].tobytes() for name, image in images.items()}
    for name in ("FILTER_NONE", "FILTER_SUB", "FILTER_AVG", "FILTER_PAETH", "ALL_FILTERS"):
        flags = [*RLE, cv2.IMWRITE_PNG_FILTER, getattr(cv2, f"IMWRITE_PNG_{name}")]
        files[name] = cv2.imencode(".png", FACE, flags)[1].tobytes()
    files["one bit"] = cv2.imencode(".png", FACE[..., 0], [cv2.IMWRITE_PNG_BILEVEL, 1])[1].tobytes()
    colours = np.random.default_rng(0).integers(0, 256, (256, 3), np.uint8).tobytes()
    lines = zlib.compress(bytes([2, 9, 0, 7, 0, 0]) * 3)  # each colour is the one above and a number
    files["palette"] = assemble((5, 3, 8, 3, 0, 0, 0), lines, chunk(b"PLTE", colours))
    pixel = zlib.compress(bytes([2, 1, 2, 3]))
    files["interlaced"] = assemble((1, 1, 8, 2, 0, 0, 1), pixel)
    files["transparent colour"] = assemble((1, 1, 8, 2, 0, 0, 0), pixel, chunk(b"tRNS", bytes(6)))
    return files


@pytest.mark.parametrize("name", others())
def test_other_files_are_left_to_libpng(library, name):
    data = others()[name]
    assert decode(data) is None
    assert by_libpng(data) is not None


@pytest.mark.parametrize(
    "change",
    [
        lambda header, lines: (header, lines[:-1]),
        lambda header, lines: (header, lines + b"\0"),
        lambda header, lines: (header, b"\x05" + lines[1:]),
        lambda header, lines: ((0, *header[1:]), lines),
        lambda header, lines: ((header[0], 0, *header[2:]), b""),
        lambda header, lines: ((2**31 - 1, 2**31 - 1, *header[2:]), lines),
        lambda header, lines: ((*header[:4], 1, *header[5:]), lines),
    ],
    ids=["cut", "long", "filter", "no width", "no height", "huge", "compression"],
)
def test_files_that_contradict_themselves(library, change):
    header, lines = change(*parts(png.encode(FACE)))
    assert decode(assemble(header, zlib.compress(lines))) is None


def test_damage_inside_of_right_checksums(library):
    header, lines = parts(png.encode(FACE))
    deflated = zlib.compress(lines)
    wrong_sum = deflated[:-1] + bytes([deflated[-1] ^ 1])
    small_window = zlib.compressobj(6, zlib.DEFLATED, 9)
    for content in (wrong_sum, deflated[:-4], deflated[: len(deflated) // 2], deflated + b"more", b"", b"\x78\x01"):
        assert decode(assemble(header, content)) is None
    assert decode(assemble(header, small_window.compress(lines) + small_window.flush())) is None  # libpng decides
    assert decode(assemble(header, deflated)) is not None


def test_chunks_that_are_none():
    end, image = chunk(b"IEND", b""), png.encode(FACE)
    assert decode(png.START + end) is None
    assert decode(png.START + chunk(b"IHDR", b"short") + end) is None
    assert decode(image[:33] + end) is None
    for data in (png.START, image[:-1], image[:-12], image[:50], png.START + struct.pack(">I", 2**32 - 1) + bytes(20)):
        assert png.read_chunks(data) is None
    assert (decode(image + b"what follows") == FACE).all()


@pytest.mark.parametrize("seed", range(4))
def test_mutations_never_give_another_image_than_libpng_s(library, seed):
    draw = random.Random(seed)
    image = cv2.resize(FACE, (270, 21 + seed))
    whole = png.encode(image) if seed % 2 else cv2.imencode(".png", image, UP)[1].tobytes()
    header, lines = parts(whole)
    line, decoded = len(lines) // len(image), 0
    for _ in range(100):
        data, raw = bytearray(whole), bytearray(lines)
        for _ in range(draw.choice([1, 1, 2, 5])):
            data[draw.randrange(8, len(data))] = draw.randrange(256)
        raw[draw.choice([draw.randrange(len(raw)), line * draw.randrange(len(image))])] = draw.randrange(6)
        for mutated in (bytes(data), with_right_checksums(data), assemble(header, zlib.compress(raw))):
            found = decode(mutated)
            if found is not None:
                assert np.array_equal(found, by_libpng(mutated))
                decoded += 1
    assert decoded > 30
