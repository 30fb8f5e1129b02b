"""Crops on disk: names, and damage that is noticed."""

import zlib

import cv2
import numpy as np
import pytest
import skimage.data

from preprocessing.images import encode_image, list_crops, read_image
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
    with pytest.raises(ItemError, match="is cut or damaged"):
        read_image(path)


def test_missing_and_strange_files(tmp_path):
    with pytest.raises(ItemError, match=r"b\.png: can't be opened \(No such file or directory\)"):
        read_image(tmp_path / "b.png")
    (tmp_path / "c.png").write_text("no picture")
    with pytest.raises(ItemError, match="is cut or damaged"):
        read_image(tmp_path / "c.png")
