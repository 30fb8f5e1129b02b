"""Results on disk: a journal that grows while a run goes on, and the files written at its end.

The journal has one JSON object a line, the first of them the settings it was made with. A line counts once its newline
is there, so a run killed at any moment loses at most the videos it was working on.
"""

import csv
import errno
import fcntl
import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

from inference.pipeline import FAILED, NO_FACE, OK, UNREADABLE, ScoredFace, VideoResult


class OutputError(Exception):
    """Results can't be written; the message names the file and the remedy."""


class Journal:
    """The finished videos of runs with the same settings, kept beside the output.

    A video is done if it was read and its file is the one of then (size and time of change). Videos that could not be
    read are tried again. Raises OutputError if another process has the journal open or it can't be written.
    """

    def __init__(self, path: str | os.PathLike, settings: dict):
        self.path = Path(path)
        self._results: dict[str, tuple[list, VideoResult]] = {}
        try:
            self._file = open(self.path, "ab+", buffering=0)  # noqa: SIM115  open until `close`
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OutputError(
                f"{path}: another run is writing the same results; wait for it or change --output"
            ) from None
        except OSError as error:
            raise OutputError(f"{path}: can't be written ({error.strerror}); change --output") from error
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
                self._take(json.loads(line))
            except (ValueError, TypeError, KeyError) as error:
                raise OutputError(f"{self.path}: line {number} is damaged; delete the file to start anew") from error
        self._file.truncate(end)
        if not end:
            self._write({"settings": settings})

    def _take(self, record: dict) -> None:
        if "video" in record:
            identity = record.pop("identity")
            faces = [ScoredFace(**{**face, "bbox": tuple(face["bbox"])}) for face in record.pop("faces")]
            self._results[record["video"]] = identity, VideoResult(**record, faces=faces)

    def done(self, video: str, path: str) -> VideoResult | None:
        """The result of a video that need not be scored again."""
        identity, result = self._results.get(video, (None, None))
        return result if result and result.status in (OK, NO_FACE) and identity == _identity(path) else None

    def add(self, result: VideoResult, path: str) -> None:
        """Write a result down."""
        self._write({**asdict(result), "identity": _identity(path)})

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
        self._file.close()


def _identity(path: str) -> list | None:
    try:
        status = os.stat(path)
    except OSError:
        return None  # no such file any more: equal to no identity of one that was read
    return [status.st_size, status.st_mtime_ns]


def fingerprint(settings: dict) -> str:
    """Eight hexadecimal digits that tell settings apart."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]


def file_digest(path: str | os.PathLike) -> str:
    """SHA-256 of a file, 16 digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


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


def check_writable(path: str | os.PathLike) -> None:
    """Fail now rather than after hours. Makes the folder; raises OutputError."""
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise OutputError(f"{path}: is a folder; name a file")
        probe = _temporary(path)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise OutputError(f"{path}: can't be written ({error.strerror}); choose another place") from error


def _write_csv(path: str | os.PathLike, header: list[str], rows: Iterable[list]) -> None:
    def write(file) -> None:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)

    _write_whole(path, write)


def _write_whole(path: str | os.PathLike, write) -> None:
    """Write a text file whole or not at all. File names that are no UTF-8 come out as the bytes they are."""
    temporary = _temporary(Path(path))
    try:
        with open(temporary, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
            write(file)
        os.replace(temporary, path)
    except OSError as error:
        raise OutputError(f"{path}: can't be written ({error.strerror}); the scores are kept in the journal") from error
    finally:
        temporary.unlink(missing_ok=True)


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")
