"""What a checkpoint says of where a run was: on another device, and damaged."""

import copy
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from runtime.errors import InputError
from systems.checkpoints import CheckpointError
from training import state
from training.state import Position, Trained

SETTINGS = {
    "seed": 1,
    "config": {"batches_per_epoch": 10, "optimizer": {"learning_rate": 0.1, "schedule": {"epochs": 3}}},
    "world_size": 1,
}
TASK = SimpleNamespace(batches_per_epoch=10, save=None, load_weights=lambda *args: None)
DAMAGED = "its training state is damaged; --from-zero takes its weights alone"


@pytest.fixture
def files(monkeypatch):
    """Checkpoints in memory, whose weights are of no interest."""
    kept = {}
    monkeypatch.setattr(state, "read_checkpoint", lambda path: copy.deepcopy(kept[path]))
    monkeypatch.setattr(TASK, "save", lambda path, network, **content: kept.update({path: content}))
    return kept


def trained(*, fp16=False):
    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD([{"params": list(model.parameters()), "base_lr": 0.1}], lr=0.1, momentum=0.9)
    return Trained(model=model, optimizer=optimizer, scaler=torch.amp.GradScaler("cpu", enabled=fp16))


def save(run):
    run.save("file", TASK, Position(epoch=1, iteration=2, best=0.5), copy.deepcopy(SETTINGS))


def load(run, settings=SETTINGS, **kwargs):
    return run.load("file", TASK, settings, **{"epochs": 3, "from_zero": False, **kwargs})


def scaled(scale):
    run = trained(fp16=True)
    run.scaler.load_state_dict({**run.scaler.state_dict(), "scale": scale, "_growth_tracker": 5})
    return run


def test_a_run_without_a_scale_goes_on_in_fp16(files):
    save(trained())
    run = trained(fp16=True)
    assert load(run) == Position(epoch=1, iteration=2, best=0.5)
    assert run.scaler.get_scale() == 2.0**16


def test_a_run_in_fp16_goes_on_without_a_scale(files):
    save(scaled(128.0))
    run = trained()
    assert load(run).iteration == 2 and not run.scaler.is_enabled()


def test_a_scale_is_gone_on_with(files):
    save(scaled(128.0))
    run = trained(fp16=True)
    load(run)
    state = run.scaler.state_dict()
    assert (state["scale"], state["_growth_tracker"]) == (128.0, 5)


SCALES = ("a", 1, 0.0, -1.0, float("nan"), 1e300, torch.ones(2))


@pytest.mark.parametrize(
    "scaler",
    [
        None,
        [],
        {"scale": 1.0},
        *({"scale": scale, "_growth_tracker": 0} for scale in SCALES),
        {"scale": 1.0, "_growth_tracker": -1},
        {"scale": 1.0, "_growth_tracker": torch.zeros(2)},
    ],
)
@pytest.mark.parametrize("fp16", [True, False])
def test_damaged_scale(files, scaler, fp16):
    save(trained())
    files["file"]["resume"]["scaler"] = scaler
    with pytest.raises(CheckpointError, match=DAMAGED):
        load(trained(fp16=fp16))


@pytest.mark.parametrize(
    "change",
    [
        *({"epoch": epoch} for epoch in (-1, 4, 1.0, "1", True, None, torch.ones(2), 10**30)),
        *({"iteration": iteration} for iteration in (-1, 10, 1.0, "1", False, torch.ones(2))),
        *({"best": best} for best in (float("nan"), float("inf"), -1.0, "0", None, torch.ones(2), torch.ones(()))),
        *({"validated": validated} for validated in (0, None, "yes", False)),
        {"epoch": 3},
        {"epoch": 0, "iteration": 0, "validated": False},
        {"more": 1},
    ],
    ids=str,
)
def test_damaged_position(files, change):
    save(trained())
    files["file"]["resume"]["position"].update(change)
    with pytest.raises(CheckpointError, match=DAMAGED):
        load(trained())


@pytest.mark.parametrize("key", ["position", "settings", "optimizer"])
@pytest.mark.parametrize("value", [None, [], {}, 3, "text", torch.ones(2)], ids=str)
def test_damaged_altogether(files, key, value):
    save(trained())
    files["file"]["resume"][key] = value
    with pytest.raises((CheckpointError, InputError)) as raised:  # settings that are empty are other settings
        load(trained())
    assert "--from-zero" in str(raised.value)
    files["file"]["resume"] = value
    if value is not None:
        with pytest.raises(CheckpointError, match=DAMAGED):
            load(trained())


def test_other_settings_are_named(files):
    save(trained())
    changed = copy.deepcopy(SETTINGS)
    changed["config"]["optimizer"]["learning_rate"] = 0.2
    with pytest.raises(InputError, match=r"made with config\.optimizer\.learning_rate 0\.1, this run has 0\.2; use"):
        load(trained(), changed)


def test_settings_of_any_size_give_one_line(files):
    save(trained())
    nested = ["a"]
    for _ in range(40):
        nested = [nested, nested]
    files["file"]["resume"]["settings"]["seed"] = nested
    with pytest.raises(InputError, match="made with seed ") as raised:
        load(trained())
    assert len(str(raised.value)) < 1000


@pytest.mark.parametrize(
    "epoch, best, message",
    [
        *((epoch, 0.5, "epoch") for epoch in (None, -1, 10**9, 1.5, True, torch.ones(2))),
        *((1, best, "bce_best") for best in ("a", -1.0, float("nan"), torch.ones(2))),
    ],
    ids=str,
)
def test_published_files_that_are_damaged(files, epoch, best, message):
    files["file"] = {"epoch": epoch, "bce_best": best}
    with pytest.raises(CheckpointError, match=f'"{message}"'):
        load(trained())
    assert load(trained(), from_zero=True) == Position()


def test_what_is_not_finite_is_named():
    run = trained()
    assert run.not_finite() is None
    run.optimizer.state[run.model.bias]["momentum_buffer"] = torch.tensor([torch.inf])
    assert run.not_finite() == "momentum_buffer of bias"
    with torch.no_grad():
        run.model.weight[0, 1] = torch.nan
    assert run.not_finite() == "weight"
