"""The tests. Where several processes run them (pytest-xdist), each computes on its share of the cores: OpenMP's threads
wait for one another in loops, and where there are more than cores they take ten times as long."""

import os

from runtime.cores import available_cores

_workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 1))
if _workers > 1:
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, available_cores() // _workers)))
