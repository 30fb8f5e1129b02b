"""train_classifier.py with the toy system. The environment may send one of its processes a signal within a step:

SIGNAL="1 0 SIGTERM"    rank, number of the step from where this run begins, signal
"""

import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from systems import registry
from tests.toy_system.task import ToyTask
from training.pipelines import train_classifier

registry.SYSTEMS["toy"] = "tests.toy_system"
losses, steps = ToyTask.losses, []


def signalled(self, *args):
    rank, step, name = os.environ["SIGNAL"].split()
    if os.environ["RANK"] == rank and len(steps) == int(step):
        os.kill(os.getpid(), signal.Signals[name])
    steps.append(1)
    return losses(self, *args)


if "SIGNAL" in os.environ:
    ToyTask.losses = signalled

if __name__ == "__main__":
    sys.exit(train_classifier.main())
