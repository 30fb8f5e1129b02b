"""The Medics' networks on OpenVINO: what PyTorch says of clips of any length, in bounded memory."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from runtime.memory import MemoryBudget
from systems.medics.clip_models import ClipModels
from systems.medics.models import FaceModel, create_model
from systems.medics.openvino_models import OnOpenVino
from systems.system import Machine
from tests.engines import needs_openvino

pytestmark = needs_openvino
ROOT = Path(__file__).resolve().parents[1]
# in the middle of I3D's, each layer that pads meets an even and an odd length
LENGTHS = {"res10": (5, 16, 1, 9), "i3d": (9, 14, 12), "seresnext50": (1, 3, 2)}


@torch.no_grad()
def model_of(name: str) -> FaceModel:
    """With random weights that carry what the pictures show through all layers."""
    torch.manual_seed(5)
    model = create_model(name).eval().requires_grad_(False)
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    return model


def clip_of(length: int) -> np.ndarray:
    """Its frames, halves and colours differ, uint8 (length, 256, 256, 3)."""
    cells = np.random.default_rng(length).integers(0, 256, (length, 8, 8, 3), dtype=np.uint8)
    return cells.repeat(32, 1).repeat(32, 2)


def machine(engine: str) -> Machine:
    memory = MemoryBudget(2**28, 1)
    return Machine(device=torch.device("cpu"), precision="fp32", engine=engine, workers=1, lanes=2, memory=memory)


@pytest.mark.parametrize("name", LENGTHS)
@torch.inference_mode()
def test_what_pytorch_says_of_clips_of_any_length(name):
    model = model_of(name)
    clips = [torch.from_numpy(clip_of(length))[None] for length in LENGTHS[name]]
    expected = [model.logits(clip).flatten().numpy() for clip in clips]
    model.network = OnOpenVino(model.spec, model.network, precision="fp32", threads=2)
    found = [model.logits(clip).flatten().numpy() for clip in clips]
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4 * np.abs(theirs).max())
    assert abs(expected[0][0] - expected[1][0]) > 0.01 * abs(expected[0][0])


def test_batches_of_one_length():
    batches = [[clip_of(4)], [clip_of(7), clip_of(7)[::-1]], [clip_of(4)]]
    scores = {}
    for engine in ("torch", "openvino"):
        models = ClipModels({3: model_of("res10")}, machine(engine))
        scores[engine] = np.concatenate([models.score((3, len(batch[0])), batch) for batch in batches])
    np.testing.assert_allclose(scores["openvino"], scores["torch"], atol=1e-4)
    assert scores["torch"].shape == (4, 1) and np.ptp(scores["torch"]) > 0.01
    assert models.lanes == 1  # memory for one clip, whatever the number of cores


MEASURE = """
import sys
from pathlib import Path
import torch
from engines.openvino_engine import OpenVinoNetwork
from systems.medics.models import create_model
from systems.medics.openvino_models import OnOpenVino

if sys.argv[1] == "kept":
    OpenVinoNetwork.release_memory = lambda network: None
model = create_model("res10").eval()
network = OnOpenVino(model.spec, model.network, precision="fp32", threads=1)
clip = torch.zeros(1, 3, 200, 112, 112)
resident = lambda: int(Path("/proc/self/status").read_text().split("VmRSS:")[1].split()[0]) / 1024
network(clip[:, :, :1])
before = resident()
network(clip)
print(resident() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc")
def test_memory_for_a_clip_is_given_back():
    """Megabytes more than before, in processes of their own: an allocator keeps what other tests have used. The first
    layer's result alone is 40 MB; layers that are made ready for a length stay in both."""
    command = [sys.executable, "-c", MEASURE]
    runs = [subprocess.Popen([*command, how], cwd=ROOT, stdout=subprocess.PIPE, text=True) for how in ("given", "kept")]
    given, kept = (float(run.communicate(timeout=120)[0]) for run in runs)
    assert kept - given > 30
