"""Whole files: there or not there, whatever happens."""

import os

import pytest

from runtime.errors import OutputError
from runtime.files import file_identity, whole_file


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


def test_identity(tmp_path):
    path = tmp_path / "a"
    assert file_identity(path) is None
    path.write_text("12345")
    os.utime(path, ns=(5, 7))
    assert file_identity(path) == (5, 7)
