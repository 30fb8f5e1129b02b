"""Loaders of samples: batches that are given, worker processes that a signal for the trainer does not end."""

import multiprocessing
import signal
from collections.abc import Iterator
from typing import Any

from torch.utils.data import DataLoader, Dataset

from runtime.errors import InputError, TrainingError
from runtime.workers import end_with_parent, fork_server
from systems.sample_loading import collate, start_worker

_LOOP = "training.loop"  # each worker imports the script that is run, and that imports this
_LEAST_BROKEN, _BROKEN_SHARE = 10, 0.01  # of an epoch's rows that may be unreadable, whichever is more


def create_loader(dataset: Dataset, batches: list[list[int]], *, workers: int, pin_memory: bool) -> DataLoader:
    """`batches` are indices into the dataset. Workers are forked from a server, which has imported what they need: a
    fork of a process that has used threads (OpenCV's, OpenMP's) or a GPU may hang."""
    return DataLoader(
        dataset,
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=collate,
        pin_memory=pin_memory,
        worker_init_fn=_start_worker,
        prefetch_factor=4 if workers else None,
        multiprocessing_context=fork_server([_LOOP, type(dataset).__module__]) if workers else None,
    )


def batches_of(loader: DataLoader) -> Iterator[dict[str, Any]]:
    """The loader's batches. Raises TrainingError where one of its processes was killed, by which others may hang."""
    try:
        yield from loader
    except (RuntimeError, OSError, EOFError) as error:
        if not _tells_of_a_lost_process(error):
            raise
        for worker in multiprocessing.active_children():
            worker.kill()  # they do not hear SIGTERM
        raise TrainingError(
            "a process that loads samples was killed; the system may be out of memory: use fewer --workers, and go on "
            "with --resume auto"
        ) from error


def _tells_of_a_lost_process(error: Exception) -> bool:
    """The loader says so itself, or finds nobody who would hand over a tensor. What a process raised begins with
    "Caught"."""
    told = str(error)
    return told.startswith("DataLoader worker") if isinstance(error, RuntimeError) else not told.startswith("Caught ")


def _start_worker(worker_id: int) -> None:
    """Schedulers and Ctrl-C signal whole process groups: the trainer still needs its workers to end its step."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    end_with_parent()
    start_worker(worker_id)


class BrokenSamples:
    """Samples that could not be read and were replaced by others: a few are counted, more are an error."""

    def __init__(self, rows: int):
        self._most = max(_LEAST_BROKEN, int(rows * _BROKEN_SHARE))
        self.errors: dict[str, None] = {}  # each once, in order

    def add(self, errors: list[str]) -> None:
        """Raises InputError when there are too many."""
        self.errors.update(dict.fromkeys(errors))
        if len(self.errors) > self._most:
            raise InputError(
                f"{len(self.errors)} samples can't be read, more than the {self._most} that may be left out; "
                f"the first: {next(iter(self.errors))}"
            )
