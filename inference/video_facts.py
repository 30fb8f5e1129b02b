"""What is written down of how a video was read: its stream, the frames that were looked at, and when they are shown. It
goes with the video's result, so that a run which is gone on with keeps what was true when it was scored."""

import json
from collections.abc import Sequence
from typing import Any

from systems.sample import Account, Sample

_MOST_FRAMES = 2**23  # that a record may tell of: twice what a video may have
_MOST_TEXT = 2**16  # characters of the JSON of all but the frames


def read_facts(account: Account, samples: Sequence[Sample]) -> dict[str, Any]:
    """Of a video, as far as it was read: "stream" (faces/stream_facts.py), "frames" (the indices of those that were
    searched, or that a sample came from, ascending) and "times" (when each is shown, in seconds of the file's own
    clock; None where its timestamps don't tell). Empty where nothing could be read."""
    if account.info is None or not account.info.stream:
        return {}
    frames = sorted({*account.searched, *(index for sample in samples for index in sample.frames)})
    times = account.info.times
    shown = [round(float(times[index]), 9) if index < len(times) else None for index in frames]
    return {"stream": account.info.stream, "frames": frames, "times": shown}


def check_facts(source: Any) -> None:
    """Raises ValueError for what `read_facts` and `recorded` can't have made."""
    if not isinstance(source, dict) or not source.keys() <= {"stream", "frames", "times", "file"}:
        raise ValueError("not facts of a video")
    frames, times = source.get("frames", []), source.get("times", [])
    if not isinstance(frames, list) or not isinstance(times, list) or len(frames) != len(times):
        raise ValueError("not frames and their times")
    if len(frames) > _MOST_FRAMES or not all(type(index) is int and 0 <= index < _MOST_FRAMES for index in frames):
        raise ValueError("not indices of frames")
    if not all(time is None or (type(time) in (int, float) and abs(time) < 1e15) for time in times):
        raise ValueError("not times")
    file = source.get("file")
    if file is not None and not is_digest(file):
        raise ValueError("not a file's size and SHA-256")
    if not isinstance(source.get("stream", {}), dict) or len(json.dumps(source.get("stream"))) > _MOST_TEXT:
        raise ValueError("not facts of a stream")


def is_digest(value: Any) -> bool:
    """Whether it is {"bytes": a count, "sha256": 64 hexadecimal digits}, with or without more."""
    if not isinstance(value, dict) or type(value.get("bytes")) is not int or value["bytes"] < 0:
        return False
    sha256 = value.get("sha256")
    return isinstance(sha256, str) and len(sha256) == 64 and set(sha256) <= set("0123456789abcdef")
