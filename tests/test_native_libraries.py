"""Kernels of our own: when they are compiled, and what is said where they can't be. What they compute is tested with
the networks that use them."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from engines.native import cache, libraries
from engines.native.libraries import NativeError, library
from tests.engines import needs_avx512

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def fresh(monkeypatch, tmp_path):
    """As in a new process of another user: nothing loaded, nothing compiled."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    libraries._load.cache_clear()
    libraries.why_not.cache_clear()
    yield tmp_path / "cache" / "dfdc-deepfake-challenge"
    libraries._load.cache_clear()
    libraries.why_not.cache_clear()


@needs_avx512
def test_compiled_once(fresh, monkeypatch):
    library("halve")
    (compiled,) = fresh.iterdir()  # and no temporary file
    assert compiled.name.startswith("halve-") and compiled.suffix == ".so"
    libraries._load.cache_clear()
    monkeypatch.setenv("CXX", "false")
    library("halve")  # nothing is compiled again


@needs_avx512
def test_another_source_is_compiled_anew(fresh, monkeypatch, tmp_path):
    sources = tmp_path / "native"
    sources.mkdir()
    for name in ("buffer.h", "halve.cpp"):
        (sources / name).write_bytes((libraries._SOURCES / name).read_bytes())
    monkeypatch.setattr(libraries, "_SOURCES", sources)
    library("halve")
    (sources / "buffer.h").write_text((sources / "buffer.h").read_text() + "\n// changed\n")
    libraries._load.cache_clear()
    library("halve")
    assert len(list(fresh.iterdir())) == 2


@needs_avx512
def test_processes_that_start_together(tmp_path):
    code = "from engines.native.libraries import library; library('halve'); print('loaded')"
    env = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    command = [sys.executable, "-c", code]
    processes = [subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert [process.communicate()[0] for process in processes] == ["loaded\n"] * 3
    assert len(list((tmp_path / "dfdc-deepfake-challenge").iterdir())) == 1


def test_another_processor(fresh, monkeypatch):
    monkeypatch.setattr(libraries, "_processor_features", lambda: {"avx512f", "avx512bw", "avx512dq", "avx512vl"})
    expected = "the processor lacks amx_bf16, amx_tile, avx512_bf16, bmi2, fma"
    assert libraries.why_not() == expected
    with pytest.raises(NativeError, match=expected):
        library("mtcnn")
    assert libraries.why_not(*libraries.FOR_AVX512) == "the processor lacks bmi2, fma"  # these need no more
    assert not fresh.exists()


@pytest.fixture
def any_processor(monkeypatch):
    monkeypatch.setattr(libraries, "_processor_features", lambda: set(libraries._AMX))


def test_no_compiler(fresh, any_processor, monkeypatch, tmp_path):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert libraries.why_not() == "there is no C++ compiler; install g++, or name one in CXX"


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
    assert libraries.why_not().startswith(expected)
    assert not list(fresh.iterdir())  # nothing half-made


def test_what_was_compiled_is_no_library(fresh, any_processor, monkeypatch, tmp_path):
    odd = tmp_path / "odd-compiler"
    odd.write_text('#!/bin/sh\nfor last; do :; done\necho junk > "$last"\n')
    odd.chmod(0o755)
    monkeypatch.setenv("CXX", str(odd))
    assert libraries.why_not().startswith("what was compiled can't be loaded (")


def test_cache_that_can_not_be_written(fresh, any_processor, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert libraries.why_not().startswith(f"{tmp_path}/file/dfdc-deepfake-challenge can't be written (")


def test_no_home(fresh, any_processor, monkeypatch):
    """As with `docker run --user 12345`."""
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr("pwd.getpwuid", lambda uid: {}[uid])
    assert libraries.why_not() == "there is no home directory for what is compiled; set XDG_CACHE_HOME"


# the cache: what lies there is run


def loaded_anew(monkeypatch):
    """Whether the library is compiled again at its next use."""
    compiled = []
    compile_it = libraries._compile
    monkeypatch.setattr(libraries, "_compile", lambda command: compiled.append(command) or compile_it(command))
    libraries._load.cache_clear()
    assert library("halve").halve() == 7
    return bool(compiled)


needs_compiler = pytest.mark.skipif(not any(map(shutil.which, libraries._COMPILERS)), reason="no C++ compiler")


@pytest.fixture
def small(fresh, monkeypatch, tmp_path):
    """Sources that any processor can run, compiled in no time."""
    monkeypatch.setattr(libraries, "_SOURCES", tmp_path / "native")
    monkeypatch.setattr(libraries, "_NEEDS", {"halve": {}})
    (tmp_path / "native").mkdir()
    (tmp_path / "native" / "buffer.h").touch()
    source = 'extern "C" int halve() { return 7; }\n'
    (tmp_path / "native" / "halve.cpp").write_text(source)
    return fresh


@pytest.fixture
def halve(small):
    return libraries._compiled("halve")[0]


def empty(path):
    path.write_bytes(b"")


def cut(path):
    path.write_bytes(path.read_bytes()[:-1000])


def flip_a_bit(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def of_another_program(path):
    path.unlink()
    shutil.copy(math_library(), path)


def let_others_write(path):
    path.chmod(0o620)


def link(path):
    path.rename(path.parent.parent / "elsewhere.so")
    path.symlink_to(path.parent.parent / "elsewhere.so")


def device(path):
    path.unlink()
    path.symlink_to("/dev/zero")


def pipe(path):
    path.unlink()
    os.mkfifo(path)


def larger_than_any(path):
    os.truncate(path, 2**36)


def math_library():
    return next(Path("/lib").glob("*/libm.so.6"), None) or next(Path("/usr").glob("lib*/libm.so.6"))


DAMAGES = (empty, cut, flip_a_bit, of_another_program, let_others_write, link, device, pipe, larger_than_any)


@needs_compiler
@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_library_that_is_not_as_it_was_made(halve, monkeypatch, damage):
    assert not loaded_anew(monkeypatch)
    copy = halve.parent.parent / "copy.so"  # what is loaded is mapped: another file is damaged
    shutil.copy(halve, copy)
    os.replace(copy, halve)
    damage(halve)
    assert loaded_anew(monkeypatch)
    assert cache.is_ours(halve) and list(halve.parent.iterdir()) == [halve]


@needs_compiler
def test_a_library_that_can_not_be_loaded_here(halve, monkeypatch):
    """As of a machine with the same home directory and a newer system."""
    halve.write_bytes(b"another system's")
    cache.finish(halve)
    assert cache.is_ours(halve) and loaded_anew(monkeypatch)


@needs_compiler
def test_whatever_the_umask(fresh, small, monkeypatch):
    before = os.umask(0)
    try:
        library("halve")
    finally:
        os.umask(before)
    assert fresh.stat().st_mode & 0o777 == 0o700
    assert not loaded_anew(monkeypatch)


@pytest.mark.parametrize("mode", [0o770, 0o702, 0o777, 0o1777])
def test_a_folder_that_others_can_write(fresh, any_processor, mode):
    fresh.mkdir(parents=True)
    fresh.chmod(mode)
    expected = f"{fresh} can be written by other users; remove it, or set XDG_CACHE_HOME to a folder of your own"
    assert libraries.why_not() == expected
    assert not list(fresh.iterdir())


def test_a_folder_of_someone_else(fresh, any_processor, monkeypatch):
    fresh.mkdir(mode=0o700, parents=True)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    assert libraries.why_not().startswith(f"{fresh} belongs to another user; remove it")


def test_a_library_of_someone_else(tmp_path, monkeypatch):
    path = tmp_path / "halve.so"
    path.write_bytes(b"code")
    cache.finish(path)
    assert cache.is_ours(path)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    assert not cache.is_ours(path)


def test_a_folder_that_is_a_link(fresh, any_processor, tmp_path):
    (tmp_path / "cache").mkdir()
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    fresh.symlink_to(tmp_path / "elsewhere")
    assert libraries.why_not().startswith(f"{fresh} is a link; remove it")
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_folder_that_others_can_move_away(fresh, any_processor):
    fresh.parent.mkdir()
    fresh.parent.chmod(0o777)
    assert libraries.why_not().startswith(f"{fresh.parent} lets other users put a folder in place of ours")
    fresh.parent.chmod(0o1777)  # as /tmp: what is there stays its owner's
    assert cache.cache_folder() == fresh


@needs_compiler
def test_names_that_can_not_be_guessed(fresh, small, monkeypatch):
    """No file, or link, that lies there before can be what the compiler writes to."""
    written = []
    compile_it = libraries._compile
    monkeypatch.setattr(libraries, "_compile", lambda command: written.append(command[-1]) or compile_it(command))
    for _ in range(2):
        libraries._load.cache_clear()
        library("halve")
        (path,) = fresh.iterdir()
        path.unlink()
    assert len({Path(name).parent for name in written}) == 2
    assert all(re.fullmatch(r"\.\w{8,}", Path(name).parent.name) for name in written)
