"""The trainer, whose second process finds no memory on its device in its second step."""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from systems.seferbekov import task
from training.pipelines import train_classifier

split_loss, calls = task.split_loss, []


def fail(*args, **kwargs):
    calls.append(1)
    if os.environ["RANK"] == "1" and len(calls) == 2:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
    return split_loss(*args, **kwargs)


task.split_loss = fail

if __name__ == "__main__":
    sys.exit(train_classifier.main())
