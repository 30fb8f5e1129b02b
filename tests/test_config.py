"""Configurations: the published ones, and what is said of others."""

import json
from pathlib import Path

import pytest

from training.config import ConfigError, parse_config, read_config

CONFIGS = Path(__file__).resolve().parents[1] / "configs"


def b7():
    return json.loads((CONFIGS / "b7.json").read_text())


def changed(key, value):
    content = b7()
    *path, last = key.split(".")
    place = content
    for name in path:
        place = place[name]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return content


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.json")), ids=lambda path: path.stem)
def test_every_config_is_valid(path):
    assert (read_config(path).system, read_config(path).network) == ("seferbekov", "DeepFakeClassifier")


@pytest.mark.parametrize(
    "path",
    [path for system in ("ntechlab", "medics") for path in sorted((CONFIGS / system).glob("*.json"))],
    ids=lambda path: f"{path.parent.name}-{path.stem}",
)
def test_configs_of_other_systems(path):
    assert read_config(path).system == path.parent.name


def test_as_published():
    config = read_config(CONFIGS / "b7.json")
    assert (config.encoder, config.size, config.batches_per_epoch, config.fp16) == (
        "tf_efficientnet_b7_ns",
        380,
        2500,
        True,
    )
    optimizer = config.optimizer
    assert (optimizer.type, optimizer.batch_size, optimizer.learning_rate) == ("SGD", 12, 0.01)
    assert (optimizer.momentum, optimizer.nesterov, optimizer.weight_decay) == (0.9, True, 1e-4)
    schedule = optimizer.schedule
    assert (schedule.type, schedule.mode, schedule.epochs, schedule.params) == (
        "poly",
        "step",
        40,
        {"max_iter": 100500},
    )
    assert config.losses == {"BinaryCrossentropy": 1}
    b5 = read_config(CONFIGS / "b5.json")
    assert (b5.encoder, b5.optimizer.batch_size, b5.optimizer.schedule.epochs) == ("tf_efficientnet_b5_ns", 20, 30)
    assert b5.optimizer.schedule.params == {"max_iter": 75100}


@pytest.mark.parametrize(
    "key, value, message",
    [
        ("sizes", 380, "sizes: unknown key; allowed: network, encoder, "),
        ("optimizer.lr", 0.1, "optimizer.lr: unknown key; allowed: batch_size, type, learning_rate, "),
        ("encoder", "resnet50", 'encoder: "resnet50" is not allowed; must be one of tf_efficientnet_b0_ns, '),
        ("network", "Net", 'network: "Net" is not allowed; must be one of DeepFakeClassifier, '),
        ("size", "380", 'size: "380" is not allowed; must be a whole number from 32 to 4096'),
        ("size", True, "size: true is not allowed; must be a whole number from 32 to 4096"),
        ("size", 380.5, "size: 380.5 is not allowed"),
        ("size", None, "size: is missing; set it to a whole number from 32 to 4096"),
        ("fp16", 1, "fp16: 1 is not allowed; must be true or false"),
        ("system", "winner", 'system: "winner" is not allowed; must be one of seferbekov, ntechlab, medics'),
        ("system", 3, "system: 3 is not allowed; must be one of seferbekov, "),
        ("system", "medics", "network: unknown key; allowed: model, pretrained, seed, "),
        ("optimizer", [], "optimizer: must be an object of keys and values"),
        ("optimizer", None, "optimizer: is missing; set it to an object"),
        (
            "optimizer.batch_size",
            0,
            "optimizer.batch_size: 0 is not allowed; must be a whole number from 1 to 1000000000",
        ),
        (
            "optimizer.schedule.epochs",
            10**9,
            "optimizer.schedule.epochs: 1000000000 is not allowed; must be a whole number from 1 to 100000",
        ),
        ("optimizer.learning_rate", 0, "optimizer.learning_rate: 0 is not allowed; must be a number above 0"),
        (
            "optimizer.learning_rate",
            float("nan"),
            "optimizer.learning_rate: NaN is not allowed; must be a number above 0",
        ),
        ("optimizer.momentum", 2, "optimizer.momentum: 2 is not allowed; must be a number from 0 to 1"),
        ("optimizer.momentum", 0, "optimizer.nesterov: needs optimizer.momentum above 0"),
        ("optimizer.type", "Lion", 'optimizer.type: "Lion" is not allowed; must be one of SGD, Adam, '),
        (
            "optimizer.schedule.type",
            "cosine",
            'optimizer.schedule.type: "cosine" is not allowed; must be one of poly, ',
        ),
        (
            "optimizer.schedule.params",
            {"max": 1},
            "optimizer.schedule.params.max: unknown key; poly takes: max_iter, power",
        ),
        ("optimizer.schedule.params", {"max_iter": 0}, "optimizer.schedule.params: max_iter must be 1 or more"),
        ("optimizer.schedule.params", {"max_iter": "x"}, 'optimizer.schedule.params.max_iter: "x" is not allowed'),
        (
            "normalize.mean",
            [0.5, 0.5, 0.5],
            "normalize.mean: [0.5, 0.5, 0.5] is not allowed; must be [0.485, 0.456, 0.406]",
        ),
        ("losses", {"Focal": 1}, 'losses: {"Focal": 1} is not allowed; must be an object of weights above 0'),
        ("losses", {}, "losses: {} is not allowed"),
        ("losses", {"BinaryCrossentropy": True}, 'losses: {"BinaryCrossentropy": true} is not allowed'),
        ("losses", {"BinaryCrossentropy": 1e6}, 'losses: {"BinaryCrossentropy": 1000000.0} is not allowed'),
        ("optimizer.momentum", True, "optimizer.momentum: true is not allowed; must be a number from 0 to 1"),
        ("optimizer.weight_decay", "0", 'optimizer.weight_decay: "0" is not allowed; must be a number from 0 to 1e+30'),
        ("optimizer.weight_decay", float("inf"), "optimizer.weight_decay: Infinity is not allowed"),
        ("optimizer.schedule.params", [], "optimizer.schedule.params: [] is not allowed; must be an object"),
        ("bf16", True, "fp16 and bf16: both are true; set one of them"),
    ],
)
def test_what_is_wrong_is_named(key, value, message):
    with pytest.raises(ConfigError) as error:
        parse_config(changed(key, value), "my.json")
    assert str(error.value).startswith(f"my.json: {message}") and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "text, message",
    [
        ("{", "is not JSON"),
        ("[]", "the file: must be an object"),
        ('{"size": 1, "size": 2}', "is not JSON (key size is there twice)"),
        ("\xff", "is not JSON"),
    ],
)
def test_broken_files(tmp_path, text, message):
    path = tmp_path / "c.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError) as error:
        read_config(path)
    assert str(error.value).startswith(f"{path}: {message}")


def test_a_file_of_the_project_from_another_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert read_config("configs/b7.json") == read_config(CONFIGS / "b7.json")
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "b7.json").write_text("{")
    with pytest.raises(ConfigError, match=r"^configs/b7.json: is not JSON"):  # what is in the folder goes first
        read_config("configs/b7.json")


def test_no_such_file(tmp_path):
    with pytest.raises(ConfigError, match=r"can't be read .No such file or directory.; --config must name a file"):
        read_config(tmp_path / "c.json")


@pytest.mark.parametrize(
    "kind, params, message",
    [
        ("poly", {}, "optimizer.schedule.params.max_iter: is missing; poly needs it"),
        ("poly", {"max_iter": True}, "optimizer.schedule.params.max_iter: true is not allowed"),
        ("poly", {"max_iter": 10, "power": 10**400}, "optimizer.schedule.params.power: 1000"),
        ("multistep", {"milestones": ["a"]}, 'optimizer.schedule.params.milestones: ["a"] is not allowed'),
        ("multistep", {"milestones": [1], "gamma": -1}, "optimizer.schedule.params: gives a learning rate of -0.01"),
        ("step", {"steps": [[0, -5]]}, "optimizer.schedule.params: gives a learning rate of -5"),
        ("step", {"steps": [[0, [5]]]}, "optimizer.schedule.params.steps: [[0, [5]]] is not allowed; must be numbers"),
        ("linear", {"alpha": float("nan"), "beta": 1}, "optimizer.schedule.params.alpha: NaN is not allowed"),
        ("clr", {"base_lr": 1, "max_lr": 2, "mode": "x"}, "optimizer.schedule.params: mode must be one of triangular"),
    ],
)
def test_schedules_that_make_no_sense(kind, params, message):
    with pytest.raises(ConfigError) as error:
        parse_config(changed("optimizer.schedule", {"type": kind, "epochs": 1, "params": params}), "my.json")
    assert str(error.value).startswith(f"my.json: {message}") and "\n" not in str(error.value)


def test_dumped_as_checkpoints_have_it():
    """Trainings go on whose checkpoints hold these keys and values, with the defaults of what a file leaves out."""
    content = b7()
    del content["optimizer"]["nesterov"], content["losses"], content["normalize"]
    content["optimizer"]["momentum"] = 0
    assert json.loads(parse_config(content, "my.json").model_dump_json(exclude={"system"})) == {
        "network": "DeepFakeClassifier",
        "encoder": "tf_efficientnet_b7_ns",
        "pretrained": True,
        "size": 380,
        "batches_per_epoch": 2500,
        "fp16": True,
        "bf16": False,
        "optimizer": {
            "batch_size": 12,
            "type": "SGD",
            "learning_rate": 0.01,
            "classifier_lr": None,
            "momentum": 0.0,
            "nesterov": False,
            "weight_decay": 1e-4,
            "schedule": {"type": "poly", "mode": "step", "epochs": 40, "params": {"max_iter": 100500}},
        },
        "normalize": {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]},
        "losses": {"BinaryCrossentropy": 1},
        "ohem_samples": None,
        "diff_dropout": 0.0,
    }
