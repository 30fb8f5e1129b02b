"""Results on disk: a journal that grows while a run goes on, and the files written at its end.

The journal has one JSON object a line, the first of them the settings it was made with. A line counts once its newline
is there, so a run killed at any moment loses at most the videos it was working on.
"""

import contextlib
import csv
import errno
import fcntl
import hashlib
import io
import itertools
import json
import os
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TextIO

from inference.pipeline import FAILED, NO_FACE, OK, UNREADABLE, ScoredFace, VideoResult, file_identity
from training.zoo.checkpoints import CheckpointError


class OutputError(Exception):
    """Results can't be written; the message names the file and the remedy."""


class Journal:
    """The finished videos of runs with the same settings, kept beside the output.

    A video is done if it was read and its file is the one of then (size and time of change). Videos that could not be
    read are tried again. `overwrite` forgets what is there. Raises OutputError if another process has the journal open,
    if it is damaged, or if it can't be written.
    """

    def __init__(self, path: str | os.PathLike, settings: dict, overwrite: bool = False):
        self.path = Path(path)
        self._results: dict[str, VideoResult] = {}
        try:
            self._file = open(self.path, "ab+", buffering=0)  # noqa: SIM115  open until `close`
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OutputError(
                f"{path}: another run is writing the same results; wait for it or change --output"
            ) from None
        except OSError as error:
            raise OutputError(f"{path}: can't be written ({error.strerror}); change --output") from error
        if overwrite:
            self._file.truncate(0)
        self._load(settings)

    def _load(self, settings: dict) -> None:
        """Read what is there, cut off a line that was not finished, and begin a new journal with the settings."""
        self._file.seek(0)
        end = 0
        for number, line in enumerate(self._file.read().splitlines(keepends=True), start=1):
            if not line.endswith(b"\n"):
                break
            end += len(line)
            try:
                record = json.loads(line)
                if number == 1 and record != {"settings": settings}:
                    raise ValueError("other settings")
                if number > 1:
                    self._results[record["video"]] = _checked(record)
            except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
                raise OutputError(f"{self.path}: line {number} is damaged; delete the file to start anew") from error
        self._file.truncate(end)
        if not end:
            self._write({"settings": settings})

    def done(self, video: str, path: str) -> VideoResult | None:
        """The result of a video that need not be scored again."""
        result = self._results.get(video)
        if result is None or result.status not in (OK, NO_FACE):
            return None
        return result if result.identity is not None and result.identity == file_identity(path) else None

    def add(self, result: VideoResult) -> None:
        """Write a result down."""
        self._write(asdict(result))
        self._results[result.video] = result

    def _write(self, record: dict) -> None:
        line = json.dumps(record).encode() + b"\n"
        end = self._file.seek(0, os.SEEK_END)
        try:
            if self._file.write(line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            self._file.truncate(end)
            raise OutputError(f"{self.path}: can't be written ({error.strerror}); what was written is kept") from error

    def close(self) -> None:
        """A journal without a result is not left behind."""
        if not self._results:
            self.path.unlink(missing_ok=True)
        self._file.close()


def _checked(record: dict) -> VideoResult:
    """A result from its line of the journal; an exception where the line can't have been written by `add`."""
    faces = [ScoredFace(**{**face, "bbox": tuple(face["bbox"])}) for face in record.pop("faces")]
    identity = record.pop("identity")
    result = VideoResult(**record, identity=None if identity is None else tuple(identity), faces=faces)
    numbers = [result.score, *result.model_scores]
    for face in faces:
        numbers += [face.detector_score, *face.probabilities]
        if not all(type(value) is int for value in (face.frame, face.face, *face.bbox)) or len(face.bbox) != 4:
            raise ValueError("not a face")
    if not all(type(number) in (int, float) and 0 <= number <= 1 for number in numbers):
        raise ValueError("not a score")
    if result.status not in (OK, NO_FACE, UNREADABLE, FAILED) or type(result.frames) is not int:
        raise ValueError("not a result")
    return result


def fingerprint(settings: dict) -> str:
    """Eight hexadecimal digits that tell settings apart."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]


def file_digest(path: str | os.PathLike) -> str:
    """SHA-256 of a checkpoint, 16 digits. Raises CheckpointError where it can't be read."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:16]
    except OSError as error:
        raise CheckpointError(path, f"can't be opened ({error.strerror})") from error


def write_submission(path: str | os.PathLike, results: Sequence[VideoResult]) -> None:
    """Kaggle's format: filename,label, in the order given."""
    _write_csv(path, ["filename", "label"], ([result.video, result.score] for result in results))


def write_faces(path: str | os.PathLike, results: Sequence[VideoResult], models: Sequence[str]) -> None:
    """A row for each face that was scored, with its box in pixels of the frame (without the margin of the crop)."""
    header = ["video", "frame", "face", "x1", "y1", "x2", "y2", "detector_score", *models]
    rows = (
        [result.video, face.frame, face.face, *face.bbox, face.detector_score, *face.probabilities]
        for result in results
        for face in result.faces
    )
    _write_csv(path, header, rows)


def summarise(results: Sequence[VideoResult], frames_wanted: int) -> dict:
    """How many videos ended how, and which: the content of the summary file."""
    return {
        "videos": len(results),
        "scored": sum(result.status == OK for result in results),
        "no_face": [result.video for result in results if result.status == NO_FACE],
        "unreadable": {result.video: result.error for result in results if result.status == UNREADABLE},
        "failed": {result.video: result.error for result in results if result.status == FAILED},
        "fewer_frames": {
            result.video: result.frames
            for result in results
            if result.status in (OK, NO_FACE) and result.frames < frames_wanted and not result.at_face_limit
        },
    }


def write_summary(path: str | os.PathLike, summary: dict) -> None:
    _write_whole(path, lambda file: json.dump(summary, file, indent=2))


def check_outputs(outputs: dict[str, str | os.PathLike], inputs: Iterable[str | os.PathLike]) -> None:
    """Fail now rather than after hours. Makes the folders of `outputs` (by flag); raises OutputError where one can't be
    written, is no regular file, is an input, or is another output."""
    taken = {os.path.realpath(path): f"is an input, {path}" for path in inputs}
    for flag, path in outputs.items():
        target = Path(os.path.realpath(path))
        if str(target) in taken:
            raise OutputError(f"{flag} {path}: {taken[str(target)]}; choose another place")
        taken[str(target)] = f"is written by {flag} too"
        try:
            if target.is_dir():
                raise OutputError(f"{flag} {path}: is a folder; name a file")
            if target.exists() and not target.is_file():
                raise OutputError(f"{flag} {path}: is not a regular file; choose another place")
            target.parent.mkdir(parents=True, exist_ok=True)
            probe = _temporary(target)
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise OutputError(f"{flag} {path}: can't be written ({error.strerror}); choose another place") from error


def _write_csv(path: str | os.PathLike, header: list[str], rows: Iterable[list]) -> None:
    def write(file) -> None:
        line = io.StringIO()
        writer = csv.writer(
            line
        )  # ends lines with CR LF, and so quotes names that hold either; files get LF, as pandas'
        for row in itertools.chain([header], rows):
            writer.writerow(row)
            file.write(line.getvalue().removesuffix("\r\n") + "\n")
            line.seek(0)
            line.truncate()

    _write_whole(path, write)


def _write_whole(path: str | os.PathLike, write: Callable[[TextIO], None]) -> None:
    """Write a text file whole or not at all. File names that are no UTF-8 come out as the bytes they are."""
    target = Path(os.path.realpath(path))
    temporary = _temporary(target)
    try:
        with open(temporary, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
            write(file)
        os.replace(temporary, target)
    except OSError as error:
        raise OutputError(f"{path}: can't be written ({error.strerror}); the scores are kept in the journal") from error
    finally:
        with contextlib.suppress(FileNotFoundError):  # it has its name by now
            temporary.unlink()


def _temporary(path: Path) -> Path:
    return path.with_name(f".{zlib.crc32(path.name.encode(errors='surrogateescape')):08x}.{os.getpid()}.tmp")
