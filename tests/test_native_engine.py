"""Kernels of our own: when they are compiled, and what is said where they can't be. What they compute is tested with
the networks that use them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from runtime import native_engine
from runtime.native_engine import NativeError, library
from tests.engines import needs_native

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def fresh(monkeypatch, tmp_path):
    """As in a new process of another user: nothing loaded, nothing compiled."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    native_engine._load.cache_clear()
    native_engine.why_not.cache_clear()
    yield tmp_path / "cache" / "dfdc-deepfake-challenge"
    native_engine._load.cache_clear()
    native_engine.why_not.cache_clear()


@needs_native
def test_compiled_once(fresh, monkeypatch):
    library("halve")
    (compiled,) = fresh.iterdir()  # and no temporary file
    assert compiled.name.startswith("halve-") and compiled.suffix == ".so"
    native_engine._load.cache_clear()
    monkeypatch.setenv("CXX", "false")
    library("halve")  # nothing is compiled again


@needs_native
def test_another_source_is_compiled_anew(fresh, monkeypatch, tmp_path):
    sources = tmp_path / "native"
    sources.mkdir()
    for name in ("amx.h", "halve.cpp"):
        (sources / name).write_bytes((native_engine._SOURCES / name).read_bytes())
    monkeypatch.setattr(native_engine, "_SOURCES", sources)
    library("halve")
    (sources / "amx.h").write_text((sources / "amx.h").read_text() + "\n// changed\n")
    native_engine._load.cache_clear()
    library("halve")
    assert len(list(fresh.iterdir())) == 2


@needs_native
def test_processes_that_start_together(tmp_path):
    code = "from runtime.native_engine import library; library('halve'); print('loaded')"
    env = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    command = [sys.executable, "-c", code]
    processes = [subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert [process.communicate()[0] for process in processes] == ["loaded\n"] * 3
    assert len(list((tmp_path / "dfdc-deepfake-challenge").iterdir())) == 1


def test_another_processor(fresh, monkeypatch):
    monkeypatch.setattr(native_engine, "_processor_features", lambda: {"avx512f", "avx512bw", "avx512dq", "avx512vl"})
    expected = "the processor lacks amx_bf16, amx_tile, avx512_bf16, bmi2, fma"
    assert native_engine.why_not() == expected
    with pytest.raises(NativeError, match=expected):
        library("mtcnn")
    assert not fresh.exists()


@pytest.fixture
def any_processor(monkeypatch):
    monkeypatch.setattr(native_engine, "_processor_features", lambda: set(native_engine._NEEDS))


def test_no_compiler(fresh, any_processor, monkeypatch, tmp_path):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert native_engine.why_not() == "there is no C++ compiler; install g++, or name one in CXX"


@pytest.mark.parametrize(
    "compiler, expected",
    [
        ("false", "false failed ()"),
        ("/nowhere/g++", "/nowhere/g++ can't be run ("),
        ("old-compiler", "old-compiler failed (error: unrecognized option '-mamx-tile'); g++ 11"),
    ],
)
def test_compiler_that_fails(fresh, any_processor, monkeypatch, tmp_path, compiler, expected):
    old = tmp_path / "bin" / "old-compiler"
    old.parent.mkdir()
    old.write_text("#!/bin/sh\necho \"note\nerror: unrecognized option '-mamx-tile'\" >&2\nexit 1\n")
    old.chmod(0o755)
    monkeypatch.setenv("PATH", f"{old.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("CXX", compiler)
    assert native_engine.why_not().startswith(expected)
    assert not list(fresh.iterdir())  # nothing half-made


def test_what_was_compiled_is_no_library(fresh, any_processor, monkeypatch, tmp_path):
    odd = tmp_path / "odd-compiler"
    odd.write_text('#!/bin/sh\nfor last; do :; done\necho junk > "$last"\n')
    odd.chmod(0o755)
    monkeypatch.setenv("CXX", str(odd))
    assert native_engine.why_not().startswith("what was compiled can't be loaded (")


def test_cache_that_can_not_be_written(fresh, any_processor, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert native_engine.why_not().startswith(f"{tmp_path}/file/dfdc-deepfake-challenge can't be written (")


def test_no_home(fresh, any_processor, monkeypatch):
    """As with `docker run --user 12345`."""
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr("pwd.getpwuid", lambda uid: {}[uid])
    assert native_engine.why_not() == "there is no home directory for what is compiled; set XDG_CACHE_HOME"
