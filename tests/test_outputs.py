"""Output folders: what is in them is whole."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from preprocessing.outputs import new_file, new_files, new_folder, prepare, tidy
from runtime.errors import ItemError, OutputError

KILLED = """
import os, signal, sys
from pathlib import Path
from preprocessing.outputs import new_folder
with new_folder(Path(sys.argv[1])) as folder:
    (folder / "0_0.png").touch()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def tree(folder: Path) -> dict[str, str]:
    """What is there after a run."""
    tidy(folder)
    return {str(path.relative_to(folder)): path.read_text() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_file_appears_at_the_end(tmp_path):
    with new_file(tmp_path / "a.json") as file:
        file.write_text("1")
        assert not (tmp_path / "a.json").exists()
    assert tree(tmp_path) == {"a.json": "1"}


def test_a_folder_appears_at_the_end_and_replaces_the_old_one(tmp_path):
    for content in ("1_0.png", "2_0.png"):
        with new_folder(tmp_path / "abc") as folder:
            (folder / content).write_text(content)
            assert not (tmp_path / "abc" / content).exists()
    assert tree(tmp_path) == {"abc/2_0.png": "2_0.png"}


def test_many_files_appear_at_the_end_and_one_of_them_last(tmp_path, monkeypatch):
    (tmp_path / "0").write_text("old")
    with new_files(tmp_path, "abc", last="0") as folder:
        for name in ("0", "1", "2"):
            (folder / name).write_text("new")
        assert (tmp_path / "0").read_text() == "old" and not (tmp_path / "1").exists()
    assert tree(tmp_path) == {"0": "new", "1": "new", "2": "new"}

    moved = []
    monkeypatch.setattr(os, "replace", lambda source, target, **_: moved.append(target))
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
    (tmp_path / "crops").mkdir()
    (tmp_path / "crops" / "kept").touch()
    left = subprocess.run([sys.executable, "-c", KILLED, tmp_path / "crops" / "abc"], cwd=Path(__file__).parents[1])
    assert left.returncode == -9 and len(list(tmp_path.glob("crops/.partial/abc/*/0_0.png"))) == 1
    prepare(tmp_path / "crops")
    assert os.listdir(tmp_path / "crops") == ["kept"]
    with new_folder(tmp_path / "crops" / "abc"):  # and what another worker leaves in the same run
        (tmp_path / "crops" / ".partial" / "abd" / "x").mkdir(parents=True)
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
    (root / ".partial").mkdir()
    (root / ".partial" / "thesis.txt").write_text("precious")
    with pytest.raises(OutputError, match="is no folder of ours"):
        prepare(root)
    tidy(root)
    with pytest.raises(OutputError, match="is no folder of ours"), new_folder(root / "abc"):
        pass
    (root / ".partial" / "thesis.txt").unlink()
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
    for name in ("holiday.png", "0_0.png"):
        (home / "pictures").mkdir(exist_ok=True)
        (home / "pictures" / name).symlink_to(home / "abc" / "thesis.txt")
        with pytest.raises(ItemError, match="which no stage made"), new_folder(home / "pictures"):
            pass
        (home / "pictures" / name).unlink()


@pytest.mark.parametrize("make", [new_file, new_folder, prepare])
def test_nothing_is_written_through_a_folder_that_is_a_link(tmp_path, make):
    """At any depth below the data root, which may be a link itself."""
    home, root = tmp_path / "home", tmp_path / "root"
    (home / "part").mkdir(parents=True)
    (tmp_path / "disk" / "real").mkdir(parents=True)
    root.symlink_to(tmp_path / "disk")
    (root / "link").symlink_to(home)
    (root / "real" / "part").symlink_to(home / "part")
    for path, link in [("link/part/abc", "link"), ("link/abc", "link"), ("real/part/abc", "real/part")]:
        with pytest.raises(OutputError, match=f"root/{link}: is a link, and may lead anywhere"):
            if make is prepare:
                prepare((root / path).parent, root)
            else:
                with make(root / path, root):
                    pass
    with pytest.raises(OutputError, match="root/link: is a link"), new_files(root / "link", "abc", last="0"):
        pass
    tidy(root / "link", root)
    assert tree(home) == {} and os.listdir(home) == ["part"]
    prepare(root / "crops", root)
    with new_folder(root / "crops" / "abc", root) as folder:
        (folder / "0_0.png").touch()
    assert os.listdir(tmp_path / "disk" / "crops" / "abc") == ["0_0.png"]


def test_names_of_what_is_written_cannot_be_guessed(tmp_path):
    seen = set()
    for _ in range(2):
        with new_file(tmp_path / "a") as file, new_folder(tmp_path / "b") as folder:
            assert file.stat().st_size == 0 and len(file.name) == len(folder.name) == 32
            seen |= {file.name, folder.name}
    assert len(seen) == 4


def test_names_that_look_like_ours(tmp_path):
    with new_folder(tmp_path / "x") as outer, new_folder(tmp_path / "x.old") as inner:
        (outer / "0_0.png").write_text("x")
        (inner / "0_0.png").write_text("x.old")
    assert tree(tmp_path) == {"x/0_0.png": "x", "x.old/0_0.png": "x.old"}
