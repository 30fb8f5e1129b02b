"""Unpacking a part: whole or not at all, and nothing but videos and their metadata.json."""

import json
import os
import random
import resource
import shutil
import signal
import stat
import subprocess
import sys
import types
import zipfile
from pathlib import Path

import pytest

from preprocessing import unpack_part
from preprocessing.data_root import read_data_root

SCRIPT = Path(unpack_part.__file__)
PART = "dfdc_train_part_3"
REAL, FAKE = {"label": "REAL", "split": "train"}, {"label": "FAKE", "split": "train", "original": "a.mp4"}
METADATA = {"a.mp4": REAL, "b.mp4": FAKE}


def noise(name, size=5000):
    """Hardly smaller in a zip, as videos are."""
    return random.Random(name).randbytes(size)


def write_zip(path, part=PART, metadata=METADATA, videos=None, extra=()):
    """`videos` are names, those of the metadata unless given; `extra` are (name or ZipInfo, content)."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.mkdir(part)
        for name in metadata if videos is None else videos:
            archive.writestr(f"{part}/{name}", noise(name))
        content = metadata if isinstance(metadata, str) else json.dumps(metadata)
        archive.writestr(f"{part}/metadata.json", content)
        for name, content in extra:
            archive.writestr(name, content)
    return path


def unpack(path, root):
    return unpack_part.main(["--zip", str(path), "--root-dir", str(root)])


def assert_one_line(capsys, *words):
    """The last line is the error; before it come a bar or lines about files."""
    err = capsys.readouterr().err
    *before, last = [line for line in err.splitlines() if line]
    assert last.startswith("error: ") and all(word in last for word in words), err
    assert not any(line.startswith("error") for line in before) and "Traceback" not in err
    return err


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "data"
    yield folder
    assert not (folder / ".partial").exists()  # whatever happened


def test_unpacks_a_part(tmp_path, root, capsys):
    path = write_zip(tmp_path / "any name.zip")
    assert unpack(path, root) == 0
    assert capsys.readouterr().out == f"{root / PART}: 2 videos\n"
    assert sorted(os.listdir(root / PART)) == ["a.mp4", "b.mp4", "metadata.json"]
    assert all((root / PART / name).read_bytes() == noise(name) for name in METADATA)
    assert path.exists() and [video.id for video in read_data_root(root).videos] == ["a", "b"]
    assert unpack_part.main(["--check", f"{root / PART}/"]) == 0


def test_videos_of_any_container(tmp_path, root, capsys):
    metadata = {"a.MP4": REAL, "b.mov": FAKE, "c.Mkv": REAL}
    assert unpack(write_zip(tmp_path / "x.zip", metadata=metadata), root) == 0
    assert [video.id for video in read_data_root(root).videos] == ["a", "b", "c"]
    (root / PART / "d.AVI").touch()
    (root / PART / "._a.MP4").touch()  # a Mac's notes on it
    assert unpack_part.main(["--check", str(root / PART)]) == 1
    err = assert_one_line(capsys, str(root / PART), "is no complete part (1 entry is wrong)")
    assert "  d.AVI: has no entry in metadata.json\n" in err


def test_zeros_in_front_are_left_out(tmp_path, root):
    assert unpack(write_zip(tmp_path / "x.zip", part="dfdc_train_part_03"), root) == 0
    assert os.listdir(root) == [PART]


def test_from_another_folder_with_relative_names(tmp_path, root):
    write_zip(tmp_path / "x.zip")
    command = [sys.executable, SCRIPT, "--zip", "x.zip", "--root-dir", "data"]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True).returncode == 0
    assert (root / PART / "a.mp4").exists()


def test_a_complete_part_is_left_alone(tmp_path, root, capsys):
    path = write_zip(tmp_path / "x.zip")
    assert unpack(path, root) == 0
    (root / PART / "a.mp4").write_bytes(b"cut to a few bytes by its owner")
    assert unpack(path, root) == 0 and "there already and complete" in capsys.readouterr().out
    assert (root / PART / "a.mp4").read_bytes() == b"cut to a few bytes by its owner"


@pytest.mark.parametrize("what", ["empty folder", "video missing", "file", "link to nowhere"])
def test_what_is_there_is_never_replaced(tmp_path, root, capsys, what):
    path, target = write_zip(tmp_path / "x.zip"), root / PART
    root.mkdir()
    if what == "file":
        target.write_bytes(b"mine")
    elif what == "link to nowhere":
        target.symlink_to(tmp_path / "nowhere")
    else:
        target.mkdir()
    if what == "video missing":
        (target / "metadata.json").write_text(json.dumps(METADATA))
        (target / "a.mp4").write_bytes(b"mine")
    assert unpack(path, root) == 1
    assert_one_line(capsys, str(target), "remove it and run this again")
    assert os.path.lexists(target) and not (target / "b.mp4").exists()


def test_what_a_killed_run_left_is_replaced(tmp_path, root):
    for part in (PART, "dfdc_train_part_4"):
        (root / ".partial" / part).mkdir(parents=True)
        (root / ".partial" / part / "left.mp4").write_bytes(b"half")
    (root / ".partial" / ".stage").touch()
    assert unpack(write_zip(tmp_path / "x.zip"), root) == 0
    assert sorted(os.listdir(root / PART)) == ["a.mp4", "b.mp4", "metadata.json"]
    assert sorted(os.listdir(root / ".partial")) == [".stage", "dfdc_train_part_4"]  # another process may be at it
    shutil.rmtree(root / ".partial")


def test_a_folder_of_that_name_that_is_not_ours(tmp_path, root, capsys):
    (root / ".partial" / PART).mkdir(parents=True)
    (root / ".partial" / PART / "precious.mp4").write_bytes(b"mine")
    assert unpack(write_zip(tmp_path / "x.zip"), root) == 1
    assert_one_line(capsys, ".partial: is no folder of ours; remove it and run the same command again")
    assert (root / ".partial" / PART / "precious.mp4").read_bytes() == b"mine"
    shutil.rmtree(root / ".partial")


def test_a_pipe_is_not_waited_for(tmp_path, root, capsys):
    os.mkfifo(tmp_path / "pipe.zip")
    assert unpack(tmp_path / "pipe.zip", root) == 1
    assert_one_line(capsys, "pipe.zip: can't be read (is not a regular file); name a zip of training data")


def link(name):
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


@pytest.mark.parametrize(
    "name, reason",
    [
        ("/etc/x.mp4", "is not in a folder dfdc_train_part_<number>"),
        ("../x.mp4", "is not in a folder dfdc_train_part_<number>"),
        ("x.mp4", "is not in a folder dfdc_train_part_<number>"),
        ("crops/x.mp4", "is not in a folder dfdc_train_part_<number>"),
        ("crops/", "is not in a folder dfdc_train_part_<number>"),
        (f"/{PART}/x.mp4", "is not in a folder dfdc_train_part_<number>"),
        (link(PART), "is not in a folder dfdc_train_part_<number>"),
        ("dfdc_train_part_4/x.mp4", "is in a second folder"),
        (f"{PART}/../x.mp4", "is in a folder within the part's folder"),
        (f"{PART}/sub/x.mp4", "is in a folder within the part's folder"),
        (f"{PART}//x.mp4", "is in a folder within the part's folder"),
        (f"{PART}/sub/", "is in a folder within the part's folder"),
        (f"{PART}/..", "is neither a video nor metadata.json"),
        (f"{PART}/run.sh", "is neither a video nor metadata.json"),
        (f"{PART}/other.json", "is neither a video nor metadata.json"),
        (f"{PART}/.x.mp4", "has a name that no video has"),
        (f"{PART}/..\\x.mp4", "has a name that no video has"),
        (link(f"{PART}/x.mp4"), "is no plain file"),
    ],
)
def test_refused(tmp_path, root, capsys, name, reason):
    path = write_zip(tmp_path / "x.zip", extra=[(name, b"../../target")])
    assert unpack(path, root) == 1
    assert_one_line(capsys, str(path), getattr(name, "filename", name), reason)
    assert not root.exists()


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_twice_is_refused(tmp_path, root, capsys):
    assert unpack(write_zip(tmp_path / "x.zip", extra=[(f"{PART}/a.mp4", b"another")]), root) == 1
    assert_one_line(capsys, f"{PART}/a.mp4 is in it twice")


def test_names_are_shown_as_they_can_be_printed(tmp_path, root, capsys):
    assert unpack(write_zip(tmp_path / "x.zip", extra=[(f"{PART}/\x1b[2J\n.mp4", b"")]), root) == 1
    assert_one_line(capsys, "\\x1b[2J\\n.mp4 has a name that no video has")


def test_no_training_data(tmp_path, root, capsys):
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w"):
        pass
    assert unpack(path, root) == 1
    assert_one_line(capsys, "holds no dfdc_train_part_<number>/metadata.json")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{PART}/a.mp4", noise("a.mp4"))
    assert unpack(path, root) == 1
    assert_one_line(capsys, "holds no dfdc_train_part_<number>/metadata.json")


def test_bad_zips(tmp_path, root, capsys):
    path = tmp_path / "x.zip"
    assert unpack(path, root) == 1
    assert_one_line(capsys, str(path), "No such file")
    assert unpack(tmp_path, root) == 1
    assert_one_line(capsys, str(tmp_path), "Is a directory")
    path.write_bytes(b"<html>")
    assert unpack(path, root) == 1
    assert_one_line(capsys, str(path), "is no zip or is damaged", "fetch it again")
    whole = write_zip(path).read_bytes()
    path.write_bytes(whole[:-100])
    assert unpack(path, root) == 1
    assert_one_line(capsys, str(path), "is no zip or is damaged", "fetch it again")
    path.write_bytes(whole[:3000] + b"garbage" + whole[3007:])
    assert unpack(path, root) == 1
    assert_one_line(capsys, str(path), "is no zip or is damaged", "a.mp4", "fetch it again")
    assert os.listdir(root) == []


def test_encrypted(tmp_path, root, capsys):
    path = write_zip(tmp_path / "x.zip")
    content = bytearray(path.read_bytes())
    content[content.rindex(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    assert unpack(path, root) == 1
    assert_one_line(capsys, f"{PART}/metadata.json is encrypted")


@pytest.mark.parametrize(
    "content, lines",
    [
        ({"videos": ["a.mp4"]}, ["  b.mp4: there is no such video (No such file or directory)"]),
        ({"videos": ["a.mp4", "b.mp4", "c.mp4"]}, ["  c.mp4: has no entry in metadata.json"]),
        ({"metadata": METADATA | {"b.mp4": {"label": 1}}}, ["  b.mp4: label 1 must be REAL or FAKE"]),
        ({"metadata": "{", "videos": METADATA}, ["  metadata.json: is no JSON ("]),
        ({"metadata": "{}", "videos": ["a.mp4"]}, ["  metadata.json: lists no video"]),
        ({"metadata": "{}", "videos": []}, ["  metadata.json: lists no video"]),
        (
            {"videos": ["a.mp4", *(f"{i}.mp4" for i in range(9))]},
            ["  b.mp4: ", "  0.mp4: ", "  3.mp4: ", "  and 5 more"],
        ),
    ],
)
def test_videos_that_are_not_those_of_the_metadata(tmp_path, root, capsys, content, lines):
    path = write_zip(tmp_path / "x.zip", **content)
    assert unpack(path, root) == 1
    err = assert_one_line(capsys, str(path), "its videos are not those of its metadata.json", "fetch it again")
    assert all(f"\n{line}" in err for line in lines) and "  4.mp4" not in err
    assert os.listdir(root) == [] and path.exists()


def test_check(tmp_path, root, capsys):
    assert unpack(write_zip(tmp_path / "x.zip"), root) == 0
    (root / PART / "c.mp4").write_bytes(b"")
    (root / PART / "b.mp4").unlink()
    capsys.readouterr()
    assert unpack_part.main(["--check", str(root / PART)]) == 1
    err = assert_one_line(capsys, str(root / PART), "is no complete part (2 entries are wrong)")
    assert err.startswith("  b.mp4: there is no such video") and "\n  c.mp4: has no entry" in err
    assert unpack_part.main(["--check", str(tmp_path / "nowhere")]) == 1
    assert_one_line(capsys, str(tmp_path / "nowhere"), "there is no such folder")


@pytest.mark.parametrize("flags", [[], ["--zip", "x"], ["--root-dir", "x"], ["--check", "x", "--zip", "x"]])
def test_usage(flags, capsys):
    with pytest.raises(SystemExit) as stop:
        unpack_part.main(flags)
    assert stop.value.code == 2 and "--check" in capsys.readouterr().err


def test_zip_bomb(tmp_path, root, capsys):
    path = write_zip(tmp_path / "x.zip", extra=[(f"{PART}/c.mp4", bytes(1 << 20))])
    assert unpack(path, root) == 1
    assert_one_line(capsys, str(path), "would grow from", "which videos do not")
    assert not root.exists()


def test_an_entry_larger_than_it_says(tmp_path, root, capsys):
    """The sizes that are summed up are those that count."""
    path = write_zip(tmp_path / "x.zip", extra=[(f"{PART}/c.mp4", bytes(1 << 20))])
    content = path.read_bytes()
    path.write_bytes(content.replace((1 << 20).to_bytes(4, "little"), (100).to_bytes(4, "little")))
    assert unpack(path, root) == 1
    assert_one_line(capsys, "is no zip or is damaged", "c.mp4")


def test_no_room(tmp_path, root, capsys, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: types.SimpleNamespace(free=9000))
    assert unpack(write_zip(tmp_path / "x.zip"), root) == 1
    assert_one_line(capsys, str(root), "0.0 GB needed and 0.0 GB free; make room")


def test_a_disk_that_gets_full(tmp_path, root):
    """Here by a limit on the size of files."""
    write_zip(tmp_path / "x.zip")
    finished = subprocess.run(
        [sys.executable, SCRIPT, "--zip", tmp_path / "x.zip", "--root-dir", root],
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000)),
    )
    assert finished.returncode == 1 and "Traceback" not in finished.stderr
    assert finished.stderr.splitlines()[-1].startswith(f"error: {root / PART}: can't be written (File too large)")
    assert os.listdir(root) == []


def test_a_data_root_that_is_a_file(tmp_path, capsys):
    path = write_zip(tmp_path / "x.zip")
    for folder in (path, path / "below"):
        assert unpack(path, folder) == 1
        assert_one_line(capsys, f"--root-dir {folder}: can't be used", "name another folder")


def test_stopped(tmp_path, root, capsys, monkeypatch):
    monkeypatch.setattr(unpack_part, "find_problems", lambda folder: signal.raise_signal(signal.SIGTERM))
    assert unpack(write_zip(tmp_path / "x.zip"), root) == 143
    assert os.listdir(root) == []
