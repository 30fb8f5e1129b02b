"""Which version of the project this is: its commit, where it is a git tree, and the SHA-256 of its sources."""

import functools
import hashlib
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
_FOLDERS = ("configs", "engines", "faces", "inference", "runtime", "systems")  # what a prediction is made by
_FILES = ("predict_folder.py",)
_SOURCES = (".py", ".json", ".cpp", ".cu", ".h", ".js", ".css", ".html")
_GIT_SECONDS = 20
# nothing that a tree brings along is run: no hook, no monitor; and nothing is written to it
_SAFELY = ("--no-optional-locks", "-c", "core.fsmonitor=false", "-c", f"core.hooksPath={os.devnull}")


@functools.cache
def source_tree() -> dict[str, Any]:
    """ "commit" (None where this is no git tree, or there is no git), "changed" (whether the tree has other files than
    the commit; None without one), "sha256" of the sources that predictions are made by: of a line for each file, sorted
    by path, with its SHA-256, two spaces, its path and a newline, as `sha256sum` writes it."""
    commit, changed = _commit(ROOT)
    return {"commit": commit, "changed": changed, "sha256": sources_digest(ROOT)}


def sources_digest(root: Path) -> str:
    """Of the sources below `root`."""
    paths = [root / name for name in _FILES]
    for folder in _FOLDERS:
        paths += [path for path in (root / folder).rglob("*") if path.suffix in _SOURCES]
    lines = []
    for name, path in sorted((path.relative_to(root).as_posix(), path) for path in paths if path.is_file()):
        lines.append(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {name}\n")
    return hashlib.sha256("".join(lines).encode(errors="surrogateescape")).hexdigest()


def _commit(root: Path) -> tuple[str | None, bool | None]:
    git = shutil.which("git")
    if git is None or not (root / ".git").exists():
        return None, None
    command = [git, *_SAFELY, "-C", str(root), "status", "--porcelain=v2", "--branch", "--ignore-submodules=all"]
    surroundings = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        told = subprocess.run(command, capture_output=True, env=surroundings, timeout=_GIT_SECONDS, check=True).stdout
    except (OSError, subprocess.SubprocessError):  # such as of a tree that is another user's
        return None, None
    lines = told.decode(errors="replace").splitlines()
    oid = next((line.rpartition(" ")[2] for line in lines if line.startswith("# branch.oid ")), "(initial)")
    return (None, None) if oid.startswith("(") else (oid, any(not line.startswith("#") for line in lines))
