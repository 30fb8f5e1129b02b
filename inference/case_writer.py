"""Writing the case of a prediction that has ended (case.py)."""

import hashlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from inference.case import CASE, ELSEWHERE, PROJECT, WEIGHTS, sealed
from inference.pipeline import VideoResult
from runtime.digests import Digest, digest_of
from runtime.errors import OutputError
from runtime.files import whole_file
from runtime.journal import Journal
from runtime.source_tree import ROOT

_REMEDY = "the scores are kept in the journal; choose another --case"


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A file of weights by its name in the command, where it lies, and what it holds."""

    name: str
    path: str
    digest: Digest


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def write_case(
    path: str | os.PathLike,
    *,
    started: str,
    repeat: Mapping[str, Any],
    settings: Mapping[str, Any],
    weights_folder: str,
    weights: Sequence[Checkpoint],
    inputs: Mapping[str, str],
    videos_folder: str,
    results: Sequence[VideoResult],
    outputs: Mapping[str, str],
    journal: Journal,
) -> None:
    """Write the case of a prediction that has ended. `inputs` and `outputs` are paths by what they are to the command;
    the case itself and the journal among these are passed over. Raises OutputError, also for a file that can't be read
    any more."""
    folder = os.path.dirname(os.path.realpath(path))
    apart = {os.path.realpath(each) for each in (path, journal.path)}
    written = {what: each for what, each in outputs.items() if os.path.realpath(each) not in apart}
    videos = [_video(result) for result in results]
    content = {
        "format": 1,
        "repeat": dict(repeat),
        "settings": dict(settings),
        "environments": {environment_id(each.environment): each.environment for each in results if each.environment},
        "weights": [
            {"what": each.name, **_place(each.path, weights_folder), **asdict(each.digest)} for each in weights
        ],
        "inputs": [{"what": what, **_place(each, weights_folder), **_content(each)} for what, each in inputs.items()],
        "videos": videos,
        "run": {
            "command": [os.path.basename(sys.argv[0]), *sys.argv[1:]],
            "started": started,
            "ended": now(),
            "videos_folder": os.path.abspath(videos_folder),
            "weights_folder": os.path.abspath(weights_folder),
            "outputs": [
                {"what": what, "of": CASE, "path": os.path.relpath(os.path.realpath(each), folder), **_content(each)}
                for what, each in written.items()
            ],
            "journal": _journal(journal, folder),
        },
    }
    with whole_file(path, _REMEDY) as temporary:
        temporary.write_bytes(sealed(_text(content)).encode())


def environment_id(environment: Mapping[str, Any]) -> str:
    """Sixteen hexadecimal digits that tell environments apart."""
    return hashlib.sha256(json.dumps(environment, sort_keys=True).encode()).hexdigest()[:16]


def _text(content: Mapping[str, Any]) -> str:
    """As JSON, with a line for each key, and for each video."""
    lines = []
    for key, value in content.items():
        if key == "videos":
            rows = ",\n".join(f"  {json.dumps(each)}" for each in value)
            text = f"[\n{rows}\n ]"
        else:
            text = json.dumps(value, indent=1).replace("\n", "\n ")
        lines.append(f" {json.dumps(key)}: {text}")
    return "{\n" + ",\n".join(lines) + "\n}"


def _video(result: VideoResult) -> dict[str, Any]:
    source = result.source
    return {
        "video": result.video,
        "status": result.status,
        "score": result.score,
        "model_scores": result.model_scores,
        "file": source.get("file"),
        "environment": environment_id(result.environment) if result.environment else None,
        "stream": source.get("stream", {}),
        "frames": source.get("frames", []),
        "times": source.get("times", []),
        "notes": result.notes,
        "error": result.error,
    }


def _place(path: str, weights_folder: str) -> dict[str, str]:
    """Where a file lies, from the folder that goes with it."""
    path = os.path.abspath(path)
    for of, folder in ((WEIGHTS, os.path.abspath(weights_folder)), (PROJECT, str(ROOT))):
        if Path(path).is_relative_to(folder):
            return {"of": of, "path": os.path.relpath(path, folder)}
    return {"of": ELSEWHERE, "path": path}


def _content(path: str) -> dict[str, Any]:
    try:
        return asdict(digest_of(path))
    except OSError as error:
        raise OutputError(f"{path}: can't be read ({error.strerror}); it was there when the run began") from error


def _journal(journal: Journal, folder: str) -> dict[str, Any] | None:
    if not journal.path.exists():  # where not one video has a result it is not left behind
        return None
    path = os.path.relpath(os.path.realpath(journal.path), folder)
    return {"path": path, "lines": journal.lines, "chain": journal.chain}
