"""No import goes up a floor, or to another system."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FLOORS = ("runtime", "engines", "faces", "systems", ("preprocessing", "training", "inference"), "evaluation")
DOORS = {path.stem for path in ROOT.glob("*.py")}
LEVEL = {name: level for level, names in enumerate(FLOORS) for name in ([names] if isinstance(names, str) else names)}
FILES = sorted(path for name in LEVEL for path in (ROOT / name).rglob("*.py"))


def imported(path):
    """The modules of ours that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def is_allowed(path, module):
    mine, theirs = path.relative_to(ROOT).parts, module.split(".")
    if theirs[0] not in LEVEL:
        return theirs[0] not in ("benchmarks", "tests", *DOORS)
    if theirs[0] == mine[0]:
        of_system = theirs[0] == "systems" and len(theirs) > 2
        return not of_system or theirs[1] == mine[1]
    return LEVEL[theirs[0]] < LEVEL[mine[0]]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_imports_go_down(path):
    assert [module for module in imported(path) if module and not is_allowed(path, module)] == []


def test_drivers_know_no_system():
    """What runs predictions finds systems by name."""
    for path in (*(ROOT / "inference").glob("*.py"), ROOT / "predict_folder.py"):
        of_systems = [module for module in imported(path) if (module or "").startswith("systems.")]
        assert [module for module in of_systems if module.count(".") > 1] == [], path
