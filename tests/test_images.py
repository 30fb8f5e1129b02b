"""Crops on disk: names, and damage that is noticed."""

import os
import socket
import struct
import zlib

import cv2
import numpy as np
import pytest
import skimage.data

from faces import png
from faces.images import encode_image, list_crops, read_image
from faces.picture_size import picture_size
from runtime.errors import ItemError

FACE = np.ascontiguousarray(skimage.data.astronaut()[:120, 100:201])


def test_list_is_sorted_by_number_and_leaves_other_files_out(tmp_path):
    for name in (
        "100_0.png",
        "20_1.png",
        "20_0.png",
        "20_2.png",
        "x.png",
        "3_0.txt",
        ".7_0.png",
        "5_0.jpg",
        "6_1.webp",
    ):
        (tmp_path / name).touch()
    assert [(crop.name, crop.stem, crop.frame, crop.actor) for crop in list_crops(tmp_path)] == [
        ("5_0.jpg", "5_0", 5, 0),
        ("6_1.webp", "6_1", 6, 1),
        ("20_0.png", "20_0", 20, 0),
        ("20_1.png", "20_1", 20, 1),
        ("100_0.png", "100_0", 100, 0),
    ]


def test_no_folder(tmp_path):
    with pytest.raises(ItemError, match=r"none: no crops \(No such file or directory\); run extract_crops\.py"):
        list_crops(tmp_path / "none")


def test_png_comes_back_as_it_was(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(encode_image(FACE, "png"))
    assert np.array_equal(read_image(path), FACE)
    assert np.array_equal(cv2.imread(str(path)), FACE)  # any reader can read it


@pytest.mark.parametrize("extension, error", [("jpg", 4), ("webp", 4)])
def test_lossy_formats_come_close(tmp_path, extension, error):
    path = tmp_path / f"a.{extension}"
    path.write_bytes(encode_image(FACE, extension))
    assert np.abs(read_image(path).astype(int) - FACE).mean() < error


@pytest.mark.parametrize("cut", [0, 5, 8, 100, 0.5, -1, -13])
@pytest.mark.parametrize("extension", ["png", "jpg", "webp"])
def test_cut_file(tmp_path, extension, cut, capfd):
    if extension == "jpg" and cut == -1:
        pytest.skip("JPEG's last byte ends nothing that is shown")
    path = tmp_path / f"a.{extension}"
    data = encode_image(FACE, extension)
    path.write_bytes(data[: int(cut * len(data)) if cut == 0.5 else cut])
    with pytest.raises(ItemError, match=r"a\.\w+: is cut or damaged; run extract_crops\.py --overwrite"):
        read_image(path)


def test_every_flipped_byte_of_a_png_is_noticed(tmp_path, capfd):
    path = tmp_path / "a.png"
    data = encode_image(FACE, "png")
    for position in range(0, len(data), len(data) // 40):
        broken = bytearray(data)
        broken[position] ^= 0x55
        path.write_bytes(broken)
        with pytest.raises(ItemError, match="is cut or damaged"):
            read_image(path)
    assert capfd.readouterr() == ("", "")  # libpng is not asked


def test_a_png_of_another_making_and_one_that_claims_too_much(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(cv2.imencode(".png", cv2.cvtColor(FACE, cv2.COLOR_BGR2BGRA))[1].tobytes())
    assert (read_image(path) == FACE).all()
    data = bytearray(encode_image(FACE, "png"))
    data[16:20] = b"\0\xff\xff\xff"  # the width
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    path.write_bytes(data)
    with pytest.raises(ItemError, match=r"a\.png: is said to have 16777215x120 pixels, more than the 67108864 that a"):
        read_image(path)


def huge(kind: str) -> bytes:
    """A small file that claims 16000 x 16000 pixels, in the place where its format says so."""
    small = np.zeros((16, 16, 3), np.uint8)
    if kind == "png":  # one that our own codec leaves to OpenCV, and that holds all that it says
        rows = zlib.compress(bytes((1 + 4 * 16000) * 16000), 9)
        header = struct.pack(">IIBBBBB", 16000, 16000, 8, 6, 0, 0, 0)
        chunks = ((b"IHDR", header), (b"IDAT", rows), (b"IEND", b""))
        return png.START + b"".join(
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
            for name, body in chunks
        )
    if kind == "jpg":
        data = bytearray(encode_image(small, "jpg"))
        start = data.index(b"\xff\xc0")
        data[start + 5 : start + 9] = struct.pack(">HH", 16000, 16000)
        return bytes(data)
    data = bytearray(encode_image(small, "webp"))
    if kind == "webp lossless":
        data = bytearray(cv2.imencode(".webp", small, [cv2.IMWRITE_WEBP_QUALITY, 101])[1].tobytes())
        assert data[12:16] == b"VP8L"
        data[21:25] = struct.pack("<I", 15999 | 15999 << 14)
    elif kind == "webp extended":
        canvas = b"VP8X" + struct.pack("<I", 10) + bytes(4) + 2 * (15999).to_bytes(3, "little")
        data[12:12] = canvas
    else:
        data[26:30] = struct.pack("<HH", 16000, 16000)
    return bytes(data)


@pytest.mark.parametrize("kind", ["png", "jpg", "webp", "webp lossless", "webp extended"])
def test_what_claims_to_be_huge_is_not_decoded(tmp_path, monkeypatch, kind):
    path = tmp_path / "a.png"
    path.write_bytes(huge(kind))
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("it was decoded"))
    with pytest.raises(ItemError, match=r"a\.png: is said to have 16000x16000 pixels, more than the 67108864 that"):
        read_image(path)


def test_a_jpeg_that_goes_over_its_pixels_for_ever(tmp_path):
    path = tmp_path / "a.jpg"
    data = cv2.imencode(".jpg", FACE, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
    path.write_bytes(data)
    assert read_image(path).shape == FACE.shape
    scan = data.rindex(b"\xff\xda")
    path.write_bytes(data[:-2] + 200 * data[scan:-2] + data[-2:])
    with pytest.raises(ItemError, match="is cut or damaged"):
        read_image(path)


@pytest.mark.parametrize("size", [(1, 1), (37, 501), (333, 64)])
@pytest.mark.parametrize("kind", [".png", ".jpg", ".webp"])
def test_sizes_of_pictures(kind, size):
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    assert picture_size(cv2.imencode(kind, image)[1].tobytes()) == size[::-1]
    if kind == ".webp":
        assert picture_size(cv2.imencode(kind, image, [cv2.IMWRITE_WEBP_QUALITY, 101])[1].tobytes()) == size[::-1]


@pytest.mark.parametrize("target", ["/dev/zero", "pipe", "folder", "socket"])
def test_what_is_no_regular_file_is_not_read(tmp_path, target):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        (tmp_path / "a.png").symlink_to(tmp_path / target)
        message = "Is a directory" if target == "folder" else "is not a regular file"
        with pytest.raises(ItemError, match=rf"a\.png: can't be opened \({message}\)"):
            read_image(tmp_path / "a.png")


def test_missing_and_strange_files(tmp_path):
    with pytest.raises(ItemError, match=r"b\.png: can't be opened \(No such file or directory\)"):
        read_image(tmp_path / "b.png")
    (tmp_path / "c.png").write_text("no picture")
    with pytest.raises(ItemError, match="is cut or damaged"):
        read_image(tmp_path / "c.png")


def test_a_crop_that_is_no_file_is_listed(tmp_path):
    """So that whoever reads it says what it is, instead of a crop less without a word."""
    os.symlink("/dev/zero", tmp_path / "0_0.png")
    os.symlink("nowhere", tmp_path / "10_0.png")
    assert [crop.name for crop in list_crops(tmp_path)] == ["0_0.png", "10_0.png"]
    with pytest.raises(ItemError, match=r"0_0.png: can't be opened \(is not a regular file"):
        read_image(tmp_path / "0_0.png")
