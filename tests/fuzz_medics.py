"""The Medics' files for tests/fuzz.py: boxes, records of clips and mini videos, their table, settings, trainings."""

import json
from pathlib import Path

import predict_folder
from preprocessing import extract_face_clips, extract_mini_videos
from preprocessing.face_boxes import SEARCH
from runtime.files import file_identity
from systems.medics.clip_files import BY_PART, MINI_VIDEOS, TABLE
from tests import media, medics
from tests.fuzz_target import Files, Target, run_all
from training.pipelines import train_classifier

_LAST = "t_medics_res10_last"
_PART = "dfdc_train_part_7"


def clips(folder: Path) -> int:
    return extract_face_clips.main(_stage_flags(folder))


def clips_again(folder: Path) -> int:
    return extract_face_clips.main([*_stage_flags(folder), "--overwrite"])


def clips_of_kept_boxes(folder: Path) -> int:
    """Without --boxes: those of rois/ are used, or searched again where they can't be this video's."""
    return extract_face_clips.main(["--root-dir", str(folder / "root"), "--workers", "1", "--device", "cpu"])


def mini_videos(folder: Path) -> int:
    return extract_mini_videos.main(_stage_flags(folder))


def mini_videos_again(folder: Path) -> int:
    return extract_mini_videos.main([*_stage_flags(folder), "--overwrite"])


def train(folder: Path) -> int:
    return train_classifier.main([*_train_flags(folder, "config.json"), "--prefix", "new_"])


def begin_on_frames(folder: Path) -> int:
    """All that is read before the 2D network, whose five steps take longest of all: it is not there."""
    return train_classifier.main([*_train_flags(folder, "config_2d.json"), "--init", str(folder / "none")])


def start_from(folder: Path) -> int:
    return train_classifier.main(
        [*_train_flags(folder, "config.json"), "--prefix", "new_", "--init", str(folder / "out" / _LAST)]
    )


def resume(folder: Path) -> int:
    return train_classifier.main(
        [*_train_flags(folder, "config.json"), "--resume", str(folder / "out" / _LAST)],
    )


def predict(folder: Path) -> int:
    return predict_folder.main(
        [
            *("--weights-dir", str(folder / "out"), "--models", _LAST, "--test-dir", str(folder / "few")),
            *("--clip-settings", str(folder / "settings.json"), "--output", str(folder / "submission.csv")),
            *("--device", "cpu", "--engine", "torch", "--workers", "1"),
        ]
    )


def _stage_flags(folder: Path) -> list[str]:
    return ["--root-dir", str(folder / "root"), "--workers", "1", "--boxes", str(folder / "root" / "rois")]


def _train_flags(folder: Path, config: str) -> list[str]:
    return [
        *("--config", str(folder / config), "--data-dir", str(folder / "root"), "--workers", "0"),
        *("--output-dir", str(folder / "out"), "--logdir", str(folder / "logs"), "--prefix", "t_", "--device", "cpu"),
    ]


def make(folder: Path) -> None:
    root = medics.make_root(folder / "root", {"a": 150, "b": 150}, {"b": "a"})
    (root / "rois").mkdir()
    for video in ("a", "b"):
        found_in = {"video": file_identity(root / _PART / f"{video}.mp4"), "search": SEARCH}
        boxes = {**found_in, "boxes": [[medics.FACE]] * 15}
        (root / "rois" / f"{video}.boxes.json").write_text(json.dumps(boxes))
    _write_configs(folder)
    (folder / "few").mkdir()
    media.write_video(folder / "few" / "few.mp4", media.face_frames(1, 320, 180, 90) * 9)
    run_all((clips, mini_videos, train), folder)
    for path in (folder / "out").iterdir():
        if path.name.endswith("_last"):
            path.rename(path.with_name(_LAST))
        else:
            path.unlink()  # other checkpoints are not read, and would be copied for each case


def _write_configs(folder: Path) -> None:
    schedule = {"type": "poly", "mode": "step", "epochs": 1, "params": {"max_iter": 10}}
    optimizer = {"batch_size": 1, "type": "SGD", "learning_rate": 0.01, "schedule": schedule}
    config = {"system": "medics", "pretrained": False, "seed": 1, "held_out_parts": [], "optimizer": optimizer}
    (folder / "config.json").write_text(json.dumps({**config, "model": "res10", "cutmix": True}))
    (folder / "config_2d.json").write_text(json.dumps({**config, "model": "seresnext50"}))
    attempt = {"scale": 0.25, "thresholds": [0.8, 0.8, 0.9], "most_faces": 5}
    settings = {"frame_step": 2, "attempts": [attempt], "model_weights": {"res10": 1.0}, "clamp": [0.001, 0.999]}
    (folder / "settings.json").write_text(json.dumps(settings))


FILES = Files(
    make=make,
    targets={
        "face-boxes": Target(
            files=("root/rois/*.json",), kind="json", commands=(clips_again, mini_videos_again, clips_of_kept_boxes)
        ),
        "cut-record": Target(
            files=(f"root/{BY_PART}/*/*.json", f"root/{MINI_VIDEOS}/*.json"), kind="json", commands=(clips, mini_videos)
        ),
        "mini-videos": Target(files=(f"root/{TABLE}",), kind="csv", commands=(begin_on_frames, mini_videos)),
        "clip": Target(files=(f"root/{BY_PART}/*/*.mp4",), kind="video", commands=(train, clips)),
        "clip-config": Target(files=("config.json",), kind="json", commands=(train,)),
        "clip-settings": Target(files=("settings.json",), kind="json", commands=(predict,)),
        "clip-training": Target(files=(f"out/{_LAST}",), kind="checkpoint", commands=(resume, start_from, predict)),
    },
)
