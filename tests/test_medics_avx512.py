"""The Medics' networks on our AVX-512 kernels: which of them run there, and in what precision."""

import numpy as np
import pytest
import torch

from engines import openvino_engine
from systems.medics import clip_models
from systems.medics.clip_models import ClipModels
from tests.engines import needs_avx512
from tests.test_medics_openvino import clip_of, machine, model_of

pytestmark = needs_avx512


@pytest.mark.parametrize("name", ["res10", "i3d", "mc3_112", "r2p1_112", "seresnext50"])
def test_what_pytorch_says(name):
    """Of clips of one length, two at a time, with their mirror images."""
    batch = [clip_of(9), clip_of(9)[::-1]]
    scores = {}
    for engine in ("torch", "avx512"):
        models = ClipModels({3: model_of(name)}, machine(engine))
        scores[engine] = models.score((3, 9), batch)
    np.testing.assert_allclose(scores["avx512"], scores["torch"], atol=1e-5)
    assert models.lanes == 1  # a call has all cores


@pytest.mark.parametrize(
    "precision, has, on_openvino",
    [
        ("fp32", {"amx_bf16", "avx512_bf16"}, ["seresnext50"]),
        ("bf16", set(), ["seresnext50"]),
        ("bf16", {"avx512_bf16"}, ["i3d", "seresnext50"]),
        ("bf16", {"amx_bf16", "avx512_bf16"}, ["i3d", "mc3_112", "res10", "seresnext50"]),
    ],
)
def test_which_networks_it_leaves_to_openvino(monkeypatch, precision, has, on_openvino):
    """In bf16 those that are faster so, never R(2+1)D; nothing where OpenVINO is not installed."""
    monkeypatch.setattr(clip_models, "processor_has", lambda feature: feature in has)
    asked = []

    class Converted(torch.nn.Module):
        def __init__(self, spec, network, *, precision, threads):
            super().__init__()
            asked.append((spec.name, precision))

    monkeypatch.setattr(clip_models, "OnOpenVino", Converted)
    names = ["i3d", "mc3_112", "r2p1_112", "res10", "seresnext50"]
    for installed, expected in ((True, on_openvino), (False, [])):
        monkeypatch.setattr(openvino_engine, "is_installed", lambda installed=installed: installed)
        asked.clear()
        with_precision = {**vars(machine("avx512")), "precision": precision}
        ClipModels({place: model_of(name) for place, name in enumerate(names)}, clip_models.Machine(**with_precision))
        assert asked == [(name, precision) for name in expected]
