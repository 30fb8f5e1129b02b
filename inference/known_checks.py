"""A machine compared with the known answers: step by step, then system by system on each engine."""

import time
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import av
import torch

from engines.choice import choose_engine
from engines.device import ChoiceError, resolve_precision
from faces import face_detector
from inference.findings import FAILED, NOT_HERE, OK, Finding, tried
from inference.known_answers import DETECT, Step, decoded, detect, difference, steps
from inference.known_scores import FixedSystem, fixed_system, largest_error, scores_of, what_is_off
from inference.made_input import COUNT, HEIGHT, WIDTH


def check_steps(answers: Mapping[str, Any], folder: Path) -> Iterator[Finding]:
    """The steps that all systems share; `folder` may be written to."""
    for step in steps():
        yield tried(step.name, partial(_look_at_step, step, answers["steps"][step.answer], folder))


def check_detectors(answers: Mapping[str, Any], device: torch.device) -> Iterator[Finding]:
    """The face detector on each engine that can be had on a device."""
    for engine in face_detector.ENGINES:
        if is_usable(engine, device):
            look = partial(_look_at_detector, engine, device, decoded(answers["detect"]))
            yield tried(f"face detector on {device.type}, {engine}", look)


def check_system(
    name: str, answers: Mapping[str, Any], video: Path, folder: Path, *, devices: list[torch.device], only_one: bool
) -> Iterator[Finding]:
    """A system with networks of fixed weights, on each engine that can be had on each device, or on the fastest of the
    first device alone, of which the speed is told. `folder` may be written to."""
    system = fixed_system(name, folder / name)
    engines = {device: system.predictor.engines_on(device) for device in devices}
    pairs = [(device, engine) for device in devices for engine in engines[device] if is_usable(engine, device)]
    for number, (device, engine) in enumerate(pairs[:1] if only_one else pairs):
        look = partial(_look_at_system, system, answers["systems"][name], video, device, engine, timed=number == 0)
        yield tried(f"{name} on {device.type}, {engine}", look)


def is_usable(engine: str, device: torch.device) -> bool:
    """Whether an engine can be had on a device."""
    try:
        choose_engine(engine, device)
    except ChoiceError:
        return False
    return True


def _look_at_step(step: Step, known: Mapping[str, Any], folder: Path) -> tuple[str, str]:
    try:
        found = step.make(folder)
    except av.codec.codec.UnknownCodecError:
        return NOT_HERE, "this FFmpeg can't write the video"
    problem = difference(found, decoded(known), step.tolerance)
    return (FAILED, problem) if problem else (OK, "as it must be")


def _look_at_detector(engine: str, device: torch.device, known: Any) -> tuple[str, str]:
    problem = difference(detect(engine, device), known, DETECT)
    return (FAILED, f"where faces are {problem}") if problem else (OK, "finds the faces where they are")


def _look_at_system(
    system: FixedSystem, known: Mapping[str, Any], video: Path, device: torch.device, engine: str, *, timed: bool
) -> tuple[str, str]:
    precision = resolve_precision("auto", device)
    opened = system.open(device, precision, engine)
    found = scores_of(system, opened, video)
    problems = what_is_off(found, known, precision)
    if problems:
        return FAILED, "; ".join(problems)
    text = f"{precision}, scores within {largest_error(found, known):.1g}"
    if timed:
        begun = time.perf_counter()
        scores_of(system, opened, video)  # again, as the first time makes things ready
        text += f"; {COUNT} frames of {WIDTH}x{HEIGHT} take {time.perf_counter() - begun:.2f} s"
    return OK, text
