"""export.py: files that give PyTorch's scores elsewhere, and say what they are."""

import csv
import hashlib
import json
import shutil

import numpy as np
import pytest
import safetensors.torch
import torch

import export
import predict_folder
from engines import onnx_model
from systems import portable_files
from systems.checkpoints import CheckpointError, read_checkpoint
from systems.ntechlab.checkpoints import load_classifier
from systems.seferbekov.checkpoints import load_model
from tests import media
from tests.engines import needs_onnx

SIZE = media.SIZE
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


@pytest.fixture(scope="module")
def weights(weights_dir, tmp_path_factory):
    """One checkpoint that says how it was trained, under a name that a page must not take for markup."""
    folder = tmp_path_factory.mktemp("weights")
    content = read_checkpoint(weights_dir / "first")
    settings = {"seed": 111, "config": {"size": SIZE}}
    content |= {"epoch": 7, "bce_best": np.float64(0.25), "resume": {"settings": settings, "optimizer": torch.ones(2)}}
    torch.save(content, folder / "a<b>_1")
    return folder


@pytest.fixture(scope="module")
def exported(weights, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported") / "new"
    formats = ["safetensors"] if onnx_model.why_not() else ["safetensors", "onnx"]
    flags = ["--licence", "CC BY 4.0", "--training-data", "DFDC, parts 3 to 49", "--formats", *formats]
    assert export.main([*of(weights), "--output-dir", str(folder), *flags]) == 0
    return folder


def of(weights):
    return ["--weights-dir", str(weights), "--models", *sorted(path.name for path in weights.iterdir())]


def only_weights(weights, folder, *flags):
    return export.main([*of(weights), "--output-dir", str(folder), "--formats", "safetensors", *flags])


def test_the_weights_bit_for_bit(weights, exported):
    theirs = read_checkpoint(weights / "a<b>_1")["state_dict"]
    ours = safetensors.torch.load_file(exported / "a<b>_1.safetensors")
    assert ours.keys() == {key.removeprefix("module.") for key in theirs}
    assert all(torch.equal(ours[key.removeprefix("module.")], theirs[key]) for key in theirs)


def test_the_file_says_what_a_checkpoint_of_ours_says(weights, exported):
    was = read_checkpoint(weights / "a<b>_1")
    content = read_checkpoint(exported / "a<b>_1.safetensors")
    described = {key: value for key, value in was.items() if key not in ("state_dict", "resume")}
    assert {key: value for key, value in content.items() if key != "state_dict"} == described
    assert read_checkpoint(exported / "a<b>_1.safetensors", weights=False).keys() == content.keys()
    loaded = load_model(exported / "a<b>_1.safetensors")
    assert (loaded.encoder, loaded.input_size) == (media.ENCODER, SIZE)


def test_predictions_by_safetensors_are_the_same(weights, exported, face_video, tmp_path):
    (tmp_path / "videos").mkdir()
    shutil.copy(face_video, tmp_path / "videos")
    scores = []
    for folder, name in ((weights, "a<b>_1"), (exported, "a<b>_1.safetensors")):
        output = tmp_path / f"{name}.csv"
        flags = ["--engine", "torch", "--device", "cpu", "--frames-per-video", "4", "--output", str(output)]
        videos = ["--test-dir", str(tmp_path / "videos")]
        assert predict_folder.main(["--weights-dir", str(folder), "--models", name, *videos, *flags]) == 0
        with open(output) as file:
            scores.append(list(csv.DictReader(file)))
    assert scores[0] == scores[1] and scores[0][0]["label"] != "0.5"


@needs_onnx
def test_onnx_from_pixels_to_probabilities(weights, exported):
    import onnxruntime

    session = onnxruntime.InferenceSession(exported / "a<b>_1.onnx", providers=["CPUExecutionProvider"])
    (taken,), (given, logit) = session.get_inputs(), session.get_outputs()
    assert (taken.name, taken.shape, taken.type) == ("pixels", ["n", SIZE, SIZE, 3], "tensor(uint8)")
    assert (given.name, given.shape, given.type) == ("p_fake", ["n"], "tensor(float)")
    assert (logit.name, logit.shape, logit.type) == ("logit", ["n"], "tensor(float)")
    module = load_model(weights / "a<b>_1").module
    for count in (1, 2, 6):
        pixels = np.random.default_rng(count).integers(0, 256, (count, 8, 8, 3), np.uint8).repeat(8, 1).repeat(8, 2)
        normalised = torch.from_numpy(((pixels / 255 - MEAN) / STD).transpose(0, 3, 1, 2)).float()
        expected = 1 / (1 + np.exp(-module(normalised).double().numpy()[:, 0]))
        np.testing.assert_allclose(session.run(None, {"pixels": pixels})[0], expected, atol=1e-5)
    assert json.loads(session.get_modelmeta().custom_metadata_map["model_card"])["name"] == "a<b>_1"


def test_the_card(weights, exported):
    card = json.loads((exported / "a<b>_1.card.json").read_text())
    source = weights / "a<b>_1"
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    assert card["source"] == {"file": "a<b>_1", "bytes": source.stat().st_size, "sha256": digest}
    for name, file in card["files"].items():
        data = (exported / name).read_bytes()
        assert file["sha256"] == hashlib.sha256(data).hexdigest() and file["bytes"] == len(data)
        assert file["largest_difference"] <= 1e-4
    assert (card["system"], card["network"]) == ("seferbekov", f"DeepFakeClassifier on {media.ENCODER}")
    assert card["input"]["shape"] == ["n", SIZE, SIZE, 3] and card["output"]["shape"] == ["n"]
    assert card["checkpoint"]["normalize"] == {"mean": MEAN, "std": STD}
    settings = {"seed": 111, "config": {"size": SIZE}}
    assert card["training"] == {"epoch": 7, "bce_best": 0.25, "settings": settings, "data": "DFDC, parts 3 to 49"}
    assert card["licence"] == "CC BY 4.0"
    page = (exported / "a<b>_1.card.md").read_text()
    assert page.startswith("# a&lt;b&gt;\\_1\n") and "<b>" not in page
    for told in (digest, "CC BY 4.0", "DFDC, parts 3 to 49", "epoch 7", "a lead for a person to follow, no proof"):
        assert told in page


def test_what_is_done_is_skipped(weights, exported, tmp_path, capsys):
    folder = tmp_path / "exported"
    shutil.copytree(exported, folder)
    file, flags = folder / "a<b>_1.safetensors", ["--licence", "CC BY 4.0", "--training-data", "DFDC, parts 3 to 49"]
    was = file.stat().st_mtime_ns
    assert only_weights(weights, folder, *flags) == 0
    assert "done before" in capsys.readouterr().out and file.stat().st_mtime_ns == was
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))  # damaged since
    assert only_weights(weights, folder, *flags) == 0
    assert file.read_bytes() == content  # the same bytes for the same checkpoint
    assert only_weights(weights, folder) == 0  # another card
    assert file.read_bytes() != content


def test_a_file_that_would_give_other_scores_is_not_written(weights, tmp_path, monkeypatch, capsys):
    def other(state, card):
        return was({**state, "fc.bias": state["fc.bias"] + 0.1}, card)

    was = portable_files.safetensors_of
    monkeypatch.setattr(portable_files, "safetensors_of", other)
    assert only_weights(weights, tmp_path / "out") == 1
    error = capsys.readouterr().err
    assert "not written, as its probabilities differ from PyTorch's by 0.0" in error
    assert list((tmp_path / "out").iterdir()) == []


def test_one_that_can_not_be_read_among_others(weights, tmp_path, capsys):
    folder = tmp_path / "weights"
    shutil.copytree(weights, folder)
    (folder / "cut").write_bytes((weights / "a<b>_1").read_bytes()[:5000])
    assert only_weights(folder, tmp_path / "out", "--system", "seferbekov") == 1
    told = capsys.readouterr()
    assert "error: " in told.err and f"{folder / 'cut'}: is not a PyTorch checkpoint" in told.err
    assert "1 of 2 models exported" in told.out and (tmp_path / "out" / "a<b>_1.safetensors").is_file()


def test_what_can_not_be(weights, tmp_path, monkeypatch, capsys):
    def refusal(*flags):
        assert export.main([*of(weights), "--output-dir", str(tmp_path / "out"), *flags]) == 1
        return capsys.readouterr().err

    assert "--role: is not for system seferbekov" in refusal("--formats", "safetensors", "--role", "re")
    monkeypatch.setattr(onnx_model, "PACKAGES", ("no_such_package",))
    assert refusal() == (
        "error: --formats onnx: no_such_package is not installed; pip install -r requirements-export.txt, or give "
        "--formats safetensors\n"
    )
    (tmp_path / "file").write_text("")
    assert export.main([*of(weights), "--output-dir", str(tmp_path / "file"), "--formats", "safetensors"]) == 1
    assert "--output-dir" in capsys.readouterr().err


def test_the_source_is_not_written_over(exported, tmp_path, capsys):
    shutil.copy(exported / "a<b>_1.safetensors", tmp_path / "x.safetensors")
    assert export.main([*of(tmp_path), "--output-dir", str(tmp_path), "--formats", "safetensors"]) == 1
    assert "would be written over; name another --output-dir" in capsys.readouterr().err


def test_a_file_of_another_system(exported):
    with pytest.raises(CheckpointError, match="is no checkpoint of NtechLab's system; name one of its files"):
        load_classifier(exported / "a<b>_1.safetensors")
