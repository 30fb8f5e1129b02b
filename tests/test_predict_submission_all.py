"""SYSTEM=all ./predict_submission.sh: which systems run, with which flags and files, and what becomes of failures."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from systems.medics.models import MODELS, save_model
from systems.medics.starting_weights import starting_model
from systems.ntechlab.checkpoints import save_classifier
from systems.ntechlab.models import ROLES, create_network
from tests import media

ROOT = Path(__file__).resolve().parents[1]
SYSTEMS = ("seferbekov", "ntechlab", "medics")
SCORES = {"seferbekov": 0.9, "ntechlab": 0.6, "medics": 0.3}

# In place of predict_folder.py: notes its arguments, and does what a file named after the system says.
STUB = """
import argparse, json, pathlib, signal, sys, time
sys.path.insert(0, ROOT)
from runtime.command import run_command
parser = argparse.ArgumentParser()
for flag in ("--system", "--weights-dir", "--test-dir", "--output", "--report", "--faces-csv", "--case"):
    parser.add_argument(flag)
parser.add_argument("--models", nargs="+")
args, others = parser.parse_known_args()
here = pathlib.Path(__file__).parent
with open(here / "calls.jsonl", "a") as calls:
    calls.write(json.dumps({**vars(args), "others": others}) + "\\n")
order = here / args.system
order = order.read_text() if order.exists() else ""
def work(args, ranks):
    if order == "sleep":
        print("sleeping", flush=True)
        time.sleep(60)
    if order != "fail":
        pathlib.Path(args.output).write_text(f"filename,label\\na.mp4,{SCORES[args.system]}\\n")
    return int(order in ("fail", "strict"))
sys.exit(run_command(work, args))
"""


@pytest.fixture
def fake(tmp_path):
    """A checkout in which the stub stands for predict_folder.py, with the weights of every system."""
    checkout = tmp_path / "checkout"
    (checkout / "weights").mkdir(parents=True)
    for name in ("env.sh", "predict_submission.sh"):
        shutil.copy(ROOT / name, checkout / name)
    for name in ("combine_submissions.py", "configs"):
        (checkout / name).symlink_to(ROOT / name)
    (checkout / "predict_folder.py").write_text(f"ROOT, SCORES = {str(ROOT)!r}, {SCORES!r}\n{STUB}")
    for system in SYSTEMS:
        for name in published(system):
            (checkout / "weights" / name).touch()
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to(sys.executable)
    return checkout


def published(system):
    return list(json.loads((ROOT / "configs" / "published" / f"{system}.json").read_text())["files"])


def environment(checkout, **more):
    python = {"PATH": f"{checkout.parent / 'bin'}:{os.environ['PATH']}", "PYTHONPATH": ":".join(sys.path)}
    return {**os.environ, **python, "SYSTEM": "all", **more}


def run(checkout, *flags, **more):
    command = [str(checkout / "predict_submission.sh"), "videos", "out/s.csv", *flags]
    (checkout / "out").mkdir(exist_ok=True)
    env = environment(checkout, **more)
    return subprocess.run(command, capture_output=True, text=True, cwd=checkout, env=env, timeout=300)


def calls(checkout):
    return [json.loads(line) for line in (checkout / "calls.jsonl").read_text().splitlines()]


def rows(path):
    with open(path, newline="") as file:
        return list(csv.reader(file))


def test_all_systems(fake):
    """One after the other, each with its models and files of its own; then the mean of the three."""
    done = run(fake, "--report", "out/my page.html", "--faces-csv=out.d/faces", "--device", "cpu")
    assert done.returncode == 0, done.stderr
    assert [call["system"] for call in calls(fake)] == list(SYSTEMS)
    for call in calls(fake):
        system = call["system"]
        assert call["models"] == published(system) and call["others"] == ["--device", "cpu"]
        assert call["output"] == f"out/s.{system}.csv" and call["report"] == f"out/my page.{system}.html"
        assert call["faces_csv"] == f"out.d/faces.{system}" and call["test_dir"] == "videos"
    (header, row) = rows(fake / "out" / "s.csv")
    assert header == ["filename", "label", "s.seferbekov", "s.ntechlab", "s.medics"]  # there are no summaries
    assert row[0] == "a.mp4" and [float(cell) for cell in row[1:]] == pytest.approx([0.6, 0.9, 0.6, 0.3])
    assert "systems disagree" in (fake / "out" / "my page.html").read_text()
    assert "left out" not in done.stdout and "systems disagree: a.mp4" in done.stdout


@pytest.mark.parametrize("flag", [("--case", "cases/c.case.json"), ("--case=cases/c.case.json",)])
def test_each_system_has_a_case(fake, flag):
    """None is written over by the system after it."""
    assert run(fake, *flag).returncode == 0
    assert [call["case"] for call in calls(fake)] == [f"cases/c.case.{system}.json" for system in SYSTEMS]


def test_weights_that_are_not_there(fake):
    names = published("ntechlab")
    weights = fake.parent / "elsewhere"
    (fake / "weights").rename(weights)
    (weights / names[0]).unlink()
    (weights / names[2]).unlink()
    done = run(fake, WEIGHTS_DIR=str(weights))
    assert done.returncode == 0, done.stderr
    told = f"ntechlab is left out: 2 of its 3 checkpoints are not in {weights}: {names[0]} {names[2]}\n"
    assert told in done.stdout and done.stdout.count("left out") == 1
    assert [call["system"] for call in calls(fake)] == ["seferbekov", "medics"]
    assert all(call["weights_dir"] == str(weights) for call in calls(fake))
    assert float(rows(fake / "out" / "s.csv")[1][1]) == pytest.approx(0.6)

    shutil.rmtree(weights)
    none = run(fake, WEIGHTS_DIR=str(weights))
    assert none.returncode == 1 and none.stdout.count("is left out") == 3
    assert none.stderr == (
        f"error: SYSTEM=all: no system's checkpoints are all in {weights}; docs/systems.md tells where they are from\n"
    )


def test_a_failure_stops(fake):
    """The submission of a former run is not taken for this one's."""
    (fake / "out").mkdir()
    old = fake / "out" / "s.ntechlab.csv"
    old.write_text("filename,label\na.mp4,0.1\n")
    os.utime(old, (1, 1))
    (fake / "ntechlab").write_text("fail")
    done = run(fake)
    assert done.returncode == 1 and not (fake / "out" / "s.csv").exists()
    assert done.stderr == (
        "error: stopped at ntechlab (exit code 1); mend what it names and run this again: it goes on\n"
    )
    (fake / "ntechlab").unlink()
    assert run(fake).returncode == 0 and len(rows(fake / "out" / "s.csv")[0]) == 5


def test_strict(fake):
    """A system that wrote its submission and has something to say all the same: the others run, and the code is 1."""
    (fake / "seferbekov").write_text("strict")
    done = run(fake, "--strict")
    assert done.returncode == 1 and len(calls(fake)) == 3 and (fake / "out" / "s.csv").exists()
    assert all(call["others"] == ["--strict"] for call in calls(fake))


def test_a_signal_reaches_the_system(fake):
    (fake / "ntechlab").write_text("sleep")
    (fake / "out").mkdir()
    command = [str(fake / "predict_submission.sh"), "videos", "out/s.csv"]
    process = subprocess.Popen(
        command, cwd=fake, env=environment(fake), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    for line in process.stdout:
        if line == "sleeping\n":
            break
    process.terminate()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 143
    assert errors.splitlines()[0] == "stopped; the same command goes on where it stopped"
    assert "error: stopped at ntechlab (exit code 143)" in errors and not (fake / "out" / "s.csv").exists()


def test_other_values_of_system(fake):
    """As before: one system, and its CSV under the name that was given."""
    assert run(fake, "--report", "page.html", SYSTEM="ntechlab").returncode == 0
    (call,) = calls(fake)
    assert call["output"] == "out/s.csv" and call["report"] == "page.html"
    unknown = run(fake, SYSTEM="none")
    assert unknown.returncode == 1 and unknown.stderr.startswith("error: SYSTEM=none: there is no ")


# with real, small checkpoints


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A checkout whose published ensembles are small ones of random weights, and videos."""
    checkout = tmp_path_factory.mktemp("small") / "checkout"
    published, weights = checkout / "configs" / "published", checkout / "weights"
    for folder in (published, weights, checkout / "videos", checkout.parent / "bin"):
        folder.mkdir(parents=True)
    for name in ("env.sh", "predict_submission.sh"):
        shutil.copy(ROOT / name, checkout / name)
    for name in ("combine_submissions.py", "predict_folder.py"):
        (checkout / name).symlink_to(ROOT / name)
    (checkout.parent / "bin" / "python").symlink_to(sys.executable)
    media.write_checkpoint(weights / "winner", seed=1)
    torch.manual_seed(2)
    save_classifier(weights / "frames", create_network(ROLES[0], media.ENCODER), role=ROLES[0], encoder=media.ENCODER)
    save_model(weights / MODELS["mc3_112"].file, starting_model("mc3_112", seed=3, pretrained=False))
    for system, name in zip(SYSTEMS, ("winner", "frames", MODELS["mc3_112"].file), strict=True):
        (published / f"{system}.json").write_text(json.dumps({"from": "here", "files": {name: {}}}))
    for number in range(3):
        poses = media.face_frames(12 + number, 320, 180, 90)
        frames = [pose for pose in poses for _ in range(4)]  # long and slow enough for all three to follow the face
        media.write_video(checkout / "videos" / f"face{number}.mp4", frames)
    media.write_video(checkout / "videos" / "none.mp4", media.noise_frames(20))
    return checkout


FLAGS = ("--device", "cpu", "--engine", "torch", "--workers", "1")


@pytest.mark.slow
def test_three_systems_killed_and_started_again(small):
    """Small checkpoints of three systems on one folder: one CSV, the same after SIGKILL of everything."""
    whole = run(small, *FLAGS)
    assert whole.returncode == 0, whole.stderr
    expected = (small / "out" / "s.csv").read_bytes()
    assert expected.splitlines()[0] == b"filename,label,seferbekov,ntechlab,medics"
    summary = json.loads((small / "out" / "s.summary.json").read_text())
    assert summary["videos"] == 4 and summary["nothing_known"] == ["none.mp4"]
    for filename, *scores in rows(small / "out" / "s.csv")[1:]:  # each system has found the faces
        assert [float(score) == 0.5 for score in scores] == [filename == "none.mp4"] * 4
    shutil.rmtree(small / "out")

    (small / "out").mkdir()
    command = [str(small / "predict_submission.sh"), "videos", "out/s.csv", *FLAGS]
    for system in SYSTEMS[:2]:  # killed while the first has scored something, and while the second has
        with open(os.devnull, "wb") as null:
            process = subprocess.Popen(
                command, cwd=small, env=environment(small), stdout=null, stderr=null, start_new_session=True
            )
            end = time.monotonic() + 300
            journals = small / "out"
            while not any(path.read_bytes().count(b"\n") > 1 for path in journals.glob(f"s.{system}.*.jsonl")):
                assert process.poll() is None and time.monotonic() < end
                time.sleep(0.02)
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        assert not (small / "out" / "s.csv").exists()
    again = run(small, *FLAGS)
    assert again.returncode == 0, again.stderr
    assert (small / "out" / "s.csv").read_bytes() == expected
