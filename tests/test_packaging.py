"""What `pip install .` and `make setup` install: all that the scripts need, at versions that are said once."""

import ast
import re
import tomllib
from pathlib import Path

import pytest
import yaml

from preprocessing.__main__ import STAGES, main

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
WHEEL = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["only-include"]
PIN = re.compile(r"^([A-Za-z0-9-]+)==([^\s;]+)", re.MULTILINE)


def defines_main(path):
    return any(isinstance(node, ast.FunctionDef) and node.name == "main" for node in ast.parse(path.read_text()).body)


def pins(*names):
    return {pin for name in names for pin in PIN.findall((ROOT / name).read_text())}


def test_the_lock_has_every_version_that_is_asked_for():
    asked = pins("requirements.txt", "requirements-export.txt", "requirements-dev.txt")
    assert {name for name, _ in asked} >= {"torch", "safetensors", "onnxruntime", "pytest", "uv"}
    assert asked <= pins("requirements.lock")  # else: make lock


def test_the_lock_has_a_hash_of_everything_and_no_place():
    lock = (ROOT / "requirements.lock").read_text()
    assert "://" not in lock and "--index" not in lock and "--find-links" not in lock
    entries = re.split(r"^(?=[a-z0-9])", lock, flags=re.MULTILINE)[1:]
    assert len(entries) > 90
    for entry in entries:
        assert re.search(r"^    --hash=sha256:[0-9a-f]{64}", entry, re.MULTILINE), entry[:60]


def test_uv_is_taken_out_of_the_lock():
    """As the Makefile's awk does, before there is a uv that could install the rest."""
    assert "awk '/^uv==/, /# via/' requirements.lock" in (ROOT / "Makefile").read_text()
    entry = re.search(r"^uv==.*?# via[^\n]*", (ROOT / "requirements.lock").read_text(), re.MULTILINE | re.DOTALL)[0]
    assert len(PIN.findall(entry)) == 1 and "--hash=sha256:" in entry


def test_the_wheel_has_all_modules_and_nothing_that_is_not_there():
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests", "benchmarks"}
    assert packages | {"configs"} == {name for name in WHEEL if not name.endswith(".py")}
    assert {path.name for path in ROOT.glob("*.py")} == {name for name in WHEEL if name.endswith(".py")}


def test_what_is_read_at_run_time_lies_in_the_wheel():
    """Code finds it beside itself, so that it lies there when it is installed too."""
    for name in ("configs/published/medics.json", "inference/report.css", "engines/native/efficientnet.cu"):
        assert (ROOT / name).is_file() and name.split("/")[0] in WHEEL
    for path in (ROOT / "configs").rglob("*"):
        assert path.is_dir() or path.suffix == ".json"


@pytest.mark.parametrize("command", sorted(PROJECT["project"]["scripts"]))
def test_commands_call_a_main(command):
    module, function = PROJECT["project"]["scripts"][command].split(":")
    path = ROOT / f"{module.replace('.', '/')}.py"
    assert command.startswith("dfdc-") and function == "main"
    assert module.split(".")[0] in {name.removesuffix(".py") for name in WHEEL}
    assert defines_main(path)


def test_every_script_has_a_command():
    modules = {target.split(":")[0] for target in PROJECT["project"]["scripts"].values()}
    assert {path.stem for path in ROOT.glob("*.py") if defines_main(path)} <= modules


def test_every_stage_has_its_name():
    with_main = {path.stem for path in (ROOT / "preprocessing").glob("*.py") if defines_main(path)}
    assert with_main - {"__main__"} == set(STAGES) and len(set(STAGES)) == len(STAGES)


def test_a_stage_is_run_by_its_name(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["dfdc-preprocess"])
    assert main(["extract_crops", "--root-dir", str(tmp_path / "none"), "--crops-dir", "crops"]) == 1
    assert f"error: --root-dir {tmp_path / 'none'}: can't be read" in capsys.readouterr().err
    for argv, told in (["--help"], "extract_crops"), (["extract_crops", "--help"], "dfdc-preprocess extract_crops"):
        with pytest.raises(SystemExit, match="0"):
            main(argv)
        assert told in capsys.readouterr().out


def test_dependencies_are_said_once():
    hook = PROJECT["tool"]["hatch"]["metadata"]["hooks"]["requirements_txt"]
    assert hook["files"] == ["requirements.txt"]
    assert hook["optional-dependencies"] == {"export": ["requirements-export.txt"]}
    assert set(PROJECT["project"]["dynamic"]) == {"dependencies", "optional-dependencies"}
    assert all("==" in requirement for requirement in PROJECT["build-system"]["requires"])


def test_the_linter_knows_what_is_ours():
    ours = {path.parent.name for path in ROOT.glob("*/__init__.py")} | {path.stem for path in ROOT.glob("*.py")}
    assert ours == set(PROJECT["tool"]["ruff"]["lint"]["isort"]["known-first-party"])


def test_the_citation():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "title", "message", "authors"} <= cited.keys() and cited["license"] == "MIT"
    assert "version" not in cited  # pyproject.toml has the one
