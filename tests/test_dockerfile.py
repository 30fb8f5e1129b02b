"""What can be told of the Dockerfile and .dockerignore without an engine."""

import re
import subprocess
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def instructions():
    """(word, the rest) of each instruction, continued lines joined."""
    lines = [line for line in (ROOT / "Dockerfile").read_text().splitlines() if not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", "")
    return [tuple(line.split(None, 1)) for line in joined.splitlines() if line.strip()]


def arguments():
    return dict(rest.split("=", 1) for word, rest in instructions() if word == "ARG")


def run_line(part):
    """The RUN instruction that holds `part`."""
    (line,) = [rest for word, rest in instructions() if word == "RUN" and part in rest]
    return line


def in_context(path):
    """Whether .dockerignore lets a path go to the engine: the last line that fits it, or a folder above it, decides."""
    kept = True
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        pattern = line.removeprefix("!").removeprefix("**/")
        above = [path, *(str(parent) for parent in Path(path).parents)]
        fits = [Path(each).name for each in above] if "**/" in line else above
        if any(each.count("/") == pattern.count("/") and fnmatch(each, pattern) for each in fits):
            kept = line.startswith("!")
    return kept


def test_the_default_is_an_official_image():
    image = next(rest for word, rest in instructions() if word == "FROM")
    for name, value in arguments().items():
        image = image.replace(f"${{{name}}}", value)
    assert image == "pytorch/pytorch:2.11.0-cuda13.0-cudnn9-runtime"
    assert f"torch=={arguments()['PYTORCH']}" in (ROOT / "requirements.txt").read_text().splitlines()


def test_what_is_copied_is_there():
    for word, rest in instructions():
        if word == "COPY":
            *sources, _ = rest.split()
            for source in sources:
                assert ((ROOT / source).exists() and in_context(source)) or source == "."


def test_variables_are_declared_before_they_are_used():
    known = {"PATH"}
    for word, rest in instructions():
        used = set(re.findall(r"(?<!\\)\$\{?(\w+)", rest))
        assert used <= known, f"{word} {rest}"
        if word in ("ARG", "ENV"):
            known |= set(re.findall(r"(?:^|\s)(\w+)=", rest))


@pytest.mark.parametrize("line", [rest for word, rest in instructions() if word == "RUN"])
def test_run_lines_are_shell(line):
    checked = subprocess.run(["/bin/sh", "-n", "-c", line], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr


def test_what_the_image_has_is_not_in_what_pip_installs():
    lock = (ROOT / "requirements.lock").read_text()
    program = re.search(r"awk ('[^']+')", run_line("awk"))[1]
    left = subprocess.run(f"awk {program}", shell=True, capture_output=True, text=True, input=lock).stdout
    gone = packages_of(lock) - packages_of(left)
    assert {"torch", "torchvision", "triton", "setuptools", "nvidia-cudnn-cu13", "cuda-bindings"} <= gone
    assert all(name.startswith(("nvidia-", "cuda-", "torch", "triton", "setuptools")) for name in gone)
    needed = {line.split("==")[0] for line in (ROOT / "requirements.txt").read_text().splitlines() if "==" in line}
    assert needed - {"torch", "torchvision"} <= packages_of(left)
    assert left.count("==") < left.count("--hash=sha256:")


def packages_of(lock):
    return set(re.findall(r"^([a-z0-9-]+)==", lock, re.MULTILINE))


def test_apex_is_off_and_needs_a_compiler():
    line = run_line("nvcc")
    off = subprocess.run(["/bin/sh", "-c", line], env={"APEX": arguments()["APEX"], "PATH": ""})
    assert off.returncode == 0
    on = subprocess.run(["/bin/sh", "-c", line], env={"APEX": "1", "PATH": ""}, capture_output=True, text=True)
    assert on.returncode == 1 and on.stderr.startswith("error: APEX=1 needs nvcc") and "VARIANT=devel" in on.stderr


def test_data_and_environment_stay_out_of_the_context():
    for path in (".git/config", ".venv/ready", "weights/final_111", "logs/b7_111", "folds.csv", "sample_data/a.mp4"):
        assert not in_context(path), path
    for path in ("dfdc_train_part_0/metadata.json", "training/__pycache__/a.pyc", "submission.csv"):
        assert not in_context(path), path


def test_all_code_is_in_the_context():
    packages = [path.parent.name for path in ROOT.glob("*/__init__.py")]
    assert {"training", "preprocessing", "inference", "runtime"} <= set(packages)
    scripts = [path.name for pattern in ("*.py", "*.sh") for path in ROOT.glob(pattern)]
    for name in (*packages, *scripts, "configs", "weights/README.md", "requirements.lock", "CITATION.cff"):
        assert in_context(name), name
    assert in_context("systems/seferbekov/models.py")
