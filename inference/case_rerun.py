"""Some videos of a case scored again, by the command that made it, and compared within what its engine promises."""

import contextlib
import hashlib
import os
import subprocess
import sys
import tempfile
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from engines import onnxruntime_engine
from engines.choice import usable_engines
from inference.case import WEIGHTS, Case, CaseVideo, read_case
from inference.case_check import Check, Places, path_in
from inference.pipeline import NO_FACE, OK
from runtime.errors import InputError
from runtime.source_tree import ROOT
from systems.registry import DEFAULT, option_names, options_of

# How far the score of a video may move between two machines, by precision: above the largest moves that were measured
# between engines, and between them and the published pipelines (docs/figures.md, docs/gpu.md, benchmarks/README.md).
TOLERANCES = {"fp32": 0.001, "fp16": 0.01, "bf16": 0.025}
_CHOSEN = ("device", "precision", "engine", "batch_size")
# of a flag: together far less than the 2 MB that Linux lets a command have
_MOST_VALUES = 200
_LONGEST_WORD = 4200  # bytes: a path has 4095 at most
_OF_TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")


def repeatable(args: Namespace, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The flags of predict_folder.py that make the same scores again, by their names in `args`: what was chosen by
    itself is named, as `settings` has it."""
    chosen = {name: settings[name] for name in _CHOSEN}
    return {"system": settings.get("system", DEFAULT), "models": args.models, **chosen, **options_of(args)}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How videos of a case are scored again here: the flags, how far scores may move, and what is another than it was,
    in sentences."""

    flags: list[str]
    tolerance: float
    notes: list[str]


def plan_rerun(case: Case, places: Places) -> Plan:
    """By what was recorded, as far as it can be had on this machine. Raises InputError for a case that does not fit."""
    asked = case.repeat
    if strange := [name for name in asked if name not in {"system", "models", *_CHOSEN, *option_names()}]:
        raise InputError(f"repeat.{strange[0]:.80}: is no flag by which scores are made")
    precision, engine, device = (str(asked.get(name)) for name in ("precision", "engine", "device"))
    if precision not in TOLERANCES:
        raise InputError(f"repeat.precision: {precision[:40]!r}: not one of {', '.join(TOLERANCES)}")
    flags = {name: value for name, value in asked.items() if name not in ("device", "precision", "engine")}
    if isinstance(asked.get("models"), list):
        flags["models"] = _models(case, places)
    for file in case.inputs:
        option = file.what.removeprefix("--").replace("-", "_")
        if option in flags:
            flags[option] = places.of_file(case, file)
    notes = []
    here = torch.device("cuda" if device == "cuda" and torch.cuda.is_available() else "cpu")
    if here.type == device:
        flags["precision"] = precision
    else:
        notes.append(f"it was scored on {device[:40]}, which is not here: the CPU does it")
        flags["batch_size"] = None
    flags["device"] = here.type
    usable = usable_engines(here) + ([] if onnxruntime_engine.why_not(here) else ["onnxruntime"])
    if here.type == device and engine in usable:  # one of the same name on another runs other systems
        flags["engine"] = engine
    else:
        notes.append(f"engine {engine[:40]} can't be had here: the best that can does it")
    given = [text for name, value in flags.items() if value is not None for text in _flag(name, value)]
    given += _flag("weights_dir", places.weights_of(case))
    return Plan(flags=given, tolerance=TOLERANCES[precision], notes=notes)


def _models(case: Case, places: Places) -> list[str]:
    """The checkpoints by names that can be given again: those that are not in the folder of the weights by where they
    are now, and one that begins with a dash so that it is no flag."""
    elsewhere = {
        file.what: os.path.abspath(places.of_weight(case, file)) for file in case.weights if file.of != WEIGHTS
    }
    names = [elsewhere.get(str(name), str(name)) for name in case.repeat["models"]]
    return [os.path.join(os.curdir, name) if name.startswith("-") else name for name in names]


def choose_videos(case: Case, count: int, seed: int) -> list[CaseVideo]:
    """Some of the videos that could be read, by seed and name alone."""

    def draw(video: CaseVideo) -> str:
        return hashlib.sha256(f"{seed}/{video.video}".encode(errors="surrogatepass")).hexdigest()

    readable = [video for video in case.videos if video.status in (OK, NO_FACE)]
    return sorted(readable, key=draw)[:count]


def rerun(case: Case, places: Places, videos: Sequence[CaseVideo], plan: Plan) -> Iterator[Check]:
    """Score videos again, and tell of each how the score differs. Raises InputError where the command fails; it tells
    why itself."""
    with tempfile.TemporaryDirectory(prefix="rerun-") as folder:
        links, made = Path(folder, "videos"), Path(folder, "again.case.json")
        links.mkdir()
        for video in videos:
            path = path_in(places.videos_of(case), video.video)
            if path is None:
                raise InputError(f"videos: {video.video!r:.80}: is no name of a file")
            try:
                os.symlink(os.path.abspath(path), links / video.video)
            except (OSError, ValueError) as error:  # too long a name, or one that is no text
                reason = getattr(error, "strerror", None) or error
                raise InputError(f"videos: {video.video!r:.80}: can't be scored again ({reason})") from error
        command = [sys.executable, str(ROOT / "predict_folder.py"), *plan.flags, *_flag("test_dir", str(links))]
        command += [*_flag("output", f"{folder}/again.csv"), *_flag("case", str(made))]
        alone = {name: value for name, value in os.environ.items() if name not in _OF_TORCHRUN}
        if subprocess.run(command, stdout=subprocess.DEVNULL, env=alone).returncode and not made.exists():
            raise InputError("the videos can't be scored again: see the error above")
        again = {video.video: video for video in read_case(made).videos}
    for video in videos:
        yield Check(kind="rerun", name=video.video, problem=_moved(video, again.get(video.video), plan.tolerance))


def _moved(video: CaseVideo, again: CaseVideo | None, tolerance: float) -> str | None:
    if again is None:
        return "is no video by its name"
    if again.status != video.status:
        return f"is {again.status} now, and was {video.status}"
    if abs(again.score - video.score) > tolerance:
        frames = "the same frames" if (again.frames, again.times) == (video.frames, video.times) else "other frames"
        return f"its score is {again.score}, and was {video.score}: more than {tolerance} apart, of {frames}"
    return None


def _flag(name: str, value: Any) -> list[str]:
    """As the command takes it: a switch, one value, or several. Raises InputError for what can't be given, or would be
    another flag."""
    flag = f"--{name.replace('_', '-')}"
    if value is True:
        return [flag]
    if not isinstance(value, list):
        return [_word(name, f"{flag}={value}")]
    values = [_word(name, str(each)) for each in value]
    if not values or any(each.startswith("-") for each in values):
        raise InputError(f"repeat.{name}: {values!r:.80}: no values of that flag")
    if len(values) > _MOST_VALUES:
        raise InputError(f"repeat.{name}: has {len(values)} values, more than the {_MOST_VALUES} that it may have")
    return [flag, *values]


def _word(name: str, word: str) -> str:
    """Raises InputError for what no command can be given."""
    with contextlib.suppress(UnicodeEncodeError):
        if b"\0" not in (given := os.fsencode(word)) and len(given) <= _LONGEST_WORD:
            return word
    raise InputError(f"repeat.{name}: {word!r:.80}: too long for a command, or no text that it can be given")
