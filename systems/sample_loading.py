"""What datasets of all systems share: another sample for one that can't be read, batches, processes that load."""

from collections.abc import Callable
from typing import Any

import cv2
import torch
from torch.utils.data import default_collate

from runtime.errors import ItemError, UnreadableSamples

_MOST_BROKEN = 20  # rows after one another


def first_readable(
    index: int, count: int, make: Callable[[int], dict[str, Any]], *, place: str, remedy: str
) -> dict[str, Any]:
    """The sample that `make` gives for row `index` of `count`, or for the first one after it that can be read, with
    "row", its number, and "errors", a line for each that could not be.

    Raises UnreadableSamples where 20 rows from this one on, or all, are broken; `place` and `remedy` are for its
    message.
    """
    if not 0 <= index < count:
        raise IndexError(index)
    errors: list[str] = []
    for number in range(index, index + min(_MOST_BROKEN, count)):
        number %= count
        try:
            sample = make(number)
        except ItemError as error:
            errors.append(str(error))
            continue
        return {**sample, "row": number, "errors": errors}
    raise UnreadableSamples(
        f"{place}: {len(errors)} samples after one another can't be read, {remedy}. The first: {errors[0]}"
    )


def collate(samples: list[dict[str, Any]]) -> dict[str, Any]:
    """A batch: what samples have, stacked, `row` int64 (n,), and all errors in one list."""
    names = [name for name in samples[0] if name not in ("row", "errors")]
    batch = {name: default_collate([sample[name] for sample in samples]) for name in names}
    batch["row"] = torch.tensor([sample["row"] for sample in samples])
    batch["errors"] = [error for sample in samples for error in sample["errors"]]
    return batch


def start_worker(worker_id: int) -> None:
    """In each process that loads samples: more threads in one would only take cores from the others."""
    # in a forked worker the call would wait, for ever, for threads that its parent has started and it does not have
    if cv2.getNumThreads() != 1:
        cv2.setNumThreads(1)
