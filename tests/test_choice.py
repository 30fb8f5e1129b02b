"""Which engine is chosen."""

import pytest
import torch

from engines import openvino_engine
from engines.choice import ENGINES, choose_engine, usable_engines
from engines.device import ChoiceError
from engines.native import cuda_kernels, libraries

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)


@pytest.fixture
def having(monkeypatch):
    def simulate(native, openvino, avx512=False):
        has = {(): native, libraries.FOR_AVX512: avx512}
        monkeypatch.setattr(libraries, "why_not", lambda *names: None if has[names] else "no compiler")
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


def test_the_fastest_among_those_that_can_be_used(having):
    having(False, True, avx512=True)
    assert usable_engines(CPU) == ["avx512", "openvino", "torch"]
    assert choose_engine("auto", CPU) == choose_engine("avx512", CPU) == "avx512"
    assert choose_engine("auto", CPU, ("native", "torch", "openvino")) == "openvino"
    with pytest.raises(ValueError, match="engine 'avx512': use one of auto, native, torch"):
        choose_engine("avx512", CPU, ("native", "torch"))


@pytest.mark.parametrize("reason, expected", [(None, ["native", "torch"]), ("an old driver", ["torch"])])
def test_on_a_gpu(monkeypatch, reason, expected):
    monkeypatch.setattr(cuda_kernels, "why_not", lambda device: reason)
    assert usable_engines(CUDA) == expected and choose_engine("auto", CUDA) == expected[0]
    if reason:
        with pytest.raises(ChoiceError, match="--engine native: an old driver; or use --engine auto"):
            choose_engine("native", CUDA)


def test_what_can_not_be_had(having):
    having(False, False)
    with pytest.raises(ChoiceError, match="--engine native: no compiler; or use --engine auto"):
        choose_engine("native", CPU)
    with pytest.raises(ChoiceError, match="--engine avx512: no compiler; or use --engine auto"):
        choose_engine("avx512", CPU)
    with pytest.raises(ChoiceError, match="--engine avx512 works on the CPU; use --device cpu or --engine auto"):
        choose_engine("avx512", CUDA)
    with pytest.raises(ChoiceError, match="--engine openvino: it is not installed; pip install openvino"):
        choose_engine("openvino", CPU)
    with pytest.raises(ChoiceError, match="--engine openvino works on the CPU; use --device cpu or --engine auto"):
        choose_engine("openvino", CUDA)
    with pytest.raises(ValueError, match="engine 'tpu': use one of auto, native, avx512, openvino, onnxruntime, torch"):
        choose_engine("tpu", CPU)
    assert ENGINES[0] == "auto"
