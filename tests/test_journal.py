"""The journal: what comes back after every kind of stop."""

import errno
import fcntl
import hashlib
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


def sha256(text):
    return hashlib.sha256(text.encode()).hexdigest()


def test_each_line_is_chained_to_those_before(path):
    """The links as the module's first words define them, and the same in a journal that goes on."""
    chain = "0" * 64
    for number, line in enumerate(path.read_text().splitlines()):
        chain = sha256(f'{chain}{{"number": {number}}}')
        assert line == f'{{"number": {number}, "chain": "{chain}"}}'
    journal = opened(path)
    assert (journal.chain, journal.lines) == (chain, 3)
    journal.add({})
    chain = sha256(chain + "{}")
    assert path.read_text().splitlines()[3] == f'{{"chain": "{chain}"}}'
    assert (journal.chain, journal.lines) == (chain, 4)
    journal.close()
    assert records(path)[3:] == [{}]


@pytest.mark.parametrize(
    "change, line",
    [
        (lambda lines: [lines[0].replace("0", "5", 1), *lines[1:]], 1),
        (lambda lines: [lines[0], lines[1].replace(": 1", ":  1"), lines[2]], 2),
        (lambda lines: [lines[0], lines[1].replace('"number"', '"number": 7, "number"'), lines[2]], 2),
        (lambda lines: [lines[0], lines[1][:-3] + ("1" if lines[1][-3] == "0" else "0") + lines[1][-2:], lines[2]], 2),
        (lambda lines: [lines[0], lines[1].upper(), lines[2]], 2),
        (lambda lines: [lines[0], '{"number": 1}', lines[2]], 2),
        (lambda lines: [*lines, '{"number": 3}'], 4),
        (lambda lines: [*lines, "{}"], 4),
        (lambda lines: [lines[0], lines[2]], 2),
        (lambda lines: [lines[1], lines[0], lines[2]], 1),
        (lambda lines: [*lines, lines[2]], 4),
        (lambda lines: [*lines, '{"chain": 3}'], 4),
    ],
    ids=[
        "content",
        "space",
        "key twice",
        "link",
        "case",
        "no link",
        "added",
        "empty",
        "left out",
        "order",
        "twice",
        "no text",
    ],
)
def test_a_line_that_is_not_what_was_written(path, change, line):
    path.write_text("".join(f"{each}\n" for each in change(path.read_text().splitlines())))
    with pytest.raises(OutputError, match=rf"j\.jsonl: line {line} is damaged; delete the file to start anew"):
        opened(path)


def test_a_journal_of_an_older_version_goes_on_with_a_chain(path):
    """The first link covers the lines before it."""
    old = '{"number": 0}\n{"number":1}\n'
    path.write_text(old)
    journal = opened(path)
    assert journal.records == [{"number": 0}, {"number": 1}]
    journal.add({"number": 2})
    journal.close()
    chain = sha256(sha256(sha256("0" * 64 + '{"number": 0}\n') + '{"number":1}\n') + '{"number": 2}')
    assert path.read_text() == f'{old}{{"number": 2, "chain": "{chain}"}}\n' and len(records(path)) == 3
    path.write_text(path.read_text().replace("0", "4", 1))
    with pytest.raises(OutputError, match="line 3 is damaged"):
        opened(path)


def test_the_chain_begins_anew_with_the_journal(path):
    journal = opened(path, overwrite=True)
    assert (journal.chain, journal.lines) == ("0" * 64, 0)
    journal.close()


def test_what_could_not_be_written_is_not_chained(path, monkeypatch):
    journal = opened(path)
    before = journal.chain, path.read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr(journal, "_file", SmallDisk(journal._file))
        with pytest.raises(OutputError, match="No space left on device"):
            journal.add({"number": 3})
    assert (journal.chain, path.read_bytes()) == before
    journal.add({"number": 4})
    journal.close()
    assert records(path)[3:] == [{"number": 4}]


class SmallDisk:
    """A file on a disk that has room for ten bytes."""

    def __init__(self, file):
        self._file = file
        self.seek, self.truncate = file.seek, file.truncate

    def write(self, line):
        return self._file.write(line[:10])


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
