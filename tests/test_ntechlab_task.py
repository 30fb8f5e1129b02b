"""NtechLab's training task by hand, and over whole steps of EfficientNet-B7 against the published loops."""

import argparse
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from runtime.errors import InputError
from systems import registry
from systems.ntechlab.checkpoints import load_classifier, published_keys
from systems.ntechlab.mixup import mix_clips, mix_frames, mixup_loss
from systems.ntechlab.models import TemporalExpansion
from systems.ntechlab.track_crops import PAIRS_FILE
from systems.task import Asked
from tests.ntechlab import GOLDEN, fixed_checkpoint, golden
from training.config import parse_config, read_config, schedule_of
from training.optimizers import create_optimizer, start_anew

CONFIGS = Path(__file__).resolve().parents[1] / "configs" / "ntechlab"
SMALL = "tf_efficientnet_b0_ns"

needs_golden = pytest.mark.skipif(not GOLDEN.is_dir(), reason="no ../shared")


@pytest.fixture
def make_task(tmp_path):
    """A task of a configuration, whose data root has nothing but the names of pairs."""
    lines = [
        f"dfdc_train_part_{part}/r.mp4_{part}_0_0,dfdc_train_part_{part}/f{part}.mp4_{part}_0_0\n" for part in range(5)
    ]
    (tmp_path / PAIRS_FILE).write_text("".join(lines))

    def make(name="large_crop", world_size=1, **changes):
        content = json.loads((CONFIGS / f"{name}.json").read_text())
        content["optimizer"]["batch_size"] = 2
        config = parse_config({**content, "pretrained": False, "encoder": SMALL, **changes}, "c.json")
        asked = Asked(config_file="c.json", data_dir=str(tmp_path), seed=None, world_size=world_size)
        return registry.create_task(config, asked, argparse.Namespace())

    return make


def rates(task, config, steps):
    """As the loop sets them."""
    schedule = schedule_of(config.optimizer.schedule, 1)
    return [schedule(max(step - task.warm_up, 0), config.optimizer.learning_rate) for step in steps]


@needs_golden
def test_published_rates(make_task):
    expected = golden("augmentation.json")["learning_rate"]
    config = read_config(CONFIGS / "large_crop.json")
    found = rates(make_task(), config, (int(number) - 1 for number in expected))  # which count from 1
    assert dict(zip(expected, found, strict=True)) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    "name, role, seed", [("large_crop", "large_crop", 30), ("random_erasing", "re", 10), ("seq", "seq", 20)]
)
def test_as_published(name, role, seed):
    config = read_config(CONFIGS / f"{name}.json")
    optimizer = config.optimizer
    assert (config.role, config.seed, config.warm_up, config.pix_fmt) == (role, seed, 100, "yuv444p")
    assert config.batches_per_epoch * optimizer.schedule.epochs == 100_000 and not config.held_out_parts
    assert (optimizer.batch_size, optimizer.type, optimizer.momentum, optimizer.nesterov) == (8, "SGD", 0.9, True)
    assert optimizer.weight_decay == 1e-4


def test_the_classifier_is_trained_first_and_then_all(make_task):
    task = make_task(warm_up=2)
    network = task.create_network()
    assert [task.phase(step, 0) for step in range(4)] == [True, True, False, False]
    task.enter(network, True)
    assert {name for name, value in network.named_parameters() if value.requires_grad} == {
        "classifier.weight",
        "classifier.bias",
    }
    assert not any(module.training for module in network.modules())
    task.enter(network, False)
    assert all(value.requires_grad for value in network.parameters()) and all(m.training for m in network.modules())


def test_rows_are_passes_one_after_the_other(make_task):
    """Of five pairs a pass has two whole batches of two; the fifth is dropped, another one each time."""
    task = make_task(batches_per_epoch=3)
    rows = [*task.rows(0), *task.rows(1)]
    assert len(rows) == 12
    passes = [rows[start : start + 4] for start in (0, 4, 8)]
    assert all(len(set(one)) == 4 for one in passes) and passes[0] != passes[1]
    assert task.rows(1) == make_task(batches_per_epoch=3).rows(1)
    shared = make_task(world_size=2, batches_per_epoch=3)
    assert len(shared.rows(0)) == 12 and len(set(shared.rows(0)[:4])) == 4


def test_parts_that_are_held_out(make_task):
    task = make_task(held_out_parts=[3])
    assert [(row.video, row.label) for row in task.held_out] == [("r", 0), ("f3", 1)]
    assert not any("part_3" in real for real, _ in task.rows(0))
    with pytest.raises(InputError, match=r"c\.json: held_out_parts \[9\]: of none there is a pair"):
        make_task(held_out_parts=[9])
    with pytest.raises(InputError, match=r"5 pairs of tracks to train on are fewer than a batch of 6; lower optimizer"):
        make_task(world_size=3)


def test_the_winners_flags_are_refused(make_task, tmp_path):
    config = read_config(CONFIGS / "seq.json")
    asked = Asked(config_file="c.json", data_dir=str(tmp_path), seed=None, world_size=1)
    with pytest.raises(InputError, match="--padding-part: is not for system ntechlab, which takes no flag of its own"):
        registry.create_task(config, asked, argparse.Namespace(padding_part=3, fold=None))


def test_steps_by_hand():
    """g = 3 + 0.0001 w; v = 0.9 v + g; w -= 0.005 (g + 0.9 v); anew after the second."""
    model = nn.Linear(1, 1, bias=False).double()
    nn.init.constant_(model.weight, 2.0)
    optimizer = create_optimizer(read_config(CONFIGS / "seq.json").optimizer, model)
    by_hand, momentum = 2.0, 0.0
    for step in range(4):
        if step == 2:
            start_anew(optimizer)
            momentum = 0.0
        optimizer.zero_grad()
        (3 * model.weight).sum().backward()
        optimizer.step()
        gradient = 3 + 1e-4 * by_hand
        momentum = 0.9 * momentum + gradient
        by_hand -= 0.005 * (gradient + 0.9 * momentum)
        assert model.weight.item() == pytest.approx(by_hand, rel=1e-12)


GOLDEN_STATISTICS = "a42f2f6e14115c85"  # of large_crop, made by one thread


@pytest.fixture
def one_thread():
    """As the golden data was made: sums of several threads differ by more than it allows."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return fixed_checkpoint(tmp_path_factory, "large_crop")


def digest_of_statistics(path) -> str:
    """Of the batch norms' statistics, which the making of the checkpoint computes."""
    state = torch.load(path, weights_only=True)
    keys = sorted(key for key in state if key.endswith(("running_mean", "running_var")))
    return hashlib.sha256(b"".join(state[key].numpy().tobytes() for key in keys)).hexdigest()[:16]


def golden_batch(frames: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Originals and fakes, (2, frames, 3, 64, 64), as the golden data's README makes them."""
    real, fake = (np.empty((2, frames, 3, 64, 64), np.float32) for _ in range(2))
    for pair, frame in np.ndindex(2, frames):
        draw = np.random.default_rng([5, pair, frame])
        coarse = np.kron(draw.standard_normal((3, 4, 4)), np.ones((1, 16, 16)))
        real[pair, frame] = coarse
        fake[pair, frame] = coarse + 0.5 * np.kron(draw.standard_normal((3, 8, 8)), np.ones((1, 8, 8)))
    return torch.from_numpy(real), torch.from_numpy(fake)


@needs_golden
@pytest.mark.parametrize(("kind", "frames", "mix"), [("frame_model", 4, mix_frames), ("seq_model", 7, mix_clips)])
def test_published_training_steps(one_thread, checkpoint, make_task, kind, frames, mix):
    """Two iterations of warm-up, and the first of all; the golden data has two more, which take long."""
    expected = golden("training_step.json")[kind]
    network = load_classifier(checkpoint).network
    network.drop_rate = 0.0
    for module in list(network.modules()):
        if hasattr(module, "drop_prob"):
            module.drop_prob = 0.0
        if kind == "seq_model" and hasattr(module, "conv_pwl"):
            module.conv_pw = TemporalExpansion(module.conv_pw)
    # as the golden data says; a checkpoint that other convolution code has made starts from other last digits
    rel = 1e-4 if digest_of_statistics(checkpoint) == GOLDEN_STATISTICS else 5e-4
    names = published_keys(network)
    images, targets = mix(*golden_batch(frames), torch.tensor(expected["t"], dtype=torch.float32))
    config = read_config(CONFIGS / "seq.json")
    task = make_task(warm_up=2)
    optimizer = create_optimizer(config.optimizer, network)
    for number, step in enumerate(expected["steps"][:3]):
        assert step["iteration"] == number + 1
        task.enter(network, task.phase(number, 0))
        if number == task.warm_up:
            start_anew(optimizer)
        trained = [value for value in network.parameters() if value.requires_grad]
        assert network.training == step["bn_training"] and len(trained) == step["trainable"]
        rate, next_rate = rates(task, config, (number, number + 1))
        for group in optimizer.param_groups:
            group["lr"] = rate
        before = {names[key]: value.detach().clone() for key, value in network.named_parameters()}
        optimizer.zero_grad()
        loss = mixup_loss(network(images), targets)
        loss.backward()
        optimizer.step()

        close = {"rel": rel, "abs": 1e-6}
        after = {names[key]: value for key, value in network.named_parameters()}
        gradients = {name: value.grad.norm().item() for name, value in after.items() if value.grad is not None}
        changes = {name: (value.detach() - before[name]).norm().item() for name, value in after.items()}
        assert loss.item() == pytest.approx(step["loss"], **close)
        assert len(gradients) == step["tensors_with_gradient"]
        assert np.linalg.norm(list(gradients.values())) == pytest.approx(step["gradient_norm"], **close)
        assert np.linalg.norm(list(changes.values())) == pytest.approx(step["change_norm"], **close)
        assert next_rate == pytest.approx(step["lr_after_step"], rel=1e-9)
        statistics = [network.bn1.running_mean.norm().item(), network.bn1.running_var.norm().item()]
        assert statistics == pytest.approx(step["bn0_running"], rel=rel)
        for name, tensor in step["tensors"].items():
            if name != "_blocks.54._bn2.bias":  # its gradient is zero but for rounding
                assert gradients.get(name, 0.0) == pytest.approx(tensor["gradient"] or 0.0, **close), name
                assert changes[name] == pytest.approx(tensor["change"], **close), name
            first = after[name].detach().flatten()[: len(tensor["first"])].tolist()
            assert first == pytest.approx(tensor["first"], rel=rel, abs=1e-5), name
