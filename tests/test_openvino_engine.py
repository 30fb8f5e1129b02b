"""OpenVINO as an engine; what it computes is tested with the networks that use it."""

import subprocess
import sys
from pathlib import Path

import pytest

from engines import openvino_engine

ROOT = Path(__file__).resolve().parents[1]
# in a process of its own, as it dies of SIGSEGV where this goes wrong
_SIGNAL_AFTERWARDS = """
import gc, os, signal
import numpy as np, torch
from engines.openvino_engine import OpenVinoNetwork

caught = []
signal.signal(signal.SIGUSR1, lambda *_: caught.append(1))
networks = [OpenVinoNetwork(torch.nn.Linear(4, 2), torch.zeros(1, 4), input_shape=(1, 4)) for _ in range(2)]
assert networks[0](np.zeros((1, 4), np.float32))[0].shape == (1, 2)
while networks:
    del networks[0]
    gc.collect()
os.kill(os.getpid(), signal.SIGUSR1)
assert caught == [1]
"""


@pytest.mark.skipif(not openvino_engine.is_installed(), reason="OpenVINO is not installed")
def test_signals_are_handled_when_the_networks_have_gone():
    finished = subprocess.run([sys.executable, "-c", _SIGNAL_AFTERWARDS], capture_output=True, text=True, cwd=ROOT)
    assert finished.returncode == 0, finished.stderr
