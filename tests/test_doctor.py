"""The command that examines a machine: its lines, its exit code, and what it says of libraries, weights and GPUs."""

import hashlib
import json

import cv2
import pytest
import torch

import doctor
from engines.device import ChoiceError
from inference import machine_checks
from inference.findings import FAILED, NOT_HERE, OK, Finding, tried
from inference.machine_checks import (
    check_disk,
    check_engines,
    check_gpus,
    check_libraries,
    check_memory,
    check_weights,
)
from runtime.errors import InputError

CPU = torch.device("cpu")


@pytest.fixture
def only_findings(monkeypatch):
    """What is found, instead of looking."""

    def look_at(*findings):
        monkeypatch.setattr(doctor, "look", lambda args, folder: iter(findings))

    return look_at


def test_this_machine(tmp_path, capsys, monkeypatch):
    threads = torch.get_num_threads()
    assert doctor.main(["--quick", "--json", str(tmp_path / "found.json")]) == 0
    torch.set_num_threads(threads)
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "this machine gives the right scores"
    assert {line.split(":")[0] for line in lines[:-1]} <= {"ok", "not here"}
    assert any(line.startswith("ok: seferbekov on cpu, ") and "22 frames of 320x240 take" in line for line in lines)
    content = json.loads((tmp_path / "found.json").read_text())
    assert content["passed"] is True and len(content["findings"]) == len(lines) - 1
    assert content["machine"]["libraries"]["torch"] == torch.__version__.partition("+")[0]


def test_a_wrong_library(capsys, monkeypatch):
    """OpenCV resizes in another way: the step says so, and exit code 1."""
    resize = cv2.resize
    nearest = lambda image, size, interpolation=1: resize(image, size, interpolation=cv2.INTER_NEAREST)  # noqa: E731
    monkeypatch.setattr(cv2, "resize", nearest)
    monkeypatch.setattr(doctor, "check_system", lambda *args, **kwargs: iter(()))
    monkeypatch.setattr(doctor, "check_detectors", lambda *args: iter(()))
    assert doctor.main(["--quick"]) == 1
    out = capsys.readouterr().out
    assert "failed: resize: OpenCV, smaller: is off by up to" in out and "ok: resize: Pillow, to half" in out
    assert out.splitlines()[-1].startswith("2 of ")


def test_what_is_printed_is_printable(only_findings, tmp_path, capsys):
    only_findings(
        Finding(check="a\x1b[31m", state=FAILED, text="\udcff"), Finding(check="b", state=NOT_HERE, text="none")
    )
    assert doctor.main(["--json", str(tmp_path / "found.json")]) == 1
    assert capsys.readouterr().out == "failed: a\\x1b[31m: \\udcff\nnot here: b: none\n1 of 2 checks failed\n"
    content = json.loads((tmp_path / "found.json").read_text())
    assert content["passed"] is False and content["findings"][1] == {"check": "b", "state": "not here", "text": "none"}


def test_where_json_can_not_be_written(only_findings, tmp_path, capsys):
    only_findings(Finding(check="a", state=OK, text="b"))
    assert doctor.main(["--json", str(tmp_path)]) == 1
    assert "error: " in capsys.readouterr().err


def test_answers_that_are_damaged(tmp_path, monkeypatch, capsys):
    from inference import known_answers

    (tmp_path / "answers.json").write_text("{")
    with pytest.raises(InputError, match=r"answers\.json: can't be read .*; get the project's files anew"):
        known_answers.read_answers(tmp_path / "answers.json")


def test_a_check_that_raises():
    def look():
        raise ZeroDivisionError("of nothing\nat all")

    assert tried("a", look) == Finding(check="a", state=FAILED, text="ZeroDivisionError: of nothing\\nat all")


# what a machine has


def test_libraries_of_other_versions(monkeypatch):
    versions = {"torch": "2.11.0+cu130", "av": "9.9", "openvino": None}
    monkeypatch.setattr(machine_checks, "version_of", versions.get)
    finding = check_libraries()
    assert finding.state == OK and "2 of them installed, of other versions than were tested: av 9.9 (tested: " in (
        finding.text
    )
    assert "torch" not in finding.text


def test_memory_and_disk(monkeypatch, tmp_path):
    monkeypatch.setattr(machine_checks, "available_memory", lambda: 3 << 29)
    assert check_memory() == Finding(check="memory", state=FAILED, text="1.5 GiB, less than 2 GiB")
    monkeypatch.setattr(machine_checks, "available_memory", lambda: 4 << 30)
    assert check_memory() == Finding(check="memory", state=OK, text="4.0 GiB")
    usage = machine_checks.shutil.disk_usage(tmp_path)._replace(free=1 << 29)
    monkeypatch.setattr(machine_checks.shutil, "disk_usage", lambda folder: usage)
    assert (check_disk(str(tmp_path)).state, check_disk(str(tmp_path)).text) == (
        FAILED,
        "0.5 GiB free, less than 1 GiB",
    )


def test_no_gpu_and_one_that_can_not_be_used(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(machine_checks, "device_notes", lambda name, device: [])
    assert list(check_gpus()) == [Finding(check="GPU", state=NOT_HERE, text="none")]
    monkeypatch.setattr(machine_checks, "device_notes", lambda name, device: ["note: there is a GPU (the driver)"])
    assert list(check_gpus()) == [Finding(check="GPU", state=FAILED, text="there is a GPU (the driver)")]


def test_engines_and_why_not(monkeypatch):
    def choose(engine, device):
        if engine == "native":
            raise ChoiceError("--engine native: the processor lacks amx_tile; or use --engine auto")
        return engine

    monkeypatch.setattr(machine_checks, "choose_engine", choose)
    found = {finding.check: (finding.state, finding.text) for finding in check_engines(CPU)}
    assert found["engine native on cpu"] == (NOT_HERE, "the processor lacks amx_tile")
    assert found["engine torch on cpu"] == (OK, "can be had")


def test_weights(tmp_path, monkeypatch):
    sha256 = hashlib.sha256(b"weights").hexdigest()
    published = {"right": {"sha256": sha256}, "wrong": {"sha256": "0" * 64}, "any": {}, "folder": {}, "missing": {}}
    monkeypatch.setattr(machine_checks, "published_files", {"seferbekov": published}.get)
    monkeypatch.setattr(machine_checks, "SYSTEMS", ["seferbekov"])
    for name in ("right", "wrong", "any"):
        (tmp_path / name).write_bytes(b"weights")
    (tmp_path / "folder").mkdir()
    found = [(finding.state, finding.text) for finding in check_weights(str(tmp_path))]
    assert found == [
        (OK, f"7 bytes, SHA-256 {sha256}, as published"),
        (FAILED, f"7 bytes, SHA-256 {sha256}; published is {'0' * 64}: get it again"),
        (OK, f"7 bytes, SHA-256 {sha256}; none is published to compare it with"),
        (FAILED, f"{tmp_path}/folder: can't be read (Is a directory)"),
        (NOT_HERE, f"1 of 5 files are not in {tmp_path}"),
    ]
