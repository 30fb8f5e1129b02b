"""How many CPU cores there are to use."""

import os
from pathlib import Path


def available_cores() -> int:
    """Number of CPU cores this process may use: its affinity mask, cut to a container's quota (cgroup v2)."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        if quota != "max":
            cores = min(cores, max(1, int(quota) // int(period)))
    except (OSError, ValueError):
        return cores  # no cgroup v2 here: the affinity mask is all there is to know
    return cores
