"""Listing a data root: every entry is usable, or said not to be."""

import contextlib
import json
import os
import unicodedata
from pathlib import Path

import pytest

from preprocessing.data_root import read_data_root
from runtime.errors import InputError


def write_part(root, part, entries, missing=()):
    folder = root / part
    folder.mkdir(parents=True)
    (folder / "metadata.json").write_text(entries if isinstance(entries, str) else json.dumps(entries))
    for name in () if isinstance(entries, str) else entries:
        if name not in missing and "/" not in name and len(name) < 200:
            (folder / name).write_bytes(b"video")
    return folder


REAL = {"label": "REAL", "split": "train", "original": None}


def fake(original):
    return {"label": "FAKE", "split": "train", "original": original}


def test_videos_in_order(tmp_path):
    write_part(tmp_path, "dfdc_train_part_10", {"b.mp4": REAL})
    write_part(tmp_path, "dfdc_train_part_9", {"z.mp4": fake("a.mp4"), "a.mp4": {"label": "REAL"}})
    (tmp_path / "crops").mkdir()
    data = read_data_root(tmp_path)
    assert [(v.part, v.id, v.is_fake, v.original, v.source) for v in data.videos] == [
        ("dfdc_train_part_9", "a", False, None, "a"),
        ("dfdc_train_part_9", "z", True, "a", "a"),
        ("dfdc_train_part_10", "b", False, None, "b"),
    ]
    assert [v.id for v in data.sources] == ["a", "b"] and [v.id for v in data.fakes_with_original] == ["z"]
    assert data.problems == {} and data.videos[0].path == str(tmp_path / "dfdc_train_part_9" / "a.mp4")


def test_numeric_ids_stay_strings(tmp_path):
    write_part(tmp_path, "p", {"004.mp4": REAL, "004_003.mp4": fake("004.mp4")})
    assert [(v.id, v.source) for v in read_data_root(tmp_path).videos] == [("004", "004"), ("004_003", "004")]


def test_fake_of_unknown_origin_is_its_own_source(tmp_path):
    write_part(tmp_path, "p", {"f.mp4": {"label": "FAKE"}})
    data = read_data_root(tmp_path)
    assert data.sources == data.videos and data.videos[0].is_fake and data.videos[0].source == "f"


@pytest.mark.parametrize(
    "name, entry, message",
    [
        ("../x.mp4", REAL, "not the name of a video"),
        ("sub/x.mp4", REAL, "not the name of a video"),
        ("..\\x.mp4", REAL, "not the name of a video"),
        ("/etc/x.mp4", REAL, "not the name of a video"),
        (".mp4", REAL, "not the name of a video"),
        ("._x.mp4", REAL, "not the name of a video"),
        ("x.txt", REAL, "not the name of a video"),
        ("x\n.mov", REAL, "not the name of a video"),
        ("x.mp4", {"label": "rael"}, "label 'rael' must be REAL or FAKE"),
        ("x.mp4", {"label": ["FAKE"]}, "must be REAL or FAKE"),
        ("x.mp4", {"is_fake": 2}, "is_fake 2 must be 0 or 1"),
        ("x.mp4", {"is_fake": 0, "label": "FAKE"}, "label FAKE and is_fake 0 contradict each other"),
        ("x.mp4", {}, "label None"),
        ("x.mp4", "FAKE", "must be an object"),
        ("x.mp4", fake("../a.mp4"), "original '../a.mp4': not the name"),
        ("x.mp4", fake(3), "original 3: must be a file name or null"),
        ("x.mp4", fake("gone.mp4"), "its original gone.mp4 is not among the real videos"),
        ("x.mp4", fake("f.mp4"), "its original f.mp4 is not among the real videos"),
        ("y" * 300 + ".mp4", REAL, "its name is longer than 230 bytes"),
    ],
)
def test_a_bad_entry_is_left_out_and_told(tmp_path, name, entry, message):
    write_part(tmp_path, "p", {"a.mp4": REAL, "f.mp4": fake("a.mp4"), name: entry})
    data = read_data_root(tmp_path)
    assert [video.id for video in data.videos] == ["a", "f"]
    assert list(data.problems) == [f"p/{name}"] and message in data.problems[f"p/{name}"]


def test_entry_without_a_file(tmp_path):
    folder = write_part(tmp_path, "p", {"a.mp4": REAL, "b.mp4": REAL, "c.mp4": fake("b.mp4")}, missing=["b.mp4"])
    (folder / "d.mp4").mkdir()
    data = read_data_root(tmp_path)
    assert [video.id for video in data.videos] == ["a"]
    assert data.problems == {
        "p/b.mp4": "there is no such video (No such file or directory)",
        "p/c.mp4": "its original b.mp4 is not among the real videos",
    }


def test_same_name_in_two_parts(tmp_path):
    write_part(tmp_path, "p_1", {"a.mp4": REAL})
    write_part(tmp_path, "p_2", {"a.mp4": REAL, "b.mp4": REAL})
    data = read_data_root(tmp_path)
    assert [(v.part, v.id) for v in data.videos] == [("p_1", "a"), ("p_2", "b")]
    assert data.problems == {"p_2/a.mp4": "p_1/a.mp4 has the same id, a; rename or remove one"}


def test_every_container_is_taken(tmp_path):
    """The id has no ending, the path has its own; an original is found by its id."""
    entries = {"a.MP4": REAL, "b.mov": REAL, "c.avi": fake("a.mp4"), "d.MkV": fake("b.mov"), "e.f.WEBM": REAL}
    part = write_part(tmp_path, "p", entries)
    data = read_data_root(tmp_path)
    assert data.problems == {} and [video.name for video in data.videos] == sorted(entries)
    assert {video.id: video.original for video in data.videos} == {
        "a": None,
        "b": None,
        "c": "a",
        "d": "b",
        "e.f": None,
    }
    assert {Path(video.path) for video in data.videos} == {part / name for name in entries}


def test_one_id_in_two_containers(tmp_path):
    """Both files are named. A fake of that id may be of either, and is left out."""
    write_part(tmp_path, "p_1", {"clip.mov": REAL, "clip.mp4": REAL, "a.mp4": REAL})
    write_part(tmp_path, "p_2", {"a.AVI": REAL, "f.mp4": fake("a.AVI"), "b.mp4": REAL, "g.mp4": fake("b.mp4")})
    data = read_data_root(tmp_path)
    assert [f"{v.part}/{v.name}" for v in data.videos] == ["p_1/a.mp4", "p_1/clip.mov", "p_2/b.mp4", "p_2/g.mp4"]
    assert data.problems == {
        "p_1/clip.mp4": "p_1/clip.mov has the same id, clip; rename or remove one",
        "p_2/a.AVI": "p_1/a.mp4 has the same id, a; rename or remove one",
        "p_2/f.mp4": "its original may be p_1/a.mp4 or p_2/a.AVI; rename or remove one",
    }


def test_labels_of_the_test_release_and_in_any_case(tmp_path):
    entries = {
        "a.mp4": {"is_fake": 0, "augmentations": []},
        "b.mp4": {"is_fake": 1, "augmentations": []},
        "c.mp4": {"is_fake": True, "label": "fake", "original": "a.mp4"},
        "d.mp4": {"label": "Real"},
    }
    write_part(tmp_path, "p", entries)
    data = read_data_root(tmp_path)
    assert data.problems == {}
    assert [(v.id, v.is_fake, v.original) for v in data.videos] == [
        ("a", False, None),
        ("b", True, None),
        ("c", True, "a"),
        ("d", False, None),
    ]


def test_byte_order_mark(tmp_path):
    folder = write_part(tmp_path, "p", {"a.mp4": REAL})
    path = folder / "metadata.json"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert [video.id for video in read_data_root(tmp_path).videos] == ["a"]


def test_a_key_that_is_there_twice(tmp_path):
    text = (
        '{"a.mp4": {"label": "REAL"}, "b.mp4": {"label": "REAL", "label": "FAKE"}, "c.mp4": {"label": "REAL"}, '
        '"f.mp4": {"label": "FAKE", "original": "a.mp4"}, "a.mp4": {"label": "FAKE"}}'
    )
    folder = write_part(tmp_path, "p", text)
    for name in "abcf":
        (folder / f"{name}.mp4").touch()
    data = read_data_root(tmp_path)
    assert [video.id for video in data.videos] == ["c"]
    assert data.problems == {
        "p/a.mp4": 'the key "a.mp4" is there twice; leave one out',
        "p/b.mp4": 'the key "label" is there twice; leave one out',
        "p/f.mp4": "its original a.mp4 is not among the real videos",
    }


@pytest.mark.parametrize(
    "text, message", [("{", "is no JSON"), ("[" * 99999, "is no JSON"), ("[]", "must be an object")]
)
def test_broken_metadata_costs_its_part_only(tmp_path, text, message):
    write_part(tmp_path, "p_1", text)
    write_part(tmp_path, "p_2", {"a.mp4": REAL})
    data = read_data_root(tmp_path)
    assert [video.id for video in data.videos] == ["a"]
    assert list(data.problems) == ["p_1/metadata.json"] and message in data.problems["p_1/metadata.json"]


def test_roots_that_cannot_be_used(tmp_path):
    with pytest.raises(InputError, match=r"--root-dir .*none: can't be read \(No such file"):
        read_data_root(tmp_path / "none")
    with pytest.raises(InputError, match=r"no folder in it has a metadata\.json; preprocessing/make_metadata\.py"):
        read_data_root(tmp_path)
    folder = write_part(tmp_path, "p", "rubbish")
    with pytest.raises(InputError, match=r"name the folder above it"):
        read_data_root(folder)
    with pytest.raises(InputError, match=r"no usable video in 1 part folder\(s\); p/metadata\.json: is no JSON"):
        read_data_root(tmp_path)


TWINS = [("Abc", "abC"), ("caf\u00e9", "cafe\u0301"), ("\u00c9t\u00e9", "e\u0301te\u0301")]


@pytest.mark.parametrize("ids", TWINS)
@pytest.mark.parametrize("parts", ["pp", "pq"])
def test_ids_that_the_file_system_tells_apart(tmp_path, ids, parts):
    for part, id_ in zip(parts, ids, strict=True):
        (tmp_path / part).mkdir(exist_ok=True)
        (tmp_path / part / f"{id_}.mp4").touch()
    for part in set(parts):
        names = [path.name for path in (tmp_path / part).iterdir()]
        (tmp_path / part / "metadata.json").write_text(json.dumps(dict.fromkeys(names, REAL)))
    data = read_data_root(tmp_path)
    assert {video.id for video in data.videos} == set(ids) and data.problems == {}


@pytest.mark.parametrize("ids", TWINS)
@pytest.mark.parametrize("parts", ["pp", "pq"])
@pytest.mark.parametrize("on_disk", [0, 1])
def test_ids_that_the_file_system_mixes_up(tmp_path, monkeypatch, ids, parts, on_disk):
    """As on macOS and Windows: a folder lists one name and answers to all its forms."""

    def folded(path):
        path = Path(path)
        same = unicodedata.normalize("NFC", path.name).casefold()
        with contextlib.suppress(OSError):
            for name in os.listdir(path.parent):
                if unicodedata.normalize("NFC", name).casefold() == same:
                    return path.parent / name
        return path

    for number, (part, id_) in enumerate(zip(parts, ids, strict=True)):
        (tmp_path / part).mkdir(exist_ok=True)
        if parts == "pq" or number == on_disk:
            (tmp_path / part / f"{id_}.mp4").touch()
    for part in set(parts):
        names = [f"{id_}.mp4" for other, id_ in zip(parts, ids, strict=True) if other == part]
        (tmp_path / part / "metadata.json").write_text(json.dumps(dict.fromkeys(names, REAL)))
    stat, lexists = os.stat, os.path.lexists
    monkeypatch.setattr(os, "stat", lambda path, **kwargs: stat(folded(path), **kwargs))
    monkeypatch.setattr(os.path, "lexists", lambda path: lexists(folded(path)))
    data = read_data_root(tmp_path)
    monkeypatch.undo()
    assert len(data.videos) == 1 and data.videos[0].id in ids
    ((place, reason),) = data.problems.items()
    assert Path(place).stem in ids and Path(place).stem != data.videos[0].id
    assert reason.startswith(
        f"its id differs from that of {data.videos[0].part}/{data.videos[0].name} only in case or in"
    )


@pytest.mark.parametrize("target", ["/dev/zero", "pipe", "folder", "large"])
def test_metadata_that_is_no_regular_file(tmp_path, target):
    folder = write_part(tmp_path, "p", {"a.mp4": REAL})
    write_part(tmp_path, "q", {"b.mp4": REAL})
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "large").touch()
    os.truncate(tmp_path / "large", 1 << 40)
    (folder / "metadata.json").unlink()
    (folder / "metadata.json").symlink_to(tmp_path / target)
    data = read_data_root(tmp_path)
    reason = {"folder": "Is a directory", "large": "has more than 33554432 bytes, the most that such a file may have"}
    expected = f"can't be opened ({reason.get(target, 'is not a regular file')})"
    assert data.problems == {"p/metadata.json": expected} and len(data.videos) == 1


def test_a_byte_order_mark_and_a_part_named_none(tmp_path):
    folder = write_part(tmp_path, "none", {"a.mp4": REAL})
    path = folder / "metadata.json"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    data = read_data_root(tmp_path)
    assert [(video.part, video.id) for video in data.videos] == [("none", "a")] and data.problems == {}
