"""What the processor is, as Linux tells."""

import platform
from dataclasses import dataclass
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")


@dataclass(frozen=True, kw_only=True)
class Processor:
    """The name of its model, and its features as Linux names them; none where /proc tells nothing."""

    model: str
    features: frozenset[str]


def processor() -> Processor:
    """Of the first core; where there is no /proc, what Python knows."""
    told: dict[str, str] = {}
    try:
        for line in _CPUINFO.read_text(errors="replace").splitlines():
            name, _, value = line.partition(":")
            told.setdefault(name.strip(), value.strip())
    except OSError:
        return Processor(model=platform.processor() or platform.machine(), features=frozenset())
    model = told.get("model name") or told.get("CPU part") or platform.machine()
    return Processor(model=model, features=frozenset((told.get("flags") or told.get("Features") or "").split()))
