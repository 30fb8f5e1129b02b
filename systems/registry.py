"""The systems by name, and which of them checkpoints are of.

A system's folder has a module `system`: `add_flags(group)` adds the flags of predict_folder.py that are its own to a
group of argparse, `OPTIONS` names them, and `predictor(options, weights_dir)` makes a `systems.system.Predictor` of
those that were given. One that can be trained has a module `task` (systems/task.py), one whose scores can be explained
by gradients a module `heat` (systems/heat.py).
"""

import argparse
import importlib
import importlib.util
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from runtime import limits
from runtime.errors import InputError
from runtime.files import read_json
from systems import DEFAULT
from systems.checkpoints import read_checkpoint, shown
from systems.system import Predictor, refuse_others_flags
from systems.task import Asked, Task
from systems.tracks import PERSON

SYSTEMS = {name: f"systems.{name}" for name in ("seferbekov", "ntechlab", "medics")}  # their folders, as packages
_PUBLISHED = Path(__file__).resolve().parents[1] / "configs" / "published"


def load_predictor(system: str, given: Mapping[str, Any], weights_dir: str) -> Predictor:
    """A system by name, with the options that were given. Raises InputError for one that is not its own, or does not
    fit."""
    module = _module(system)
    if "strategy" in given and "strategy" not in module.OPTIONS:
        if given["strategy"] != PERSON:
            raise InputError(f"--strategy {given['strategy']}: system {system} has one rule of its own, and {PERSON}")
        given = {name: value for name, value in given.items() if name != "strategy"}
    refuse_others_flags(system, module.OPTIONS, given)
    return module.predictor(given, weights_dir)


def strategies() -> list[str]:
    """All that --strategy takes: the rules of systems that have several, and the one by person, which each has."""
    return [*(name for system in SYSTEMS for name in getattr(_module(system), "STRATEGIES", ())), PERSON]


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of predict_folder.py that are one system's, None where they are not given."""
    for system in SYSTEMS:
        _module(system).add_flags(parser.add_argument_group(f"of system {system}"))


def options_of(args: argparse.Namespace) -> dict[str, Any]:
    """Those of them that were given."""
    names = option_names()
    return {name: value for name, value in vars(args).items() if name in names and value is not None}


def option_names() -> set[str]:
    """All of them, by their names in what argparse makes."""
    return {"strategy"}.union(*(_module(system).OPTIONS for system in SYSTEMS))


def system_of(folder: str, names: Sequence[str]) -> str:
    """The one system that checkpoint files in `folder` are of: by their published names, or by what they say. Files
    that say nothing are the winner's. Raises InputError where they are of several, CheckpointError where one can't be
    read."""
    published = {name: system for system in SYSTEMS for name in published_files(system)}
    found = {name: published.get(name) or _described(checkpoint_path(folder, name)) for name in names}
    systems = sorted(set(found.values()))
    if len(systems) > 1:
        several = "; ".join(f"{name}: {system}" for name, system in found.items())
        raise InputError(f"--models: are of several systems ({several}); give those of one")
    return systems[0]


def checkpoint_path(folder: str, name: str) -> str:
    """Where a checkpoint lies, by its name: some were published as a file in a folder that is named."""
    for system in SYSTEMS:
        file = published_files(system).get(name, {}).get("file")
        if file and os.path.isdir(os.path.join(folder, name)):
            return os.path.join(folder, name, file)
    return os.path.join(folder, name)


def published_path(system: str) -> Path:
    """What is known of a system's published files, where there are any."""
    return _PUBLISHED / f"{system}.json"


def published_files(system: str) -> dict[str, Any]:
    """What is known of a system's published files, by name."""
    path = published_path(system)
    return read_json(path, limits.CONFIG)["files"] if path.is_file() else {}


def published_from(system: str) -> str:
    """Where a system's published files came from, in words."""
    return read_json(published_path(system), limits.CONFIG)["from"]


def heat_module(system: str) -> ModuleType | None:
    """How a system's scores are explained by gradients (systems/heat.py); None where they can't be."""
    name = f"{SYSTEMS[system]}.heat"
    return importlib.import_module(name) if importlib.util.find_spec(name) else None


def task_module(system: str) -> ModuleType:
    """How a system is trained."""
    return importlib.import_module(f"{SYSTEMS[system]}.task")


def add_training_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of the trainer that are one system's, None where they are not given."""
    for system in SYSTEMS:
        task_module(system).add_flags(parser.add_argument_group(f"of system {system}"))


def create_task(config: Any, asked: Asked, args: argparse.Namespace) -> Task:
    """What a configuration trains, with its system's flags of those that were given. Raises InputError for a flag that
    is another system's."""
    names = {name for system in SYSTEMS for name in task_module(system).OPTIONS}
    given = {name: value for name, value in vars(args).items() if name in names and value is not None}
    module = task_module(config.system)
    refuse_others_flags(config.system, module.OPTIONS, given)
    return module.create_task(config, asked, given)


def _module(system: str) -> ModuleType:
    return importlib.import_module(f"{SYSTEMS[system]}.system")


def _described(path: str) -> str:
    system = read_checkpoint(path, weights=False).get("system", DEFAULT)
    if not isinstance(system, str) or system not in SYSTEMS:
        raise InputError(f"{path}: system {shown(system)!r} is unknown; known: {', '.join(SYSTEMS)}")
    return system
