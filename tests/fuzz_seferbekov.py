"""The winner's files for tests/fuzz.py, and those that no system owns: data roots, folds, submissions, labels."""

import json
import shutil
from pathlib import Path

import evaluate
import predict_folder
from preprocessing import extract_crops, generate_diffs, generate_folds, inspect_data
from tests import media
from tests.fuzz_target import Files, Target, run_all
from tests.test_inspect_data import write_root
from tests.test_train_classifier import write_config
from training.pipelines import train_classifier
from training.tools import check_checkpoint

_FRAMES = 11
_LAST = "t_DeepFakeClassifier_tf_efficientnet_b0_ns_0_last"


def predict(folder: Path) -> int:
    return predict_folder.main(_predict_flags(folder))


def predict_again(folder: Path) -> int:
    return predict_folder.main([*_predict_flags(folder), "--overwrite", "--report", str(folder / "report.html")])


def check(folder: Path) -> int:
    return check_checkpoint.main([str(folder / "weights" / "model")])


def resume(folder: Path) -> int:
    return train_classifier.main([*_train_flags(folder), "--resume", str(folder / "out" / _LAST)])


def train(folder: Path) -> int:
    return train_classifier.main([*_train_flags(folder), "--prefix", "new_"])


def crops(folder: Path) -> int:
    return extract_crops.main(_stage_flags(folder))


def crops_again(folder: Path) -> int:
    return extract_crops.main([*_stage_flags(folder), "--overwrite"])


def diffs(folder: Path) -> int:
    return generate_diffs.main(_stage_flags(folder))


def diffs_again(folder: Path) -> int:
    return generate_diffs.main([*_stage_flags(folder), "--overwrite"])


def folds(folder: Path) -> int:
    return generate_folds.main(
        ["--root-dir", str(folder / "root"), "--out", str(folder / "folds.csv"), "--n_splits", "2"]
    )


def inspect(folder: Path) -> int:
    return inspect_data.main(["--root-dir", str(folder / "root"), "--video", "f2", "--out", str(folder / "sheet.png")])


def figures(folder: Path) -> int:
    flags = [
        "--submission",
        str(folder / "submission.csv"),
        "--labels",
        str(folder / "root" / "part_0" / "metadata.json"),
    ]
    return evaluate.main([*flags, "--folds-csv", str(folder / "folds.csv"), "--json", str(folder / "figures.json")])


def figures_of_a_table(folder: Path) -> int:
    return evaluate.main(["--submission", str(folder / "submission.csv"), "--labels", str(folder / "labels.csv")])


def _predict_flags(folder: Path) -> list[str]:
    return [
        *("--weights-dir", str(folder / "weights"), "--models", "model", "--test-dir", str(folder / "root" / "part_0")),
        *("--output", str(folder / "submission.csv"), "--frames-per-video", "2", "--engine", "torch"),
        *("--device", "cpu", "--workers", "1"),
    ]


def _train_flags(folder: Path) -> list[str]:
    return [
        *("--config", str(folder / "config.json"), "--data-dir", str(folder / "root"), "--workers", "0"),
        *("--folds-csv", str(folder / "folds.csv"), "--output-dir", str(folder / "out"), "--prefix", "t_"),
        *("--logdir", str(folder / "logs"), "--device", "cpu"),
    ]


def _stage_flags(folder: Path) -> list[str]:
    return ["--root-dir", str(folder / "root"), "--workers", "1"]


def make(folder: Path) -> None:
    write_root(folder / "root", frames=_FRAMES)
    for name in ("crops", "diffs"):  # the stages' own
        shutil.rmtree(folder / "root" / name)
    _add_another_original(folder / "root")
    write_config(folder, epochs=1, batches_per_epoch=1)
    (folder / "weights").mkdir()
    media.write_checkpoint(folder / "weights" / "model")
    (folder / "labels.csv").write_text("filename,label\n004.mp4,0\nf1.mp4,1\nf2.mp4,1\n005.mp4,0\ng1.mp4,1\n")
    run_all((crops_again, diffs_again, folds, predict, train), folder)
    last = folder / "out" / _LAST.replace("t_", "new_", 1)
    last.rename(folder / "last")
    shutil.rmtree(folder / "out")  # other checkpoints are not read, and would be copied for each case
    (folder / "out").mkdir()
    (folder / "last").rename(folder / "out" / _LAST)


def _add_another_original(root: Path) -> None:
    """And its fake: what one fold is trained on while the other is held out."""
    part = root / "part_0"
    labels = json.loads((part / "metadata.json").read_text())
    for new, old in {"005": "004", "g1": "f1"}.items():
        shutil.copy(part / f"{old}.mp4", part / f"{new}.mp4")
    labels |= {"005.mp4": {"label": "REAL"}, "g1.mp4": {"label": "FAKE", "original": "005.mp4"}}
    (part / "metadata.json").write_text(json.dumps(labels))
    shutil.copy(root / "boxes" / "004.json", root / "boxes" / "005.json")
    shutil.copytree(root / "landmarks" / "004", root / "landmarks" / "005")


FILES = Files(
    make=make,
    targets={
        "checkpoint": Target(files=("weights/model",), kind="checkpoint", commands=(check, predict_again)),
        "training": Target(files=(f"out/{_LAST}",), kind="checkpoint", commands=(resume,)),
        "predictions": Target(
            files=("submission.*.jsonl",), kind="journal", commands=(predict, predict), result="submission.csv"
        ),
        "stage": Target(
            files=("root/.preprocessing/*.jsonl",), kind="journal", commands=(crops, diffs), result="root/diffs"
        ),
        "metadata": Target(files=("root/part_0/metadata.json",), kind="json", commands=(folds, inspect, figures)),
        "folds": Target(files=("folds.csv",), kind="csv", commands=(figures, train)),
        "boxes": Target(files=("root/boxes/*.json",), kind="json", commands=(inspect, crops_again)),
        "crop": Target(files=("root/crops/f*/*.png",), kind="png", commands=(inspect, diffs_again, train)),
        "landmarks": Target(files=("root/landmarks/*/*.npy",), kind="npy", commands=(inspect, train)),
        "diff": Target(files=("root/diffs/*/*.png",), kind="png", commands=(inspect, train)),
        "config": Target(files=("config.json",), kind="json", commands=(train,)),
        "submission": Target(files=("submission.csv",), kind="csv", commands=(figures_of_a_table, figures)),
        "labels": Target(files=("labels.csv",), kind="csv", commands=(figures_of_a_table,)),
    },
)
