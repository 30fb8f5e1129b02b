"""A Python without what the project needs: each script says so in one line."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from runtime import environment

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = (".", "preprocessing", "training/pipelines", "training/tools")
SCRIPTS = [
    path.relative_to(ROOT).as_posix()
    for folder in FOLDERS
    for path in sorted((ROOT / folder).glob("*.py"))
    if '__name__ == "__main__"' in path.read_text(encoding="utf-8") and path.name != "__main__.py"
]
IMPORTED_AS = {
    "facenet-pytorch": "facenet_pytorch",
    "opencv-python-headless": "cv2",
    "pillow": "PIL",
    "scikit-image": "skimage",
    "scikit-learn": "sklearn",
}


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_without_its_environment(script):
    """-S leaves out site-packages."""
    bare = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    path = ROOT / script
    is_alone = path.parent == ROOT or "sys.path.insert" in path.read_text(encoding="utf-8")
    name = [str(path)] if is_alone else ["-m", script.removesuffix(".py").replace("/", ".")]
    command = [sys.executable, "-S", *name, "--help"]
    process = subprocess.run(command, capture_output=True, text=True, env=bare, cwd="/" if is_alone else ROOT)
    lacks = f"error: {sys.executable} lacks torch, torchvision, timm and {len(environment.REQUIRED) - 3} more"
    assert process.stderr == f"{lacks}: run make setup once, then .venv/bin/python {path}\n"
    assert process.returncode == 1 and process.stdout == ""


def test_what_is_required_is_what_is_installed():
    """The libraries of requirements.txt but for those that a comment calls optional."""
    required, optional = [], False
    for line in (ROOT / "requirements.txt").read_text().splitlines():
        optional = optional or line.startswith("# optional")
        name = re.match(r"([\w.-]+)==", line)
        if name and not optional:
            required.append(IMPORTED_AS.get(name[1], name[1]))
    assert sorted(required) == sorted(environment.REQUIRED)


def test_what_is_missing(monkeypatch):
    assert environment.what_is_missing() is None
    monkeypatch.setattr(environment, "REQUIRED", ("torch", "no_such_module"))
    assert environment.what_is_missing() == "lacks no_such_module"
    monkeypatch.setattr(sys, "version_info", (3, 9))
    assert environment.what_is_missing() == "is older than Python 3.11"
