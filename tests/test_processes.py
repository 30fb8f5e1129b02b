"""What one process of a launch tells the others when it fails."""

import os
import socket
import threading
from datetime import timedelta

import pytest
import torch.distributed as dist

from runtime.errors import TrainingError
from training import processes
from training.processes import Processes


class Exited(Exception):
    """Instead of the end of this process."""


@pytest.fixture
def pair(monkeypatch):
    """Two processes of a launch, without one, that share a store."""
    monkeypatch.setattr(processes, "_LOOK_SECONDS", 0.01)
    store = dist.HashStore()
    both = []
    for rank in (0, 1):
        each = Processes()
        each.rank, each.world_size, each._store = rank, 2, store
        both.append(each)
    return both


@pytest.fixture
def exits(monkeypatch):
    codes = []

    def note(code):
        codes.append(code)
        raise Exited

    monkeypatch.setattr(os, "_exit", note)
    return codes


def fail(process, error):
    with pytest.raises(type(error)), process.lost_is_told():
        raise error


@pytest.mark.parametrize("error", [TrainingError("no memory"), ValueError("a defect"), KeyboardInterrupt()])
def test_a_process_that_waits_for_one_that_failed_ends(pair, exits, capsys, error):
    fail(pair[0], error)
    with pytest.raises(Exited):
        pair[1]._end_with_others(grace=0.01)
    assert exits == [1]
    assert "error: process 1: another process of this launch is gone" in capsys.readouterr().err


def test_a_store_that_is_gone_means_the_same(pair, exits):
    class Gone:
        def check(self, keys):
            raise dist.DistNetworkError("Connection reset")

    pair[1]._store = Gone()
    with pytest.raises(Exited):
        pair[1]._end_with_others(grace=0.01)


def test_a_process_that_is_done_is_left_alone(pair, exits):
    waiting = threading.Thread(target=pair[1]._end_with_others, kwargs={"grace": 60})
    waiting.start()
    fail(pair[0], TrainingError("no memory"))
    pair[1].world_size = 1  # there is no group to leave
    pair[1].close()
    waiting.join(10)
    assert not waiting.is_alive() and exits == []


def test_a_lost_connection_is_told(pair):
    with (
        pytest.raises(TrainingError, match="process 1: another process of this launch is gone"),
        pair[1].lost_is_told(),
    ):
        raise RuntimeError("[gloo/transport/tcp/pair.cc] Connection closed by peer")
    with pytest.raises(TrainingError), pair[1].lost_is_told():
        raise dist.DistBackendError("NCCL error")


def test_alone_nothing_is_told():
    alone = Processes()
    with pytest.raises(RuntimeError, match="gloo"), alone.lost_is_told():
        raise RuntimeError("gloo")


def test_a_launcher_that_has_gone_is_not_waited_for(monkeypatch):
    """As it may, killed while its processes still import what they need."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    environment = {"RANK": 1, "WORLD_SIZE": 2, "LOCAL_RANK": 1, "MASTER_ADDR": "localhost", "MASTER_PORT": port}
    for name, value in {**environment, "TORCHELASTIC_USE_AGENT_STORE": True}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setattr(processes, "_REACH_TIMEOUT", timedelta(seconds=2))
    with pytest.raises(TrainingError, match="process 1: the others of this launch can't be reached"):
        Processes()
