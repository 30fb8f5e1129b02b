"""The case file: what a prediction was made of and with, so that its scores can be checked years later (verify.py).

JSON, a line for each video. What differs between two runs of the same case is under "run"; "seal" is the SHA-256 of the
bytes before it and of the closing line, which shows damage, and no forgery: note the SHA-256 of the whole file
elsewhere. case_writer.py writes it; docs/cases.md tells a person of it.
"""

import hashlib
import json
import os
import re
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from runtime import limits
from runtime.errors import InputError
from runtime.files import read_file
from systems.config import Strict

_MOST = 256 * limits.MIB  # of a case: a hundred thousand videos with what was read of them
_END = "\n}"
_SEALED = re.compile(rb',\n "seal": "([0-9a-f]{64})"\n\}\n\Z')

Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0, lt=2**63)]
WEIGHTS, PROJECT, CASE, ELSEWHERE = "weights", "project", "case", "elsewhere"


class Content(Strict):
    """What a file holds."""

    bytes: Count
    sha256: Sha256


class CaseFile(Content):
    """A file, `what` it is to the command, and where it lies: `path` from the folder `of`, which is that of the
    weights, the project's or the case's; or, absolute, elsewhere."""

    what: str
    of: Literal["weights", "project", "case", "elsewhere"]
    path: str


class CaseVideo(Strict):
    """As `inference.pipeline.VideoResult` and inference/video_facts.py; `environment` is one of the case's, None for a
    video that was scored before there were any."""

    video: str
    status: str
    score: float
    model_scores: list[float]
    file: Content | None
    environment: str | None
    stream: dict[str, Any]
    frames: list[Count]
    times: list[float | None]
    notes: list[str]
    error: str | None


class CaseJournal(Strict):
    """How far the journal went: its path from the case's folder, its lines, and the chain after the last of them."""

    path: str
    lines: Count
    chain: Sha256


class CaseRun(Strict):
    """What may be another in each run: the command, times (UTC, ISO 8601), where videos and weights lay, the files that
    it wrote, and the journal, whose lines come in the order in which videos were finished."""

    command: list[str]
    started: str
    ended: str
    videos_folder: str
    weights_folder: str
    outputs: list[CaseFile]
    journal: CaseJournal | None


class Case(Strict):
    """`repeat` holds the flags by which scores are made again, `environments` what they were made with
    (inference/machine_facts.py), `settings` what the journal has."""

    format: Literal[1]
    repeat: dict[str, Any]
    settings: dict[str, Any]
    environments: dict[str, dict[str, Any]]
    weights: list[CaseFile]
    inputs: list[CaseFile]
    videos: list[CaseVideo]
    run: CaseRun


def sealed(text: str) -> str:
    """The text of a JSON object, which ends with a line of its own for the brace, with its seal."""
    seal = hashlib.sha256(text.encode()).hexdigest()
    return f'{text.removesuffix(_END)},\n "seal": "{seal}"\n}}\n'


def read_case(path: str | os.PathLike) -> Case:
    """Read a case file. Raises InputError where it can't be read, is damaged, or is none."""
    try:
        data = read_file(path, _MOST)
        seal = _SEALED.search(data)
        if seal is None:
            raise InputError(f"{path}: is no case file, or is cut: it does not end with its seal")
        if hashlib.sha256(data[: seal.start()] + _END.encode()).hexdigest() != seal[1].decode():
            raise InputError(f"{path}: was changed after it was written: its content does not fit its seal")
        content = json.loads(data)
        del content["seal"]
        case = Case(**content)
    except OSError as error:
        raise InputError(f"{path}: can't be read ({error.strerror}); name a case file") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise InputError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}; it is no case file") from error
    except (ValueError, TypeError, RecursionError) as error:
        raise InputError(f"{path}: is no case file ({error})") from error
    if contradiction := _contradiction(case):
        raise InputError(f"{path}: {contradiction}; it is no case file")
    return case


def _contradiction(case: Case) -> str | None:
    """What no run can have written, though each value is of its kind."""
    seen = set()
    for video in case.videos:
        if video.video in seen:
            return f"videos: {video.video!r:.80} is there twice"
        if video.environment is not None and video.environment not in case.environments:
            return f"videos: {video.video!r:.80}: environment {video.environment!r:.40} is none of environments"
        seen.add(video.video)
    return None


def first_difference(case: Case, other: Case) -> str | None:
    """The first thing in which two cases differ, but for their runs; None where they are equal. Raises InputError for
    one that holds lists in lists without end."""
    try:
        return _differs(case.model_dump(exclude={"run"}), other.model_dump(exclude={"run"}), "")
    except (RecursionError, ValueError) as error:
        raise InputError(f"the cases can't be compared: too deep ({error})") from error


def _differs(one: Any, other: Any, where: str) -> str | None:
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        parts = ((one[key], other[key], f"{where}.{key}" if where else key) for key in one)
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        names = [each.get("video", number) if isinstance(each, dict) else number for number, each in enumerate(one)]
        parts = ((a, b, f"{where}[{name}]") for a, b, name in zip(one, other, names, strict=True))
    else:
        return None if one == other else f"{where}: {_short(one)}, and {_short(other)}"
    return next((found for part in parts if (found := _differs(*part))), None)


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
