"""Results on disk: a journal that grows while a run goes on, and the files written at its end.

The journal's first record are the settings it was made with (runtime/journal.py).
"""

import hashlib
import itertools
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, asdict, fields, replace
from typing import TextIO

from inference.pipeline import FAILED, NO_FACE, OK, UNKNOWN_SCORE, UNREADABLE, VideoResult
from inference.video_facts import check_facts
from inference.video_people import Person
from runtime.csv_lines import csv_lines
from runtime.files import file_identity, whole_file, write_json
from runtime.journal import Journal
from systems.sample import FacesTable, ScoredFace

_KEPT = "the scores are kept in the journal"
_MOST = 2**31  # frames, faces, pixels
# what a user names is written where it leads to; other names are ours


class ResultsJournal:
    """The finished videos of runs with the same settings, kept beside the output; the settings are its first record.

    A video is done if it was read and its file is the one of then (size and time of change). Videos that could not be
    read are tried again. `overwrite` forgets what is there. Raises OutputError if another process has the journal open,
    if it is damaged, or if it can't be written.
    """

    def __init__(self, path: str | os.PathLike, settings: dict, overwrite: bool = False):
        self._journal = Journal(
            path,
            busy="another run is writing the same results; wait for it or change --output",
            remedy="change --output",
            overwrite=overwrite,
        )
        self._results: dict[str, VideoResult] = {}
        self._environment: dict = {}  # of the results that follow
        for number, record in enumerate(self._journal.records, start=1):
            try:
                if number == 1 and record != {"settings": settings}:
                    raise ValueError("other settings")
                if record.keys() == {"environment"}:
                    self._environment = _environment_of(record)
                elif number > 1:
                    result = _checked(record, len(settings["models"]))
                    result.environment = self._environment
                    self._results[result.video] = result
            except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
                raise self._journal.damaged(number) from error
        if not self._journal.records:
            self._journal.add({"settings": settings})

    def done(self, video: str, path: str) -> VideoResult | None:
        """The result of a video that need not be scored again."""
        result = self._results.get(video)
        if result is None or result.status not in (OK, NO_FACE):
            return None
        return result if result.identity is not None and result.identity == file_identity(path) else None

    def add(self, result: VideoResult) -> None:
        """Write a result down, and before it the environment where that is another than before."""
        if result.environment != self._environment:
            self._journal.add({"environment": result.environment})
            self._environment = result.environment
        faces = [_record_of(face) for face in result.faces]
        record = {**asdict(replace(result, faces=[])), "faces": faces}
        del record["environment"]
        self._journal.add(record)
        self._results[result.video] = result

    @property
    def journal(self) -> Journal:
        """The file itself."""
        return self._journal

    def close(self) -> None:
        """A journal without a result is not left behind."""
        if not self._results:
            self._journal.path.unlink(missing_ok=True)
        self._journal.close()


def _checked(record: dict, models: int) -> VideoResult:
    """A result from its line of the journal; an exception where the line can't have been written by `add`."""
    check_facts(record.get("source", {}))
    faces = [_face_of(face) for face in _list_of(dict, record.pop("faces"))]
    identity = record.pop("identity")
    result = VideoResult(**record, identity=None if identity is None else tuple(identity), faces=faces)
    if not isinstance(result.video, str) or not isinstance(result.error, str | None):
        raise ValueError("not a result")
    if result.status not in (OK, NO_FACE, UNREADABLE, FAILED) or not isinstance(result.at_face_limit, bool):
        raise ValueError("not a result")
    if bool(faces) != (result.status == OK) or (result.status != OK and result.score != UNKNOWN_SCORE):
        raise ValueError("a score without faces, or the other way round")
    _list_of(str, result.notes)
    last = 0 if result.last_frame is None else result.last_frame
    _check_counts(result.frames, result.frames_wanted, result.left_out, last)
    _check_scores(result.score)
    _check_scores(*_list_of(float, result.model_scores), count=models if faces else 0)
    if identity is not None:
        _check_whole(*result.identity, count=2)
    for face in faces:
        _check_counts(face.frame, face.face)
        _check_whole(*face.bbox, count=4, most=_MOST)
        if face.detector_score is not None or face.model is None:
            _check_scores(face.detector_score)
        _check_counts(*face.frames)
        if face.model is None:
            _check_scores(*_list_of(float, face.probabilities), count=models)
        else:
            _check_scores(*_list_of(float, face.probabilities), count=len(face.probabilities))
            if type(face.model) is not int or not 0 <= face.model < models or not face.probabilities:
                raise ValueError("not a model")
        _check_counts(face.step - 1)
        _check_seconds(face.seconds)
        if not isinstance(face.flipped, bool) or not isinstance(face.role, str):
            raise ValueError("not a face")
    return result


def _environment_of(record: dict) -> dict:
    if not isinstance(record["environment"], dict):
        raise ValueError("not an environment")
    return record["environment"]


_OPTIONAL = {field.name: field.default for field in fields(ScoredFace) if field.default is not MISSING}


def _record_of(face: ScoredFace) -> dict:
    """A face as the journal has it: without what is as it is for most."""
    return {name: value for name, value in asdict(face).items() if value != _OPTIONAL.get(name, MISSING)}


def _face_of(record: dict) -> ScoredFace:
    tuples = {name: tuple(record[name]) for name in ("bbox", "frames", "seconds") if name in record}
    return ScoredFace(**{**record, **tuples})


def _list_of(kind: type, value: object) -> list:
    """The value; a ValueError unless it is a list of that. Whole numbers are floats, too."""
    if not isinstance(value, list) or not all(
        isinstance(each, (int, float) if kind is float else kind) for each in value
    ):
        raise ValueError(f"not a list of {kind.__name__}")
    return value


def _check_whole(*numbers: object, count: int, most: int = 2**63 - 1) -> None:
    if len(numbers) != count or not all(type(number) is int and -most <= number <= most for number in numbers):
        raise ValueError("not whole numbers")


def _check_counts(*numbers: object) -> None:
    _check_whole(*numbers, count=len(numbers), most=_MOST)
    if min(numbers, default=0) < 0:
        raise ValueError("not counts")


def _check_seconds(seconds: tuple) -> None:
    if len(seconds) not in (0, 2) or not all(type(each) in (int, float) and 0 <= each <= _MOST for each in seconds):
        raise ValueError("not the times of a first and a last frame")


def _check_scores(*numbers: object, count: int = 1) -> None:
    if len(numbers) != count or not all(type(number) in (int, float) and 0 <= number <= 1 for number in numbers):
        raise ValueError("not scores")


def fingerprint(settings: dict) -> str:
    """Eight hexadecimal digits that tell settings apart."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]


def write_submission(
    path: str | os.PathLike,
    results: Sequence[VideoResult],
    columns: Sequence[str] = (),
    cells: Mapping[str, Sequence] | None = None,
) -> None:
    """Kaggle's format: filename,label, in the order given; then `columns`, of which `cells` are each video's."""
    more = cells or {}
    rows = ([result.video, result.score, *more.get(result.video, ())] for result in results)
    _write_csv(path, ["filename", "label", *columns], rows)


def write_faces(path: str | os.PathLike, results: Sequence[VideoResult], table: FacesTable) -> None:
    """The faces that were scored, as the system tells of them."""
    rows = ([result.video, *row] for result in results for row in table.rows(result.faces))
    _write_csv(path, ["video", *table.columns], rows)


def write_tracks(path: str | os.PathLike, people: Mapping[str, Sequence[Person]], models: Sequence[str]) -> None:
    """A row for each person of each video: when it is seen, in frames and in seconds from the first frame, the median
    of its boxes, what each model says of it, and all of them."""
    told = ("track", "first_frame", "last_frame", "first_second", "last_second", "faces")
    rows = (
        [video, *(getattr(person, name) for name in told), *person.bbox, *person.model_scores, person.score]
        for video, those in people.items()
        for person in those
    )
    _write_csv(path, ["video", *told, "x1", "y1", "x2", "y2", *models, "score"], rows)


def write_intervals(path: str | os.PathLike, people: Mapping[str, Sequence[Person]]) -> None:
    """A row for each time in which a person's score is above the threshold: seconds from the video's first frame, and
    the frames."""
    rows = (
        [video, person.track, interval.start, interval.end, interval.peak, interval.start_frame, interval.end_frame]
        for video, those in people.items()
        for person in those
        for interval in person.intervals
    )
    _write_csv(path, ["video", "track", "start", "end", "peak", "start_frame", "end_frame"], rows)


def summarise(results: Sequence[VideoResult], frames_per_video: int | None) -> dict:
    """How many videos ended how, and which: the content of the summary file. Fewer frames than `frames_per_video`, or,
    without it, than a video has, are told of."""
    read = [result for result in results if result.status in (OK, NO_FACE)]
    wanted = {result.video: frames_per_video or result.frames_wanted for result in read}
    short = [result for result in read if result.frames < wanted[result.video] and not result.at_face_limit]
    whole = {result.video for result in short if result.frames == result.frames_wanted}
    return {
        "videos": len(results),
        "scored": sum(result.status == OK for result in results),
        "no_face": [result.video for result in results if result.status == NO_FACE],
        "unreadable": {result.video: result.error for result in results if result.status == UNREADABLE},
        "failed": {result.video: result.error for result in results if result.status == FAILED},
        "fewer_frames": {result.video: result.frames for result in short if result.video not in whole},
        "short": {result.video: result.frames for result in short if result.video in whole},
        "at_face_limit": {
            result.video: {
                "faces": len(result.faces),
                "left_out": result.left_out,
                "frames": result.frames,
                "last_frame": result.last_frame,
            }
            for result in read
            if result.at_face_limit
        },
        "notes": {result.video: result.notes for result in results if result.notes},
    }


def write_summary(path: str | os.PathLike, summary: dict) -> None:
    write_json(path, summary, _KEPT, indent=2)


def _write_csv(path: str | os.PathLike, header: list[str], rows: Iterable[list]) -> None:
    _write_whole(path, lambda file: file.writelines(csv_lines(itertools.chain([header], rows))), follow=True)


def _write_whole(path: str | os.PathLike, write: Callable[[TextIO], None], *, follow: bool = False) -> None:
    """Write a text file. File names that are no UTF-8 come out as the bytes they are."""
    with (
        whole_file(path, _KEPT, follow=follow) as temporary,
        open(temporary, "w", encoding="utf-8", errors="surrogateescape", newline="") as file,
    ):
        write(file)
