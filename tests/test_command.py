"""How a command ends: exit codes and what is printed."""

import argparse
import os
import signal
import subprocess
import sys

import pytest

from runtime.command import positive, run_command
from runtime.errors import InputError


def started(script):
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-c", script], **pipes)


def test_exit_code_is_passed_on():
    assert run_command(lambda args, ranks: args.code, argparse.Namespace(code=7)) == 7


def test_an_error_of_the_user_is_one_line(capsys):
    def work(args, ranks):
        raise InputError("a\nb: is not there\x1b[2J")

    assert run_command(work, argparse.Namespace()) == 1
    assert capsys.readouterr() == ("", "error: a\\nb: is not there\\x1b[2J\n")


def test_a_folder_without_a_name(capsys):
    """As of a shell's variable that is not set; other flags may be empty."""
    args = argparse.Namespace(prefix="", root_dir="")
    assert run_command(lambda args, ranks: 0, args) == 1
    assert capsys.readouterr().err == "error: --root-dir: is empty; name a folder\n"
    assert run_command(lambda args, ranks: 0, argparse.Namespace(prefix="", root_dir="a")) == 0


def test_a_line_is_never_a_book(capsys):
    def work(args, ranks):
        raise InputError(f"labels.csv: label {'x' * 10**6} is none; mend it")

    assert run_command(work, argparse.Namespace()) == 1
    line = capsys.readouterr().err
    assert len(line) < 2100 and line.startswith("error: labels.csv: label xxx")
    assert line.endswith("x is none; mend it\n")


def test_a_defect_shows_its_traceback():
    with pytest.raises(ZeroDivisionError):
        run_command(lambda args, ranks: 1 // 0, argparse.Namespace())


@pytest.mark.parametrize("how, code", [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_stopped(how, code):
    script = """
import argparse, sys, time
from runtime.command import run_command
def work(args, ranks):
    print("ready", flush=True)
    time.sleep(60)
sys.exit(run_command(work, argparse.Namespace()))
"""
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ready\n"
    process.send_signal(how)
    assert process.communicate(timeout=30)[1] == "stopped; the same command goes on where it stopped\n"
    assert process.returncode == code


def test_output_that_nobody_reads():
    script = """
import argparse, sys
from runtime.command import run_command
def work(args, ranks):
    for _ in range(100000):
        print("words")
    return 0
sys.exit(run_command(work, argparse.Namespace()))
"""
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    process.stdout.readline()
    process.stdout.close()
    assert (process.stderr.read(), process.wait(30)) == ("", 1)


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "x", ""])
def test_positive(text):
    assert positive("12") == 12
    with pytest.raises(argparse.ArgumentTypeError, match="is not a whole number from 1 on"):
        positive(text)


def test_nothing_slow_is_imported():
    """Stages without a detector start at once."""
    code = "import sys, preprocessing.stage, preprocessing.extract_crops; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": os.getcwd()}).returncode == 0
