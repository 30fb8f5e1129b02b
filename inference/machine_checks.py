"""What a machine has: libraries, GPU, engines, weights, memory, disk. Each check tells what it found in a line."""

import os
import re
import shutil
import sys
from collections.abc import Iterator

import torch

from engines.choice import ENGINES, choose_engine
from engines.device import ChoiceError, device_notes
from inference.findings import FAILED, NOT_HERE, OK, Finding
from inference.machine_facts import LIBRARIES, gpu_facts, version_of
from runtime.cores import available_cores
from runtime.digests import digest_of
from runtime.memory import available_memory
from runtime.processor import processor
from runtime.source_tree import ROOT
from systems.registry import SYSTEMS, checkpoint_path, published_files

_LEAST_MEMORY = 2 * 2**30  # bytes: a run with one B7 takes about one
_LEAST_DISK = 2**30
_PINNED = re.compile(r"([\w.-]+)==([\w.+-]+)")


def check_libraries() -> Finding:
    """Whether libraries have the versions that were tested together: others may score otherwise, and need not."""
    told = "".join(path.read_text(encoding="utf-8") for path in sorted(ROOT.glob("requirements*.txt")))
    pinned = {name.lower(): version for name, version in _PINNED.findall(told)}
    here = {name: version_of(name) for name in LIBRARIES}
    others = [
        f"{name} {version} (tested: {pinned[name]})"
        for name, version in here.items()
        if version and name in pinned and version.partition("+")[0] != pinned[name]
    ]
    text = f"Python {sys.version.split()[0]}, {sum(map(bool, here.values()))} of them installed"
    if not pinned:
        return Finding(check="libraries", state=OK, text=text)
    text += f", of other versions than were tested: {', '.join(others)}" if others else ", as they were tested"
    return Finding(check="libraries", state=OK, text=text)


def check_processor() -> Finding:
    """The CPU."""
    text = f"{processor().model}, {available_cores()} cores, PyTorch uses {torch.backends.cpu.get_cpu_capability()}"
    return Finding(check="processor", state=OK, text=text)


def check_gpus() -> Iterator[Finding]:
    """Each GPU; one that PyTorch can't use is a failure."""
    if not torch.cuda.is_available():
        notes = device_notes("auto", torch.device("cpu"))
        yield Finding(
            check="GPU", state=FAILED if notes else NOT_HERE, text=notes[0].removeprefix("note: ") if notes else "none"
        )
    for number in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        facts = gpu_facts(torch.device("cuda", number))
        text = (
            f"{facts['name']}, {facts['memory'] / 2**30:.0f} GiB, compute capability {facts['capability']}, "
            f"CUDA {facts['cuda']}, driver {facts['driver'] or 'unknown'}"
        )
        yield Finding(check=f"GPU {number}", state=OK, text=text)


def check_engines(device: torch.device) -> Iterator[Finding]:
    """Which engines can be had on a device, and why others can't."""
    for engine in ENGINES[1:]:
        try:
            choose_engine(engine, device)
            state, text = OK, "can be had"
        except ChoiceError as error:
            state, text = NOT_HERE, str(error).removeprefix(f"--engine {engine}: ").partition("; or use")[0]
        yield Finding(check=f"engine {engine} on {device.type}", state=state, text=text)


def check_memory() -> Finding:
    """Whether a prediction fits."""
    memory = available_memory()
    state = OK if memory >= _LEAST_MEMORY else FAILED
    text = f"{memory / 2**30:.1f} GiB" + (f", less than {_LEAST_MEMORY / 2**30:.0f} GiB" if state == FAILED else "")
    return Finding(check="memory", state=state, text=text)


def check_disk(folder: str) -> Finding:
    """Whether there is room for results."""
    free = shutil.disk_usage(folder).free
    state = OK if free >= _LEAST_DISK else FAILED
    text = f"{free / 2**30:.1f} GiB free" + (f", less than {_LEAST_DISK / 2**30:.0f} GiB" if state == FAILED else "")
    return Finding(check=f"disk of {os.path.abspath(folder)}", state=state, text=text)


def check_weights(folder: str) -> Iterator[Finding]:
    """Each published file of weights: whether it is the one that was published, where its SHA-256 is known."""
    for system in SYSTEMS:
        missing = []
        for name, known in published_files(system).items():
            path = checkpoint_path(folder, name)
            if not os.path.lexists(path):
                missing.append(name)
                continue
            yield _weights(f"weights of {system}: {name}", path, known.get("sha256"))
        if missing:
            text = f"{len(missing)} of {len(published_files(system))} files are not in {folder}"
            yield Finding(check=f"weights of {system}", state=NOT_HERE, text=text)


def _weights(check: str, path: str, published: str | None) -> Finding:
    try:
        digest = digest_of(path)
    except OSError as error:
        return Finding(check=check, state=FAILED, text=f"{path}: can't be read ({error.strerror or error})")
    text = f"{digest.bytes} bytes, SHA-256 {digest.sha256}"
    if published is None:
        return Finding(check=check, state=OK, text=f"{text}; none is published to compare it with")
    if digest.sha256 != published:
        return Finding(check=check, state=FAILED, text=f"{text}; published is {published}: get it again")
    return Finding(check=check, state=OK, text=f"{text}, as published")
