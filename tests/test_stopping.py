"""Losses that are watched and signals that are noted."""

import os
import signal

import pytest
import torch

from runtime.errors import TrainingError
from systems.task import Losses
from training.processes import Processes
from training.stopping import Monitor, StopRequest


@pytest.fixture
def stop():
    return StopRequest()


@pytest.fixture
def monitor(stop):
    return Monitor(Processes(), stop)


def add(monitor, fake, real, where="epoch 0, step 0"):
    parts = {"fake": torch.tensor(fake), "real": torch.tensor(real)}
    monitor.add(Losses(total=sum(parts.values()) / 2, parts=parts), where)


def test_a_loss_is_known_one_step_later(monitor):
    add(monitor, 1.0, 3.0)
    assert monitor.last is None
    add(monitor, 1.0, 1.0)
    assert monitor.last == 2 and monitor.parts == {"fake": 1, "real": 3}
    monitor.settle()
    assert monitor.last == 1 and monitor.mean == 1.5
    monitor.settle()  # there is nothing more
    assert monitor.mean == 1.5


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_stops_training(monitor, loss):
    add(monitor, 1.0, loss, "epoch 2, step 30")
    with pytest.raises(
        TrainingError, match=r"epoch 2, step 30: the loss is (nan|inf): training stopped.*learning_rate"
    ):
        add(monitor, 1.0, 1.0, "epoch 2, step 31")


def test_a_signal_is_noted_and_not_acted_on(monitor, stop):
    with stop.listening():
        add(monitor, 1.0, 1.0)
        os.kill(os.getpid(), signal.SIGTERM)
        add(monitor, 1.0, 1.0)
        assert monitor.signal == 0  # of the first step, before it came
        monitor.settle()
        assert monitor.signal == signal.SIGTERM


def test_a_second_ctrl_c_ends_at_once(stop):
    with stop.listening():
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.signal == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_handlers_are_put_back(stop):
    before = signal.getsignal(signal.SIGTERM)
    with stop.listening():
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before


class FakeEvent:
    """Of CUDA; notes what is asked of it."""

    asked: list

    def __init__(self, *, blocking):
        assert blocking

    def record(self):
        self.asked.append("record")

    def synchronize(self):
        self.asked.append("synchronize")


class OnGpu:
    """A tensor of a GPU, of which only its copy to the CPU can be read."""

    is_cuda = True

    def __init__(self, tensor, asked):
        self._tensor, self._asked = tensor, asked

    def to(self, device, *, non_blocking, copy):
        assert device == "cpu" and non_blocking and copy
        self._asked.append("copy")
        return self._tensor


def test_a_gpu_is_waited_for_by_the_event_of_its_copy_one_step_later(monkeypatch, stop):
    """A plain read would wait for the step that was queued since."""
    asked = []
    monkeypatch.setattr(torch.cuda, "Event", type("Event", (FakeEvent,), {"asked": asked}))
    processes = Processes()
    monkeypatch.setattr(processes, "sum", lambda values: OnGpu(values, asked))
    monitor = Monitor(processes, stop)
    add(monitor, 1.0, 3.0)
    assert asked == ["copy", "record"] and monitor.last is None
    add(monitor, 1.0, 1.0)
    assert asked == ["copy", "record", "synchronize", "copy", "record"] and monitor.last == 2


def test_the_remedy_is_the_caller_s(stop):
    monitor = Monitor(Processes(), stop, "go on from weights/last")
    add(monitor, float("nan"), 1.0)
    with pytest.raises(TrainingError, match="nothing was overwritten; go on from weights/last"):
        monitor.settle()
