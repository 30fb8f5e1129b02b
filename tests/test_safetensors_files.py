"""Safetensors files: read as checkpoints, and what is damaged is told in a line."""

import json
import struct
import tracemalloc

import numpy as np
import pytest
import safetensors.torch
import torch

from systems.checkpoints import CheckpointError, read_checkpoint
from systems.registry import system_of
from systems.safetensors_files import CARD, safetensors_of
from systems.seferbekov.checkpoints import load_model

STATE = {"fc.weight": torch.arange(6.0).view(2, 3), "fc.bias": torch.tensor([1, 2], dtype=torch.float16)}
DESCRIBED = {"system": "medics", "model": "res10", "input": [16, 112, 112]}


def written(path, data):
    path.write_bytes(data)
    return path


def with_header(header, tensors=b"\0" * 8):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + tensors


def refusal(path):
    with pytest.raises(CheckpointError) as raised:
        read_checkpoint(path)
    message = str(raised.value)
    assert "\n" not in message and len(message) < 400 and message.startswith(f"{path}: ")
    return message


@pytest.mark.parametrize("weights", [True, False])
def test_a_file_of_ours(tmp_path, weights):
    path = written(tmp_path / "a", safetensors_of(STATE, {"name": "a", "checkpoint": DESCRIBED}))
    content = read_checkpoint(path, weights=weights)
    state = content.pop("state_dict")
    assert content == DESCRIBED and state.keys() == STATE.keys()
    if weights:
        assert all(torch.equal(state[key], STATE[key]) and state[key].dtype == STATE[key].dtype for key in STATE)
        state["fc.bias"] += 1  # memory of its own, not the file's
        assert torch.equal(read_checkpoint(path)["state_dict"]["fc.bias"], STATE["fc.bias"])
    assert system_of(tmp_path, ["a"]) == "medics"


def test_the_same_bytes_for_the_same_weights():
    card = {"b": 1, "checkpoint": DESCRIBED, "a": 2}
    shared = {"x": STATE["fc.weight"], "y": STATE["fc.weight"][:1], "z": STATE["fc.weight"].T}  # parts of one memory
    data = safetensors_of(shared, card)
    assert data == safetensors_of(dict(reversed(shared.items())), card)
    loaded = safetensors.torch.load(data)
    assert all(torch.equal(loaded[key], shared[key]) for key in shared)


def test_a_file_of_others_is_bare_weights(tmp_path):
    safetensors.torch.save_file(STATE, tmp_path / "a", {"format": "pt"})
    assert read_checkpoint(tmp_path / "a").keys() == STATE.keys()
    with pytest.raises(CheckpointError, match="is not a DeepFakeClassifier on tf_efficientnet_b7_ns"):
        load_model(tmp_path / "a")


TENSOR = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
ELSEWHERE = "its header: tensors that end elsewhere than the file"
CARDS = ["x", "[]", '{"checkpoint": 1}', "[" * 100_000, '{"checkpoint": {"a": 1']


@pytest.mark.parametrize(
    "data, told",
    [
        (struct.pack("<Q", 10**18) + b"{}", "a header of 1000000000000000000 bytes in a file of 10"),
        (with_header(b"{" * 100), "its header: "),
        (with_header(b'{"a":' * 100_000 + b"1" + b"}" * 100_000), "its header: "),
        (with_header(b'{"\xff": 1}'), "its header: "),
        (with_header({"a": 1}), "its header: "),
        (with_header({"a": {**TENSOR, "data_offsets": []}}), "its header: "),
        (with_header({"a": {**TENSOR, "data_offsets": [0, "8"]}}), "its header: "),
        (with_header({"a": {**TENSOR, "data_offsets": [0, 10**12]}}), ELSEWHERE),
        (with_header({"a": TENSOR}, b"\0" * 7), ELSEWHERE),
        (with_header({"a": TENSOR}, b"\0" * 9), ELSEWHERE),
        (with_header({"a": {**TENSOR, "shape": [10**9]}}), ""),
        (with_header({"a": {**TENSOR, "shape": [-2]}}), ""),
        (with_header({"a": {**TENSOR, "dtype": "F31"}}), ""),
        (with_header({"a": TENSOR, "b": TENSOR}), ""),  # two in one place
        (with_header({"a": TENSOR, "__metadata__": 1}), ""),
        *((with_header({"a": TENSOR, "__metadata__": {CARD: card}}), "a model card that ") for card in CARDS),
    ],
    ids=lambda value: "" if isinstance(value, bytes) else value[:30],
)
def test_damaged_files(tmp_path, data, told):
    tracemalloc.start()
    message = refusal(written(tmp_path / "a", data))
    assert tracemalloc.get_traced_memory()[1] < 50_000_000
    tracemalloc.stop()
    assert f"is a damaged safetensors file ({told}" in message


def test_any_byte_damaged(tmp_path):
    """It is refused with a line, or gives tensors of the sizes that are in it."""
    data = safetensors_of(STATE, {"checkpoint": DESCRIBED})
    draw, refused = np.random.default_rng(0), 0
    for _ in range(400):
        damaged = bytearray(data)
        for place in draw.integers(0, len(data), draw.integers(1, 4)):
            damaged[place] = draw.integers(256)
        path = written(tmp_path / "a", bytes(damaged[: len(data) if draw.random() < 0.8 else draw.integers(len(data))]))
        try:
            content = read_checkpoint(path)
        except CheckpointError as error:
            refused += 1
            assert "\n" not in str(error)
        else:
            state = content.get("state_dict", content)
            assert sum(value.nbytes for value in state.values() if torch.is_tensor(value)) <= len(data)
    assert 100 < refused < 400


def test_only_regular_files(tmp_path):
    (tmp_path / "folder.safetensors").mkdir()
    assert "can't be opened (Is a directory)" in refusal(tmp_path / "folder.safetensors")
