"""What of a case is still as it was: every file by its size and SHA-256, the journal by its chain, the submission by
its scores. Whatever lies there may be anything: only regular files are read, of the size that the case tells."""

import csv
import io
import os
import reprlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice, zip_longest

from inference.case import CASE, ELSEWHERE, WEIGHTS, Case, CaseFile, CaseJournal, Content
from inference.pipeline import NO_FACE, OK
from runtime import limits
from runtime.digests import digest_of
from runtime.files import open_file, read_file
from runtime.journal import UNCHAINED, chained_lines
from runtime.source_tree import ROOT

_SUBMISSION = "--output"


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that was looked at: its `kind`, its name, and what is another than it was; None where all is as it was.
    `bytes` is how much of it was, or would have been, read."""

    kind: str
    name: str
    problem: str | None
    bytes: int = 0


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where the files of a case are looked for: `case` is the folder that the case lies in; the others are None where
    they are where they were."""

    case: str
    videos: str | None = None
    weights: str | None = None

    def videos_of(self, case: Case) -> str:
        """The folder of the videos."""
        return self.videos or case.run.videos_folder

    def weights_of(self, case: Case) -> str:
        """The folder of the weights."""
        return self.weights or case.run.weights_folder

    def of_file(self, case: Case, file: CaseFile) -> str:
        """A file. One of the case, or from elsewhere, that is not where it was is looked for beside the case."""
        if file.of in (CASE, ELSEWHERE):
            return self.beside_case(file.path)
        return os.path.join(self.weights_of(case) if file.of == WEIGHTS else ROOT, file.path)

    def of_weight(self, case: Case, file: CaseFile) -> str:
        """A checkpoint. One that was named by a path out of the folder of the weights, and is not there, is looked for
        in that folder too, as a case that is handed on has all of them in one."""
        path = self.of_file(case, file)
        handed_on = os.path.join(self.weights_of(case), os.path.basename(file.path))
        return handed_on if not os.path.lexists(path) and os.path.lexists(handed_on) else path

    def beside_case(self, path: str) -> str:
        """What lay at a path from the case's folder: there, else in that folder itself."""
        there = os.path.join(self.case, path)
        return there if os.path.lexists(there) else os.path.join(self.case, os.path.basename(path))


def check_case(case: Case, places: Places, passing: Callable[[int], object] = lambda count: None) -> Iterator[Check]:
    """Everything that the case names, in the order in which it came about. `passing` is told of the bytes as they are
    read."""
    for file in case.weights:
        yield _check("weights", file.what, places.of_weight(case, file), file, passing)
    for file in case.inputs:
        yield _check("input", file.what, places.of_file(case, file), file, passing)
    for video in case.videos:
        path = path_in(places.videos_of(case), video.video)
        if path is None:
            yield Check(kind="video", name=video.video, problem="is no name of a file")
        elif video.file is None:  # it was not there, or no regular file; or it was changed while it was read
            problem = "no SHA-256 of what was scored is known" if video.status in (OK, NO_FACE) else None
            yield Check(kind="video", name=video.video, problem=problem)
        else:
            yield _check("video", video.video, path, video.file, passing)
    if case.run.journal:
        yield _check_journal(case.run.journal, places)
    for file in case.run.outputs:
        yield _check("output", f"{file.what} {file.path}", places.of_file(case, file), file, passing)
    for file in case.run.outputs:
        if file.what == _SUBMISSION:
            yield _check_scores(case, places.of_file(case, file))


def size_of(case: Case) -> int:
    """Bytes of all that is hashed."""
    files: list[Content] = [*case.weights, *case.inputs, *case.run.outputs]
    return sum(file.bytes for file in files) + sum(video.file.bytes for video in case.videos if video.file)


def path_in(folder: str, name: str) -> str | None:
    """Where a file of a folder is; None where its name would lead out of it."""
    fine = name not in ("", ".", "..") and "\0" not in name and os.path.basename(name) == name
    return os.path.join(folder, name) if fine else None


def _check(kind: str, name: str, path: str, was: Content, passing: Callable[[int], object]) -> Check:
    return Check(kind=kind, name=name, problem=_difference(path, was, passing), bytes=was.bytes)


def _difference(path: str, was: Content, passing: Callable[[int], object]) -> str | None:
    """How a file is another than it was."""
    try:
        size = os.stat(path).st_size
        if size == was.bytes:
            found = digest_of(path, was.bytes, passing)
            size = found.bytes
    except FileNotFoundError:
        return f"{path}: is not there"
    except (OSError, ValueError) as error:
        return f"{path}: can't be read ({getattr(error, 'strerror', None) or error})"
    if size != was.bytes:
        return f"{path}: has {size} bytes, and had {was.bytes}"
    if found.sha256 != was.sha256:
        return f"{path}: was changed: its SHA-256 is {found.sha256}, and was {was.sha256}"
    return None


def _check_journal(journal: CaseJournal, places: Places) -> Check:
    problem = _journal_difference(places.beside_case(journal.path), journal)
    return Check(kind="journal", name=journal.path, problem=problem)


def _journal_difference(path: str, was: CaseJournal) -> str | None:
    """The case is written when the run has ended: nothing may follow the lines that it knows."""
    lines, chain = 0, UNCHAINED
    try:
        with open_file(path, sys.maxsize) as file:
            more = os.fstat(file.fileno()).st_size
            for line, _, link in islice(chained_lines(file), was.lines):
                lines, chain, more = lines + 1, link, more - len(line)
    except FileNotFoundError:
        return f"{path}: is not there"
    except OSError as error:
        return f"{path}: can't be read ({error.strerror or error})"
    except ValueError as error:
        return f"{path}: line {lines + 1} is not what was written ({error})"
    if lines < was.lines:
        return f"{path}: has {lines} lines, and had {was.lines}"
    if chain != was.chain:
        return f"{path}: the chain of its first {was.lines} lines is {chain}, and was {was.chain}: it was written anew"
    if more:
        return f"{path}: has {more} bytes after its first {was.lines} lines, which were all: a later run's, or added"
    return None


def _check_scores(case: Case, path: str) -> Check:
    """Whether the submission has the scores of the case, row by row."""
    wanted = [["filename", "label"], *([video.video, str(video.score)] for video in case.videos)]
    problem = None
    try:
        text = read_file(path, limits.LABELS).decode("utf-8-sig", "surrogateescape")
        rows = list(csv.reader(io.StringIO(text, newline="")))
        for number, (row, right) in enumerate(zip_longest(rows, wanted), start=1):
            if row is None or row[:2] != right:  # a calibration adds columns
                problem = f"{path}: row {number} is {_row(row)}, and the case has {_row(right)}"
                break
    except (OSError, csv.Error) as error:
        problem = f"{path}: can't be read ({getattr(error, 'strerror', None) or error})"
    return Check(kind="scores", name=os.path.basename(path), problem=problem)


def _row(row: list[str] | None) -> str:
    return "missing" if row is None else reprlib.repr(row)
