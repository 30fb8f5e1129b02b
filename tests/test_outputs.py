"""Output folders: what is in them is whole."""

import os
from pathlib import Path

import pytest

from preprocessing.outputs import new_file, new_files, new_folder, prepare, tidy
from runtime.errors import ItemError, OutputError


def tree(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_file_appears_at_the_end(tmp_path):
    with new_file(tmp_path / "a.json") as file:
        file.write_text("1")
        assert not (tmp_path / "a.json").exists()
    assert tree(tmp_path) == {"a.json": "1"}


def test_a_folder_appears_at_the_end_and_replaces_the_old_one(tmp_path):
    for content in ("old", "new"):
        with new_folder(tmp_path / "abc") as folder:
            (folder / f"{content}.png").write_text(content)
            assert not (tmp_path / "abc" / f"{content}.png").exists()
    assert tree(tmp_path) == {"abc/new.png": "new"}


def test_many_files_appear_at_the_end_and_one_of_them_last(tmp_path, monkeypatch):
    (tmp_path / "0").write_text("old")
    with new_files(tmp_path, "abc", last="0") as folder:
        for name in ("0", "1", "2"):
            (folder / name).write_text("new")
        assert tree(tmp_path)["0"] == "old" and not (tmp_path / "1").exists()
    assert tree(tmp_path) == {"0": "new", "1": "new", "2": "new"}

    moved = []
    monkeypatch.setattr(os, "replace", lambda source, target: moved.append(target.name))
    with new_files(tmp_path, "abc", last="0") as folder:
        for name in ("0", "1", "2"):
            (folder / name).touch()
    assert sorted(moved) == ["0", "1", "2"] and moved[-1] == "0"


@pytest.mark.parametrize("make", [new_file, new_folder])
def test_an_error_leaves_nothing(tmp_path, make):
    with pytest.raises(ZeroDivisionError), make(tmp_path / "x") as partial:
        (partial if make is new_file else partial / "a").write_text("half")
        raise ZeroDivisionError
    tidy(tmp_path)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("make", [new_file, new_folder])
def test_what_cannot_be_written_is_named(tmp_path, make):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"file/x: can't be written \(Not a directory\); mend that and run"):  # noqa: SIM117
        with make(tmp_path / "file" / "x"):
            pass
    with pytest.raises(OutputError, match=r"b: can't be written \(No space left on device\)"):  # noqa: SIM117
        with make(tmp_path / "b"):
            raise OSError(28, "No space left on device")
    with pytest.raises(OutputError, match=r"file/boxes: can.t be written"):
        prepare(tmp_path / "file" / "boxes")


def test_what_a_killed_run_left_is_swept(tmp_path):
    partial = tmp_path / "crops" / ".partial" / "abc"
    partial.mkdir(parents=True)
    (partial / "0_0.png").write_text("half")
    (tmp_path / "crops" / "kept").touch()
    prepare(tmp_path / "crops")
    assert os.listdir(tmp_path / "crops") == ["kept"]
    with new_folder(tmp_path / "crops" / "abc") as folder:  # and what another worker leaves in the same run
        (folder.parent / "abd").mkdir()
    with new_folder(tmp_path / "crops" / "abd"):
        pass
    tidy(tmp_path / "crops")
    assert sorted(os.listdir(tmp_path / "crops")) == ["abc", "abd", "kept"]


def test_nothing_of_others_is_removed(tmp_path):
    """A data root comes from somewhere: links lead elsewhere, folders hold what no stage has made."""
    home = tmp_path / "home"
    (home / "abc").mkdir(parents=True)
    (home / "abc" / "thesis.txt").write_text("precious")
    root = tmp_path / "root"
    root.mkdir()
    (root / ".partial").symlink_to(home)
    with pytest.raises(OutputError, match="is no folder of ours"):
        prepare(root)
    (root / ".partial").unlink()
    prepare(root)
    for name in ("link", "link.json"):
        (root / name).symlink_to(home / "abc")
    with pytest.raises(ItemError, match="is in the way"), new_folder(root / "link"):
        pass
    with pytest.raises(ItemError, match="is a link"), new_file(root / "link.json"):
        pass
    with pytest.raises(ItemError, match=r"holds thesis\.txt, which no stage made"), new_folder(home / "abc"):
        pass
    with pytest.raises(ItemError, match="is a folder"), new_file(home / "abc"):
        pass
    assert tree(home) == {"abc/thesis.txt": "precious"}


def test_names_that_look_like_ours(tmp_path):
    with new_folder(tmp_path / "x") as outer, new_folder(tmp_path / "x.old") as inner:
        (outer / "0_0.png").write_text("x")
        (inner / "0_0.png").write_text("x.old")
    assert tree(tmp_path) == {"x/0_0.png": "x", "x.old/0_0.png": "x.old"}
