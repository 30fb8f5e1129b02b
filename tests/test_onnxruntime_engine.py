"""Networks on ONNX Runtime: what PyTorch says of the same pixels."""

import importlib.util
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

import predict_folder
from engines import onnx_model, onnxruntime_engine
from engines.choice import choose_engine, usable_engines
from engines.device import ChoiceError
from engines.onnxruntime_engine import OnnxRuntimeNetwork
from runtime.memory import MemoryBudget
from systems.medics import known_answer as medics
from systems.medics.clip_models import ClipModels
from systems.medics.models import load_model
from systems.ntechlab import known_answer as ntechlab
from systems.ntechlab.checkpoints import load_classifier
from systems.ntechlab.track_models import TrackModels
from systems.registry import SYSTEMS, load_predictor
from systems.seferbekov.checkpoints import load_model as load_classifier_of_faces
from systems.seferbekov.ensemble import build_ensemble
from systems.system import Machine
from tests.engines import needs_onnx

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)


def pixels(shape, seed=0):
    """Coloured cells, uint8 (..., h, w, 3) with sides that 8 divides."""
    cells = np.random.default_rng(seed).integers(0, 256, (*shape[:-3], shape[-3] // 8, shape[-2] // 8, 3), np.uint8)
    return cells.repeat(8, -3).repeat(8, -2)


def machine(engine, precision="fp32"):
    memory = MemoryBudget(2**28, 1)
    return Machine(device=CPU, precision=precision, engine=engine, workers=1, lanes=2, memory=memory, batch_size=2)


def network():
    torch.manual_seed(3)
    pooled = [nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*pooled, nn.Linear(8, 2))


@needs_onnx
def test_free_sizes_from_several_threads_at_once():
    module = network().eval()
    computed = OnnxRuntimeNetwork(
        module, torch.zeros(2, 3, 16, 24), device=CPU, precision="fp32", free={0: "n", 3: "width"}
    )
    inputs = [torch.rand(n, 3, 16, width) for n, width in ((1, 24), (5, 24), (2, 40), (1, 4))] * 4
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda x: computed(x.numpy()), inputs))
    for x, ours in zip(inputs, found, strict=True):
        np.testing.assert_allclose(ours, module(x).detach().numpy(), atol=1e-6)


@needs_onnx
def test_fp32_alone():
    with pytest.raises(ChoiceError, match="--engine onnxruntime: computes in fp32, not in bf16; add --precision fp32"):
        OnnxRuntimeNetwork(network(), torch.zeros(1, 3, 16, 16), device=CPU, precision="bf16")


@needs_onnx
def test_scores_of_the_winners_faces(weights_dir):
    faces = {64: pixels((5, 64, 64, 3))}
    scores = {}
    for engine in ("torch", "onnxruntime"):
        loaded = load_classifier_of_faces(weights_dir / "first")
        modules = [("first", loaded.module, loaded.input_size)]
        ensemble = build_ensemble(modules, device=CPU, precision="fp32", engine=engine, batch_size=5, lanes=2)
        assert (ensemble.lanes, ensemble.group) == (2, 5)
        scores[engine] = ensemble.score(faces)
    np.testing.assert_allclose(scores["onnxruntime"], scores["torch"], atol=1e-5)
    assert np.ptp(scores["torch"]) > 0.01


@needs_onnx
def test_scores_of_ntechlabs_sequences(tmp_path):
    ntechlab.write_models(tmp_path)
    clips = [pixels((7, 224, 192, 3), seed) for seed in (1, 2)]
    scores = {
        engine: np.stack(TrackModels([load_classifier(tmp_path / "seq")], machine(engine)).score(0, clips))
        for engine in ("torch", "onnxruntime")
    }
    np.testing.assert_allclose(scores["onnxruntime"], scores["torch"], atol=1e-5)
    assert scores["torch"].shape == (2, 7) and np.ptp(scores["torch"]) > 0.01


@needs_onnx
def test_scores_of_the_medics_clips_of_any_length(tmp_path):
    medics.write_models(tmp_path)
    scores = {}
    for engine in ("torch", "onnxruntime"):
        models = ClipModels({0: load_model("res10", tmp_path / "res10.model")}, machine(engine))
        batches = ([pixels((4, 256, 256, 3), 1)], [pixels((9, 256, 256, 3), 2)] * 2)
        scores[engine] = np.concatenate([models.score((0, len(batch[0])), batch) for batch in batches])
    np.testing.assert_allclose(scores["onnxruntime"], scores["torch"], atol=1e-5)
    assert models.lanes == 1  # a clip on all cores
    with pytest.raises(ChoiceError, match="add --precision fp32"):
        ClipModels({0: load_model("res10", tmp_path / "res10.model")}, machine("onnxruntime", "bf16"))


@needs_onnx
def test_a_prediction(weights_dir, face_video, tmp_path):
    (tmp_path / "videos").mkdir()
    shutil.copy(face_video, tmp_path / "videos")
    labels = []
    for engine in ("torch", "onnxruntime"):
        output = tmp_path / f"{engine}.csv"
        flags = ["--weights-dir", str(weights_dir), "--models", "first", "--test-dir", str(tmp_path / "videos")]
        flags += ["--device", "cpu", "--engine", engine, "--frames-per-video", "3", "--output", str(output)]
        assert predict_folder.main(flags) == 0
        labels.append(float(output.read_text().splitlines()[1].split(",")[1]))
    assert labels[0] != 0.5 and labels[1] == pytest.approx(labels[0], abs=1e-5)


def test_every_system_offers_it():
    for system in SYSTEMS:
        assert "onnxruntime" in load_predictor(system, {}, "weights").engines_on(CPU)


def test_what_is_missing_is_named(monkeypatch):
    found = importlib.util.find_spec
    for missing, words in (({"onnx"}, "onnx is"), ({"onnx", "onnxruntime"}, "onnx, onnxruntime are")):
        with monkeypatch.context() as patch:
            patch.setattr(importlib.util, "find_spec", lambda name, none=missing: None if name in none else found(name))
            remedy = (
                f"--engine onnxruntime: {words} not installed; pip install -r requirements-export.txt, or use --eng"
            )
            with pytest.raises(ChoiceError, match=remedy):
                choose_engine("onnxruntime", CPU)


def test_a_gpu_needs_the_other_package(monkeypatch):
    monkeypatch.setattr(onnx_model, "why_not", lambda: None)
    providers = ["CPUExecutionProvider"]
    monkeypatch.setitem(sys.modules, "onnxruntime", SimpleNamespace(get_available_providers=lambda: providers))
    with pytest.raises(ChoiceError, match="knows no GPU; pip install onnxruntime-gpu in its place, or use --engine"):
        choose_engine("onnxruntime", CUDA)
    assert choose_engine("onnxruntime", CPU) == "onnxruntime"
    providers.append("CUDAExecutionProvider")
    assert choose_engine("onnxruntime", CUDA) == "onnxruntime"


def test_a_gpu_that_is_not_reached(monkeypatch):
    """ONNX Runtime goes on with the CPU where its CUDA can't be loaded."""
    made = SimpleNamespace(get_providers=lambda: ["CPUExecutionProvider"])
    options = SimpleNamespace(add_session_config_entry=lambda *entry: None)
    fake = SimpleNamespace(SessionOptions=lambda: options, InferenceSession=lambda *args, **kwargs: made)
    monkeypatch.setitem(sys.modules, "onnxruntime", fake)
    with pytest.raises(ChoiceError, match="ONNX Runtime can't use the GPU"):
        onnxruntime_engine.session(b"", CUDA)


def test_it_runs_where_it_is_asked_for_alone():
    assert "onnxruntime" not in usable_engines(CPU)
