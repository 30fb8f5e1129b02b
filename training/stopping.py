"""Being told to stop, and noticing that training went wrong: on all processes at the same step."""

import contextlib
import math
import signal
from collections.abc import Iterator

import torch

from engines.gpu import HostCopy
from runtime.errors import TrainingError
from systems.task import Losses
from training.processes import Processes


class StopRequest:
    """The signal that asked this process to stop, or 0."""

    def __init__(self):
        self.signal = 0

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """SIGTERM and Ctrl-C are noted, so that the step can end and be saved; a second Ctrl-C ends at once."""
        before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

        def note(number: int, _frame) -> None:
            self.signal = number
            signal.signal(signal.SIGINT, before[signal.SIGINT])

        for number in before:
            signal.signal(number, note)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


class Monitor:
    """Losses of all processes, and whether one is to stop; read one step late, so that no GPU waits for it. `remedy`
    says what to do where a loss is no number."""

    def __init__(
        self,
        processes: Processes,
        stop: StopRequest,
        remedy: str = "lower optimizer.learning_rate or use --opt-level O0, and go on from the last checkpoint",
    ):
        self._processes = processes
        self._stop = stop
        self._remedy = remedy
        self._pending: tuple[HostCopy, tuple[str, ...], str] | None = None
        self._losses: list[float] = []
        self.parts: dict[str, float] = {}  # of the newest loss that was looked at
        self.signal = 0

    def add(self, losses: Losses, where: str) -> None:
        """The losses of a step; `where` names it. Raises TrainingError for the step before."""
        self.settle()
        signals = torch.full_like(losses.total, float(self._stop.signal))
        values = torch.stack([signals, losses.total.detach(), *(part.detach() for part in losses.parts.values())])
        self._pending = HostCopy(self._processes.sum(values)), tuple(losses.parts), where

    def settle(self) -> None:
        """Look at the last step. Raises TrainingError where its loss is not a finite number, on all processes."""
        if self._pending is None:
            return
        values, names, where = self._pending
        self._pending = None
        signals, *values = values.read().tolist()
        loss, *parts = (value / self._processes.world_size for value in values)
        if not math.isfinite(loss):
            raise TrainingError(
                f"{where}: the loss is {loss}: training stopped, nothing was overwritten; {self._remedy}"
            )
        self._losses.append(loss)
        self.parts = dict(zip(names, parts, strict=True))
        if signals:
            self.signal = self._stop.signal or signal.SIGTERM

    @property
    def last(self) -> float | None:
        """The newest loss that was looked at."""
        return self._losses[-1] if self._losses else None

    @property
    def mean(self) -> float:
        return sum(self._losses) / max(len(self._losses), 1)
