"""Which engine is chosen."""

import pytest
import torch

from runtime import engines, native_engine, openvino_engine
from runtime.device import ChoiceError
from runtime.engines import choose_engine, usable_engines

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)


@pytest.fixture
def having(monkeypatch):
    def simulate(native, openvino):
        monkeypatch.setattr(native_engine, "why_not", lambda: None if native else "no compiler")
        monkeypatch.setattr(openvino_engine, "is_installed", lambda: openvino)

    return simulate


@pytest.mark.parametrize(
    "native, openvino, expected",
    [
        (True, True, ["native", "openvino", "torch"]),
        (False, True, ["openvino", "torch"]),
        (True, False, ["native", "torch"]),
        (False, False, ["torch"]),
    ],
)
def test_the_fastest_that_can_be_had(having, native, openvino, expected):
    having(native, openvino)
    assert usable_engines(CPU) == expected
    assert choose_engine("auto", CPU) == expected[0]
    assert choose_engine("torch", CPU) == "torch"
    assert usable_engines(CUDA) == ["torch"] and choose_engine("auto", CUDA) == "torch"


def test_what_can_not_be_had(having):
    having(False, False)
    with pytest.raises(ChoiceError, match="--engine native: no compiler; or use --engine auto"):
        choose_engine("native", CPU)
    with pytest.raises(ChoiceError, match="--engine openvino: it is not installed; pip install openvino"):
        choose_engine("openvino", CPU)
    for engine in ("native", "openvino"):
        with pytest.raises(ChoiceError, match=f"--engine {engine} works on the CPU; use --device cpu or"):
            choose_engine(engine, CUDA)
    with pytest.raises(ValueError, match="engine 'tpu': use one of auto, native, openvino, torch"):
        choose_engine("tpu", CPU)
    assert engines.ENGINES[0] == "auto"
