"""NtechLab's files for tests/fuzz.py: recorded detections, tracks in both formats, pairs, images, trainings."""

import json
from pathlib import Path

import predict_folder
from preprocessing import align_tracks, detect_tracks, extract_track_crops
from tests import media, ntechlab
from tests.fuzz_target import Files, Target, run_all
from training.pipelines import train_classifier

_LAST = f"t_ntechlab_large_crop_{media.ENCODER}_last"


def detect(folder: Path) -> int:
    return detect_tracks.main(
        [*_stage_flags(folder), "--detections", str(folder / "detections.json"), "--format", "published"]
    )


def align(folder: Path) -> int:
    return align_tracks.main(["--root-dir", str(folder / "root")])


def align_published(folder: Path) -> int:
    return align_tracks.main(["--root-dir", str(folder / "root"), "--format", "published"])


def cut_out(folder: Path) -> int:
    return extract_track_crops.main(_stage_flags(folder))


def cut_out_published(folder: Path) -> int:
    return extract_track_crops.main([*_stage_flags(folder), "--format", "published"])


def train(folder: Path) -> int:
    return train_classifier.main([*_train_flags(folder), "--prefix", "new_"])


def resume(folder: Path) -> int:
    return train_classifier.main([*_train_flags(folder), "--resume", str(folder / "out" / _LAST)])


def predict(folder: Path) -> int:
    return predict_folder.main(
        [
            *("--weights-dir", str(folder / "out"), "--models", _LAST, "--test-dir", str(folder / "root" / "few")),
            *("--detections", str(folder / "detections.json"), "--output", str(folder / "submission.csv")),
            *("--device", "cpu", "--engine", "torch", "--workers", "1"),
        ]
    )


def _stage_flags(folder: Path) -> list[str]:
    return ["--root-dir", str(folder / "root"), "--workers", "1"]


def _train_flags(folder: Path) -> list[str]:
    return [
        *("--config", str(folder / "config.json"), "--data-dir", str(folder / "root"), "--workers", "0"),
        *("--output-dir", str(folder / "out"), "--logdir", str(folder / "logs"), "--prefix", "t_", "--device", "cpu"),
    ]


def make(folder: Path) -> None:
    ntechlab.write_root(folder / "root")
    recorded = ntechlab.entries() | {"few.mp4": ntechlab.entry([[ntechlab.FACE]] * 7, frames=39)}
    ntechlab.write_detections(folder / "detections.json", recorded)
    (folder / "root" / "few").mkdir()
    frames = media.face_frames(39, ntechlab.WIDTH, ntechlab.HEIGHT, 90)
    media.write_video(folder / "root" / "few" / "few.mp4", frames)
    schedule = {"type": "poly", "mode": "step", "epochs": 1, "params": {"max_iter": 10}}
    config = {
        "system": "ntechlab",
        "role": "large_crop",
        "encoder": media.ENCODER,
        "pretrained": False,
        "seed": 1,
        "batches_per_epoch": 1,
        "warm_up": 1,  # the classifier alone learns, which takes least
        "optimizer": {"batch_size": 1, "type": "SGD", "learning_rate": 0.01, "schedule": schedule},
    }
    (folder / "config.json").write_text(json.dumps(config))
    run_all((detect, align, align_published, cut_out, train), folder)
    for path in (folder / "out").iterdir():
        if path.name.endswith("_last"):
            path.rename(path.with_name(_LAST))
        else:
            path.unlink()  # other checkpoints are not read, and would be copied for each case


FILES = Files(
    make=make,
    targets={
        "recorded-faces": Target(files=("detections.json",), kind="json", commands=(detect, predict)),
        "face-tracks": Target(files=("root/face_tracks/*/*.json",), kind="json", commands=(align, detect)),
        "aligned-tracks": Target(files=("root/aligned_tracks.json",), kind="json", commands=(align, cut_out)),
        "pickled-tracks": Target(
            files=("root/tracks.pkl", "root/aligned_tracks.pkl"),
            kind="pickle",
            commands=(align_published, cut_out_published),
        ),
        "track-pairs": Target(files=("root/track_pairs.txt",), kind="csv", commands=(train,)),
        "track-image": Target(files=("root/tracks/*/*/*.png",), kind="png", commands=(train,)),
        "track-config": Target(files=("config.json",), kind="json", commands=(train,)),
        "track-training": Target(files=(f"out/{_LAST}",), kind="checkpoint", commands=(resume, predict)),
    },
)
