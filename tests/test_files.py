"""Whole files: there or not there, whatever happens."""

import json
import os
import re
import socket
from pathlib import Path

import pytest

from evaluation.labels import read_label_csv, read_label_json
from evaluation.submissions import read_submission
from faces.images import read_image
from preprocessing import make_metadata
from preprocessing.extract_crops import read_boxes
from preprocessing.generate_folds import read_pairs
from preprocessing.inspect_data import load_landmarks
from preprocessing.labels import read_metadata
from runtime.errors import InputError, ItemError, OutputError, UserError
from runtime.files import (
    file_identity,
    open_file,
    open_folder,
    open_text,
    parse_json,
    read_file,
    read_json,
    read_text,
    remove_leftovers,
    temporary_name,
    whole_file,
)
from systems.checkpoints import file_digest
from systems.ntechlab.detections import read_recorded_detections
from systems.ntechlab.published_files import read_track_pairs
from systems.ntechlab.track_files import read_aligned_tracks, read_face_tracks
from systems.seferbekov.dataset import read_diff, read_landmarks
from systems.seferbekov.folds import read_folds
from training.config import read_config
from training.loss_log import read_losses


def test_appears_at_the_end(tmp_path):
    path = tmp_path / "a.txt"
    with whole_file(path, "free some space") as temporary:
        temporary.write_text("new")
        assert not path.exists() and temporary.parent == tmp_path
    assert path.read_text() == "new" and os.listdir(tmp_path) == ["a.txt"]


def test_an_error_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), whole_file(path, "x") as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["a.txt"]


def test_what_cannot_be_written_is_named_with_its_remedy(tmp_path):
    with (
        pytest.raises(
            OutputError, match=r"none/a\.txt: can't be written \(No such file or directory\); free some space"
        ),
        whole_file(tmp_path / "none" / "a.txt", "free some space") as temporary,
    ):
        temporary.write_text("x")


def test_a_name_as_long_as_names_may_be(tmp_path):
    path = tmp_path / ("x" * 255)
    with whole_file(path, "x") as temporary:
        temporary.write_text("y")
    assert path.read_text() == "y"


def test_a_link_is_not_written_through(tmp_path):
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "link").symlink_to("precious")
    with pytest.raises(OutputError, match="link: is a link, and may lead anywhere; remove it, or"):  # noqa: SIM117
        with whole_file(tmp_path / "link", "x"):
            pass
    assert (tmp_path / "precious").read_text() == "precious" and sorted(os.listdir(tmp_path)) == ["link", "precious"]
    with whole_file(tmp_path / "link", "x", follow=True) as temporary:  # its user has named it
        temporary.write_text("new")
    assert (tmp_path / "precious").read_text() == "new" and (tmp_path / "link").is_symlink()


def test_only_a_regular_file_is_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name, reason in (("pipe", "is not a regular file"), ("folder", "Is a directory")):
        with (
            pytest.raises(OutputError, match=rf"{name}: can't be written \({reason}\); x"),
            whole_file(tmp_path / name, "x"),
        ):
            pass
    for path in ("", "/"):
        with pytest.raises(OutputError, match="can't be written"), whole_file(path, "x"):
            pass
    assert sorted(os.listdir(tmp_path)) == ["folder", "pipe"] and (tmp_path / "pipe").is_fifo()


def test_every_folder_below_the_root_counts(tmp_path):
    (tmp_path / "home" / "b").mkdir(parents=True)
    (tmp_path / "disk").mkdir()
    (tmp_path / "root").symlink_to("disk")
    (tmp_path / "root" / "a").symlink_to(tmp_path / "home")
    with pytest.raises(OutputError, match="root/a: is a link"):  # noqa: SIM117
        with whole_file(tmp_path / "root" / "a" / "b" / "c", "x", root=tmp_path / "root"):
            pass
    with pytest.raises(OutputError, match="root/a: is a link"), open_folder(tmp_path / "root", "a", "x", make=True):
        pass
    assert os.listdir(tmp_path / "home") == ["b"] and os.listdir(tmp_path / "home" / "b") == []
    with open_folder(tmp_path / "root", "x", "y", make=True) as folder:
        os.mkdir("z", dir_fd=folder)
    assert (tmp_path / "disk" / "x" / "y" / "z").is_dir()


def test_temporary_names_cannot_be_guessed_and_are_not_taken_over(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    assert temporary_name(path) != temporary_name(path) and len(temporary_name(path).name) > 40
    (tmp_path / "precious").write_text("precious")
    monkeypatch.setattr("runtime.files.temporary_name", lambda path: path.with_name("guessed"))
    (tmp_path / "guessed").symlink_to("precious")
    with pytest.raises(OutputError, match=r"a\.txt: can't be written \(File exists\); x"), whole_file(path, "x"):
        pass
    assert (tmp_path / "guessed").is_symlink() and (tmp_path / "precious").read_text() == "precious"


def test_only_leftovers_of_ours_are_removed(tmp_path):
    path = tmp_path / "a.txt"
    left = temporary_name(path)
    old = left.with_name(left.name.replace(left.name.split(".")[2], "4711"))
    others = [left.with_name(left.name.replace(left.name.split(".")[2], "notes")), temporary_name(tmp_path / "b.txt")]
    link = temporary_name(path)
    for each in (left, old, *others):
        each.touch()
    link.symlink_to(others[0])
    remove_leftovers(path)
    assert sorted(tmp_path.iterdir()) == sorted([*others, link])


def test_identity(tmp_path):
    path = tmp_path / "a"
    assert file_identity(path) is None
    path.write_text("12345")
    os.utime(path, ns=(5, 7))
    assert file_identity(path) == (5, 7)


# reading

CONFIG = Path(__file__).parents[1] / "configs" / "b7.json"
READERS = {
    "boxes": read_boxes,
    "crop": read_image,
    "diff": lambda path: read_diff(str(path)),
    "landmarks": lambda path: read_landmarks(str(path)),
    "landmarks of a sheet": lambda path: load_landmarks(path.parent, 0),
    "folds": read_folds,
    "config": read_config,
    "log": read_losses,
    "splits": read_pairs,
    "submission": lambda path: read_submission(str(path)),
    "labels": lambda path: list(read_label_csv(str(path))),
    "labels in JSON": lambda path: list(read_label_json(str(path))),
    "labels of a data root": lambda path: make_metadata.read_text("--labels", path),
    "metadata": read_metadata,
    "recorded detections": read_recorded_detections,
    "face tracks": read_face_tracks,
    "aligned tracks": read_aligned_tracks,
    "pairs of tracks": read_track_pairs,
}
REASONS = {
    "/dev/zero": "is not a regular file",
    "pipe": "is not a regular file",
    "socket": "is not a regular file",
    "folder": "Is a directory",
    "endless": "has more than [0-9]+ bytes, the most that such a file may have",
}


@pytest.fixture(scope="module")
def odd_files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("odd")
    os.mkfifo(folder / "pipe")
    (folder / "folder").mkdir()
    (folder / "endless").touch()
    os.truncate(folder / "endless", 1 << 40)  # it takes no space
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(folder / "socket"))
        yield folder


@pytest.mark.parametrize("kind", REASONS)
@pytest.mark.parametrize("reader", READERS)
def test_only_regular_files_of_some_size_are_read(tmp_path, odd_files, kind, reader):
    """What comes with a data root may be a link to anything: one line, and nothing is waited for or filled up."""
    path = tmp_path / "0_0.npy"
    path.symlink_to(odd_files / kind)
    with pytest.raises((UserError, OSError)) as caught:
        READERS[reader](path)
    message = str(caught.value)
    assert "\n" not in message
    if reader in ("landmarks", "landmarks of a sheet", "diff"):
        assert message.startswith(f"{path}: can't be read") and "is damaged; run generate_" in message
    else:
        assert str(path) in message and re.search(REASONS[kind], message)


def test_a_byte_order_mark_is_no_part_of_a_text(tmp_path):
    def write(name, text):
        (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + text.encode())
        return tmp_path / name

    assert read_text(write("a.txt", "é"), 10) == "é"
    with open_text(tmp_path / "a.txt", 10) as file:
        assert file.read() == "é"
    assert read_boxes(write("boxes.json", '{"0": [[1, 2, 3, 4]]}')) == {0: [[1, 2, 3, 4]]}
    assert read_pairs(write("train.json", '[["000", "003"]]')) == [["000", "003"]]
    assert read_metadata(write("metadata.json", '{"a.mp4": {"label": "REAL"}}'))[0] == {"a.mp4": {"label": "REAL"}}
    assert make_metadata.read_text("--labels", write("labels.csv", "a.mp4,1\n")) == "a.mp4,1\n"
    assert read_submission(str(write("submission.csv", "filename,label\na.mp4,1\n"))) == {"a.mp4": 1.0}
    folds = read_folds(write("folds.csv", "video,file,label,original,frame,fold\na,0_0.png,1,b,0,2\n"))
    assert folds["video"].tolist() == ["a"]
    assert read_losses(write("log.txt", "fake_loss 0.5\nreal_loss 0.25\n"))[0].fake == 0.5
    with open(CONFIG, encoding="utf-8") as file:
        assert read_config(write("b7.json", file.read())) == read_config(CONFIG)


def test_the_digest_of_a_pipe_is_not_waited_for(odd_files):
    with pytest.raises(UserError, match="pipe: can't be opened"):
        file_digest(odd_files / "pipe")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_json_in_any_encoding_that_has_a_mark(tmp_path, encoding):
    (tmp_path / "a.json").write_bytes('{"é": [1, NaN], "b": 2, "b": 3}'.encode(encoding))
    content = read_json(tmp_path / "a.json", 1000)
    assert list(content) == ["é", "b"] and content["é"][0] == 1 and content["b"] == 3
    assert read_json(tmp_path / "a.json", 1000, make_object=lambda pairs: [key for key, _ in pairs]) == ["é", "b", "b"]


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 10**5, b'{"a":' * 10**5, b"1" * 5000, b"1 2"])
def test_what_is_no_json(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(ValueError):
        read_json(tmp_path / "a.json", 10**6)


def test_what_a_file_of_json_is_refused_with(tmp_path):
    """The caller's error, with the file, the reason and the remedy in one line."""

    def parse(name, most=100):
        sentences = {"unreadable": "no boxes ({}); run a.py", "damaged": "is damaged ({}); remove it"}
        return parse_json(tmp_path / name, most, ItemError, **sentences, parse=lambda content: content["a"] / 2)

    def refused(name, content=None, most=100):
        if content is not None:
            (tmp_path / name).write_text(content)
        with pytest.raises(ItemError) as caught:
            parse(name, most)
        return str(caught.value)

    (tmp_path / "good.json").write_text('{"a": 3}')
    assert parse("good.json") == 1.5
    assert refused("none.json") == f"{tmp_path}/none.json: no boxes (No such file or directory); run a.py"
    assert refused("good.json", most=2).startswith(f"{tmp_path}/good.json: no boxes (has more than 2 bytes, the most")
    assert refused("b.json", "{").startswith(f"{tmp_path}/b.json: is damaged (Expecting property name")
    assert refused("c.json", "{}") == f"{tmp_path}/c.json: is damaged ('a' is missing); remove it"
    assert refused("d.json", '{"a": []}').startswith(f"{tmp_path}/d.json: is damaged (unsupported operand")
    large = refused("e.json", json.dumps({"a": 10**400}), most=999)
    assert large.startswith(f"{tmp_path}/e.json: is damaged (integer division")


@pytest.mark.parametrize("size", [0, 1, 9, 10])
def test_all_of_a_file_is_read(tmp_path, size):
    (tmp_path / "a").write_bytes(b"x" * size)
    assert read_file(tmp_path / "a", 10) == b"x" * size


def test_limits_hold_for_what_does_not_tell_its_size(tmp_path):
    (tmp_path / "a").write_bytes(b"x" * 11)
    with pytest.raises(OSError, match="has more than 10 bytes"):
        open_file(tmp_path / "a", 10)
    assert os.stat("/proc/self/status").st_size == 0 and read_file("/proc/self/status", 1 << 20).startswith(b"Name:")
    with pytest.raises(OSError, match="has more than 10 bytes"):
        read_file("/proc/self/status", 10)
    with pytest.raises(OSError, match="is no name of a file"):
        open_file("a\0b", 10)


def test_no_descriptor_stays_open(tmp_path, odd_files):
    before = len(os.listdir("/proc/self/fd"))
    for kind in REASONS:
        with pytest.raises(OSError):
            open_file(odd_files / kind, 10)
    with pytest.raises(OutputError), whole_file(tmp_path / "none" / "a", "x"):
        pass
    with whole_file(tmp_path / "a", "x"):
        pass
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(InputError), whole_file(tmp_path / "a", "x"):
        raise InputError
    with pytest.raises(OutputError), whole_file(tmp_path / "b", "x"):
        pass
    assert len(os.listdir("/proc/self/fd")) == before
