"""The journal: what comes back after every kind of stop."""

import errno
import fcntl
import json
import os

import pytest

from runtime.errors import OutputError
from runtime.journal import Journal

WORDS = {"busy": "another run is at it", "remedy": "make room"}


def opened(path, **kwargs):
    return Journal(path, **WORDS, **kwargs)


def records(path):
    journal = opened(path)
    journal.close()
    return journal.records


@pytest.fixture
def path(tmp_path):
    journal = opened(tmp_path / "j.jsonl")
    for number in range(3):
        journal.add({"number": number})
    journal.close()
    return journal.path


def test_records_come_back(path):
    assert records(path) == [{"number": 0}, {"number": 1}, {"number": 2}]
    opened(path, overwrite=True).close()
    assert records(path) == []


@pytest.mark.parametrize("cut", [1, 2, 13])
def test_a_line_that_was_not_finished_does_not_count(path, cut):
    path.write_bytes(path.read_bytes()[:-cut])
    assert records(path) == [{"number": 0}, {"number": 1}]
    journal = opened(path)
    journal.add({"number": 9})
    journal.close()
    assert records(path)[2:] == [{"number": 9}]


@pytest.mark.parametrize("line", ["rubbish", "[]", "3", "[" * 100000])
def test_a_damaged_line_is_named(path, line):
    path.write_text(json.dumps({"number": 0}) + f"\n{line}\n")
    with pytest.raises(OutputError, match=r"j\.jsonl: line 2 is damaged; delete the file to start anew"):
        opened(path)


def test_one_process_at_a_time(path):
    journal = opened(path)
    with pytest.raises(OutputError, match=r"j\.jsonl: another run is at it"):
        opened(path)
    journal.close()
    opened(path).close()


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP])
def test_a_file_system_without_locks(path, monkeypatch, capsys, number):
    """Lustre without -o flock, some NFS and FUSE: the run goes on, and its user knows what is not looked after."""

    def flock(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    journal = opened(path)
    journal.add({"number": 3})
    journal.close()
    assert len(records(path)) == 4
    warning = f"warning: {path}: can't be locked ({os.strerror(number)}); see to it that no two runs share this output"
    assert capsys.readouterr().err.startswith(warning)


def test_a_lock_that_is_refused_for_another_reason(path, monkeypatch, capsys):
    def flock(*_):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(OutputError, match=r"can't be written \(Operation not permitted\); make room"):
        opened(path)
    assert capsys.readouterr().err == ""


def test_where_it_cannot_be_written(tmp_path):
    with pytest.raises(OutputError, match=r"can't be written \(Is a directory\); make room"):
        opened(tmp_path)


def test_a_line_without_an_end(path):
    """A terabyte that takes no space on the disk must take no memory either."""
    os.truncate(path, 1 << 40)
    with pytest.raises(OutputError, match=r"j\.jsonl: line 4 is damaged; delete the file to start anew"):
        opened(path)
    path.unlink()


@pytest.mark.parametrize("overwrite", [False, True])
def test_only_a_file_of_its_own_is_opened(path, tmp_path, overwrite):
    content = path.read_text()
    link, pipe, hard, gone = (tmp_path / name for name in ("link", "pipe", "hard", "gone"))
    link.symlink_to(path)
    gone.symlink_to("nowhere")
    os.mkfifo(pipe)
    for bad, message in (
        (link, "is a link, and may lead anywhere"),
        (gone, "is a link, and may lead anywhere"),
        (pipe, "is not a regular file"),
    ):
        with pytest.raises(OutputError, match=f"{bad.name}: {message}"):
            opened(bad, overwrite=overwrite)
    os.link(path, hard)
    with pytest.raises(OutputError, match=r"hard: is a file that has another name too \(a hard link\); remove"):
        opened(hard, overwrite=overwrite)
    assert path.read_text() == content and not (tmp_path / "nowhere").exists()


def test_no_folder_below_the_root_is_a_link(path, tmp_path):
    content = path.read_text()
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "records").symlink_to(tmp_path)
    with pytest.raises(OutputError, match="root/records: is a link, and may lead anywhere"):
        opened(tmp_path / "root" / "records" / path.name, root=tmp_path / "root", overwrite=True)
    assert path.read_text() == content
