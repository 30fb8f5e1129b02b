"""The damages of tests/fuzz.py: functions of a file, of a file of the same name elsewhere, and of a generator."""

import io
import json
import os
import pickle
import re
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

Damage = Callable[[Path, Path, np.random.Generator], None]

_TEXTS = (
    "",
    "none",
    "../../canary",
    "a\0b",
    "\ud800",
    "x" * 10**5,
    "e\u0301",
    "\u202egpj.exe",
    "=1+1",
    "NaN",
    "\ufeffx",
    "a\nb",
    "٣",
)
_NUMBERS = (
    "-1",
    "0",
    "1e308",
    "-0.5",
    "NaN",
    "Infinity",
    "1" * 400,
    "1" * 5000,
    "4294967296",
    "9007199254740993",
    "1e-400",
)
_VALUES = (*_NUMBERS, "null", "true", "[]", "{}", "[[1]]", "[" * 500 + "]" * 500, *map(json.dumps, _TEXTS))


# of any file


def flip_bits(path: Path, canary: Path, draw: np.random.Generator) -> None:
    data = bytearray(path.read_bytes())
    for place in draw.integers(0, len(data), draw.integers(1, 20)):
        data[place] ^= 1 << int(draw.integers(8))
    path.write_bytes(data)


def cut(path: Path, canary: Path, draw: np.random.Generator) -> None:
    os.truncate(path, int(draw.integers(0, path.stat().st_size)))


def empty(path: Path, canary: Path, draw: np.random.Generator) -> None:
    path.write_bytes(b"")


def repeat(path: Path, canary: Path, draw: np.random.Generator) -> None:
    path.write_bytes(path.read_bytes() * 2)


def zeros(path: Path, canary: Path, draw: np.random.Generator) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def sixty_gigabytes(path: Path, canary: Path, draw: np.random.Generator) -> None:
    """That take no room on the disk."""
    os.truncate(path, 60 * 10**9)


def folder(path: Path, canary: Path, draw: np.random.Generator) -> None:
    path.unlink()
    path.mkdir()


def pipe(path: Path, canary: Path, draw: np.random.Generator) -> None:
    path.unlink()
    os.mkfifo(path)


def link_to_a_device(path: Path, canary: Path, draw: np.random.Generator) -> None:
    path.unlink()
    path.symlink_to(draw.choice(["/dev/zero", "/dev/full", "/dev/urandom"]))


def link_elsewhere(path: Path, canary: Path, draw: np.random.Generator) -> None:
    path.unlink()
    path.symlink_to(canary)


def link_to_itself(path: Path, canary: Path, draw: np.random.Generator) -> None:
    path.unlink()
    path.symlink_to(path.name)


def hard_link_elsewhere(path: Path, canary: Path, draw: np.random.Generator) -> None:
    path.unlink()
    os.link(canary, path)


def linked_folder(path: Path, canary: Path, draw: np.random.Generator) -> None:
    """The folder that the file is in, but for data roots and --output-dir, which may be links: their user names
    them."""
    parent = path.parent
    if parent.name in ("copy", "root", "out"):
        return link_elsewhere(path, canary, draw)
    parent.rename(parent.with_name(parent.name + "_before"))
    return parent.symlink_to(canary.parent)


ANY = (
    *(flip_bits, cut, empty, repeat, zeros, sixty_gigabytes, folder, pipe, link_to_a_device, link_elsewhere),
    *(link_to_itself, hard_link_elsewhere, linked_folder),
)


# of text


def byte_order_mark(path: Path, canary: Path, draw: np.random.Generator) -> None:
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())


def utf16(path: Path, canary: Path, draw: np.random.Generator) -> None:
    path.write_bytes(path.read_text().encode("utf-16"))


def no_utf8(path: Path, canary: Path, draw: np.random.Generator) -> None:
    data = path.read_bytes()
    place = int(draw.integers(len(data)))
    path.write_bytes(data[:place] + b"\xff\xc0" + data[place:])


def another_value(path: Path, canary: Path, draw: np.random.Generator) -> None:
    """In place of a number, a word or a text."""
    _replace(path, r'"(?:[^"\\]|\\.)*"|-?\d[\d.e+-]*|true|false|null', draw, lambda old: str(draw.choice(_VALUES)))


def another_text(path: Path, canary: Path, draw: np.random.Generator) -> None:
    _replace(path, r'"(?:[^"\\]|\\.)*"', draw, lambda old: json.dumps(str(_TEXTS[draw.integers(len(_TEXTS))])))


def another_number(path: Path, canary: Path, draw: np.random.Generator) -> None:
    _replace(path, r"(?<![\w\"])-?\d[\d.e+-]*(?![\w\"])", draw, lambda old: str(draw.choice(_NUMBERS)))


def a_key_twice(path: Path, canary: Path, draw: np.random.Generator) -> None:
    _replace(path, r'"[^"]*": ', draw, lambda old: f"{old}{draw.choice(_VALUES)}, {old}")


def a_key_renamed(path: Path, canary: Path, draw: np.random.Generator) -> None:
    _replace(path, r'"[^"]*": ', draw, lambda old: f'"{draw.choice(["x", "", "__class__", "-1"])}": ')


def nested(path: Path, canary: Path, draw: np.random.Generator) -> None:
    levels = int(draw.choice([900, 10**5, 10**6]))
    _replace(path, r'"[^"]*": ', draw, lambda old: f"{old}{'[' * levels}{']' * levels}, {old}x")


def a_crowd(path: Path, canary: Path, draw: np.random.Generator) -> None:
    """One list of numbers or texts, such as a box, many times where it stands once."""
    times = int(draw.choice([10**3, 10**4, 10**5]))
    _replace(path, r"\[[^\[\]{}]+\]", draw, lambda old: ", ".join([old] * times))


def only_nested(path: Path, canary: Path, draw: np.random.Generator) -> None:
    path.write_text('{"a":' * 10**5 + "\n")


def another_json(path: Path, canary: Path, draw: np.random.Generator) -> None:
    path.write_text(str(draw.choice(["[]", "{}", "null", "3", '"text"', "[[]]", '{"a": {}}', "{} {}", "nan"])) + "\n")


def a_line_twice(path: Path, canary: Path, draw: np.random.Generator) -> None:
    lines = path.read_text().splitlines(keepends=True)
    place = int(draw.integers(len(lines)))
    path.write_text("".join([*lines[: place + 1], *lines[place:]]))


def without_a_line(path: Path, canary: Path, draw: np.random.Generator) -> None:
    lines = path.read_text().splitlines(keepends=True)
    del lines[int(draw.integers(len(lines)))]
    path.write_text("".join(lines))


def a_long_line(path: Path, canary: Path, draw: np.random.Generator) -> None:
    with open(path, "a") as file:
        file.write('{"a": "' + "x" * 3 * 10**7 + '"}\n')


def another_field(path: Path, canary: Path, draw: np.random.Generator) -> None:
    fields = (
        *_NUMBERS,
        *(text.encode(errors="replace").decode() for text in _TEXTS),
        '"',
        '"a,b"',
        '"a\nb"',
        ",",
        "a,b",
    )
    _replace(path, r"[^,\n]+", draw, lambda old: str(fields[draw.integers(len(fields))]))


TEXT = (byte_order_mark, utf16, no_utf8)
JSON = (
    *(another_value, another_text, another_number, a_key_twice, a_key_renamed, nested, a_crowd),
    *(only_nested, another_json),
)
LINES = (a_line_twice, without_a_line, a_long_line)


def _replace(path: Path, pattern: str, draw: np.random.Generator, new: Callable[[str], str]) -> None:
    """One of the places that match."""
    text = path.read_text()
    found = list(re.finditer(pattern, text))
    if found:
        place = found[draw.integers(len(found))]
        path.write_text(text[: place.start()] + new(place[0]) + text[place.end() :], errors="surrogatepass")


# of pictures and arrays


def a_large_picture(path: Path, canary: Path, draw: np.random.Generator) -> None:
    """Half a megabyte that becomes 400."""
    path.write_bytes(_png(20000, 20000, 20000))


def a_picture_that_claims(path: Path, canary: Path, draw: np.random.Generator) -> None:
    sides = (0, 1, 65535, 2**31 - 1, 2**32 - 1)
    path.write_bytes(_png(int(draw.choice(sides)), int(draw.choice(sides)), 10))


def another_picture(path: Path, canary: Path, draw: np.random.Generator) -> None:
    kinds = (
        b"GIF89a\xff\xff\xff\xff\x80\0\0",
        b"\xff\xd8\xff\xe0",
        b"RIFF\xff\xff\xff\xffWEBPVP8X",
        b"BM",
        b"P6 99999 99999 255\n",
    )
    path.write_bytes(kinds[draw.integers(len(kinds))] + bytes(100))


def another_array(path: Path, canary: Path, draw: np.random.Generator) -> None:
    arrays = (
        np.zeros((5, 2), np.float64) + np.nan,
        np.full((5, 2), 2**31 - 1, np.int64),
        np.full((5, 2), -(2**15), np.int16),
        np.zeros((0, 2), np.int16),
        np.zeros((5, 2, 1), np.int16),
        np.array(3),
        np.array(["a"] * 10).reshape(5, 2),
        np.zeros((5, 2), np.complex64),
        np.zeros(10, "i2,i2"),
    )
    np.save(path, arrays[draw.integers(len(arrays))])


def an_array_of_objects(path: Path, canary: Path, draw: np.random.Generator) -> None:
    np.save(path, np.array([[{}, None]] * 5, object), allow_pickle=True)


def an_array_that_claims(path: Path, canary: Path, draw: np.random.Generator) -> None:
    shape = ("(1000000000000, 2)", "(5, 4000000000)", "(-5, 2)", "(5, 2" + ", 1" * 40 + ")", "[" * 200)[
        draw.integers(5)
    ]
    header = f"{{'descr': '<i2', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(20))


def _png(width: int, height: int, rows: int) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    packer = zlib.compressobj(9)
    line = bytes(min(width, 20000) + 1)
    data = b"".join(packer.compress(line) for _ in range(rows)) + packer.flush()
    header = struct.pack(">II", width, height) + b"\x08\0\0\0\0"
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


# of checkpoints


def _another(path: Path, change: Callable[[dict], object]) -> None:
    torch.save(change(torch.load(path, weights_only=True)), path)


def another_object(path: Path, canary: Path, draw: np.random.Generator) -> None:
    objects = (
        {},
        [],
        None,
        3,
        "text",
        {"state_dict": None},
        {"state_dict": {}},
        {"state_dict": {3: 4}},
        torch.zeros(3),
    )
    torch.save(objects[draw.integers(len(objects))], path)


def another_entry(path: Path, canary: Path, draw: np.random.Generator) -> None:
    """Of the checkpoint itself, or of what a training needs to go on."""
    values = (
        None,
        -1,
        10**30,
        float("nan"),
        float("inf"),
        "x" * 10**5,
        [],
        {},
        [[[]]],
        torch.zeros(2),
        b"",
        True,
        "\ud800",
    )

    def change(content: dict) -> dict:
        inner = content
        while True:
            key = list(inner)[draw.integers(len(inner))]
            if not isinstance(inner[key], dict) or not inner[key] or draw.random() < 0.3:
                break
            inner = inner[key]
        inner[key] = values[draw.integers(len(values))]
        return content

    _another(path, change)


def another_tensor(path: Path, canary: Path, draw: np.random.Generator) -> None:
    def change(content: dict) -> dict:
        weights = content["state_dict"]
        key = list(weights)[draw.integers(len(weights))]
        old = weights[key]
        made = (
            lambda: torch.full_like(old, float("nan")) if old.is_floating_point() else old - 2**40,
            lambda: old.to(torch.float8_e4m3fn),
            lambda: old.to(torch.complex64),
            lambda: old.to_sparse() if old.dim() else old,
            lambda: torch.zeros(1).expand(10**6, 10**6),
            lambda: torch.zeros(0),
            lambda: torch.zeros((), device="meta"),
            lambda: torch.quantize_per_tensor(old.float(), 0.1, 0, torch.quint8),
            lambda: torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)]),
        )
        weights[key] = made[draw.integers(len(made))]()
        return content

    _another(path, change)


def without_a_tensor(path: Path, canary: Path, draw: np.random.Generator) -> None:
    def change(content: dict) -> dict:
        weights = content["state_dict"]
        del weights[list(weights)[draw.integers(len(weights))]]
        return content

    _another(path, change)


def deflated(path: Path, canary: Path, draw: np.random.Generator) -> None:
    """A gigabyte of zeros in a megabyte, as a record of the checkpoint."""
    with zipfile.ZipFile(path) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    large = max(records, key=lambda name: len(records[name]))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in records.items():
            archive.writestr(name, bytes(3 * 10**8) if name == large else content)


def code(path: Path, canary: Path, draw: np.random.Generator) -> None:
    """That would leave a mark beside the copy."""

    class Gadget:
        def __reduce__(self):
            return os.system, (f"touch {canary}.ran",)

    if draw.random() < 0.5:
        torch.save({"state_dict": Gadget()}, path)
    else:
        path.write_bytes(pickle.dumps(Gadget()))


def deep_pickle(path: Path, canary: Path, draw: np.random.Generator) -> None:
    buffer = io.BytesIO()
    torch.save({}, buffer)
    with zipfile.ZipFile(buffer) as source, zipfile.ZipFile(path, "w") as archive:
        for name in source.namelist():
            nested_lists = b"\x80\x02" + b"]" * 10**5 + b"a" * (10**5 - 1) + b"."
            archive.writestr(name, nested_lists if name.endswith("data.pkl") else source.read(name))


# of pickles


def another_pickle(path: Path, canary: Path, draw: np.random.Generator) -> None:
    """Plain, but of other things, or of more than its bytes."""
    box = (0.0, 0.0, 5.0, 5.0)
    contents = (
        {},
        [],
        3,
        {"part/a.mp4": [[(10**30, box)]]},
        {"part/a.mp4": [[(0, (float("nan"), 0.0, 5.0, 5.0))]]},
        {3: [[(0, box)]]},
        [("../../canary", "/etc/passwd", [(0, box, box)])],
        [("a\0b", "\ud800", [(0, box, box)])],
        [("x" * 10**5, "y", [(0, box, (1.0,))])],
        [(None, None, [])],
        {"part/a.mp4": [np.zeros((3, 2))]},
    )
    path.write_bytes(pickle.dumps(contents[draw.integers(len(contents))], int(draw.integers(6))))


def nested_pickle(path: Path, canary: Path, draw: np.random.Generator) -> None:
    levels = int(draw.choice([900, 10**5, 10**6]))
    path.write_bytes(b"\x80\x02" + b"]" * levels + b"a" * (levels - 1) + b".")


def doubled_pickle(path: Path, canary: Path, draw: np.random.Generator) -> None:
    """Lists of the same list twice: 2^60 elements in some hundred bytes."""
    path.write_bytes(b"\x80\x02]q\x000" + b"h\x00h\x00\x86q\x000" * 60 + b"h\x00.")


def an_array_pickle_that_claims(path: Path, canary: Path, draw: np.random.Generator) -> None:
    """More elements than it has bytes for."""
    shape = ((10**12,), (2**40, 2**40), (-1,), (3,))[draw.integers(4)]
    fields = pickle.dumps((1, shape, np.dtype(np.float32), False, bytes(8)), 2)[2:-1]
    begun = b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R"
    path.write_bytes(begun + fields + b"b.")


KINDS: dict[str, tuple[Damage, ...]] = {
    "json": TEXT + JSON,
    "journal": TEXT + JSON + LINES,
    "csv": (*TEXT, *LINES, another_field, another_field, another_field),
    "png": (a_large_picture, a_picture_that_claims, another_picture),
    "npy": (another_array, another_array, an_array_of_objects, an_array_that_claims),
    "pickle": (another_pickle, another_pickle, nested_pickle, doubled_pickle, an_array_pickle_that_claims, code),
    "video": (flip_bits, cut),
    "checkpoint": (
        *(another_object, another_entry, another_entry, another_tensor, another_tensor, without_a_tensor),
        *(deflated, code, deep_pickle),
    ),
}


def damage_of(kind: str, draw: np.random.Generator) -> Damage:
    """One that suits any file, or one for files of this kind."""
    damages = ANY if draw.random() < 0.4 else KINDS[kind]
    return damages[draw.integers(len(damages))]
