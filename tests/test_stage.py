"""The loop of all stages: lists, skips, works, summarises, whatever happens to single items."""

import argparse
import json
import os
import signal
import sys
from functools import partial
from pathlib import Path

import pytest

from preprocessing.outputs import new_file
from preprocessing.stage import Item, Made, Stage, run_stage
from runtime.command import run_command
from runtime.errors import DeviceError, InputError, ItemError
from tests import processes


@pytest.fixture
def root(tmp_path):
    """Five videos; what they hold is copied by the stage below, or what they tell it to do happens."""
    part = tmp_path / "part"
    part.mkdir()
    for name in "abcde":
        (part / f"{name}.mp4").write_text(f"content of {name}")
    (part / "metadata.json").write_text(json.dumps({f"{name}.mp4": {"label": "REAL"} for name in "abcde"}))
    return tmp_path


def list_items(root, data):
    return [
        Item(
            key=video.id,
            inputs=(video.path,),
            output=root / "copies" / f"{video.id}.txt",
            task=(Path(video.path), root / "copies" / f"{video.id}.txt"),
        )
        for video in data.videos
    ]


def make_copy(suffix):
    return partial(copy, suffix)


def copy(suffix, task):
    source, output = task
    text = source.read_text()
    if text == "bad":
        raise ItemError(f"{source}: is bad; mend it")
    if text == "defect":
        raise ZeroDivisionError("a defect")
    if text == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    with new_file(output) as file:
        if text == "full":
            raise OSError(28, "No space left on device")
        file.write_text(text + suffix)
    return Made({"files": 1, "letters": len(text)}, [f"is odd: {text}"] if text.startswith("odd") else [])


def make_failing(suffix):
    """Of a GPU that fails at one item, for good."""
    failed = []

    def work(task):
        if failed or task[0].read_text() == "defect":
            failed.append(task)
            raise DeviceError("the GPU failed (launch failure): run the same command again")
        return copy(suffix, task)

    return work


def make_impossible():
    raise InputError("--device cuda:9: there is none")


def run(root, *, suffix="", make_work=None, overwrite=False):
    stage = Stage(
        name="copies",
        output="copies",
        settings={"suffix": suffix},
        list_items=partial(list_items, root),
        make_work=make_work or partial(make_copy, suffix),
        preload=(),
    )
    args = argparse.Namespace(root_dir=str(root), workers=2, overwrite=overwrite)
    return run_command(lambda args, ranks: run_stage(stage, args, ranks), args)


def copies(root):
    return {path.name: path.read_text() for path in sorted((root / "copies").iterdir())}


def summary(root):
    return json.loads((root / ".preprocessing" / "copies.summary.json").read_text())


ALL = {f"{name}.txt": f"content of {name}" for name in "abcde"}


def test_everything_is_done_once(root, capsys):
    assert run(root) == 0 and copies(root) == ALL
    out, err = capsys.readouterr()
    assert "copies: 5 to do\n" in out and "copies: 5 of 5 done in " in out and "(5 files, 60 letters)" in out
    assert "5/5" in err  # the bar
    written = (root / "copies" / "a.txt").stat().st_mtime_ns
    assert run(root) == 0 and copies(root) == ALL
    assert "copies: 5 to do, 5 of them done before\n" in capsys.readouterr().out
    assert (root / "copies" / "a.txt").stat().st_mtime_ns == written
    assert summary(root) == {
        "items": 5,
        "done": 5,
        "done_before": 5,
        "made": {"files": 5, "letters": 60},
        "warnings": {},
        "failed": {},
        "left_out": {},
        "settings": {"suffix": ""},
    }


def test_done_means_same_inputs_same_settings_and_output_there(root):
    assert run(root) == 0
    (root / "part" / "a.mp4").write_text("another content of a")
    (root / "copies" / "b.txt").unlink()
    assert run(root) == 0 and summary(root)["done_before"] == 3
    assert copies(root) == {**ALL, "a.txt": "another content of a"}
    assert run(root, suffix="!") == 0 and summary(root)["done_before"] == 0
    assert copies(root)["c.txt"] == "content of c!"
    assert run(root, suffix="!", overwrite=True) == 0 and summary(root)["done_before"] == 0
    assert run(root, suffix="!") == 0 and summary(root)["done_before"] == 5


def test_a_bad_item_is_told_and_the_others_are_done(root, capsys):
    (root / "part" / "b.mp4").write_text("bad")
    (root / "part" / "c.mp4").write_text("defect")
    (root / "part" / "d.mp4").write_text("die")
    assert run(root) == 1
    assert list(copies(root)) == ["a.txt", "e.txt"]
    out, err = capsys.readouterr()
    assert "copies: 2 of 5 done" in out and "Traceback" not in out + err
    assert f"  failed: b: {root}/part/b.mp4: is bad; mend it\n" in out
    assert "  failed: c: ZeroDivisionError: a defect\n" in out
    assert "  failed: d: the process that worked on it died (SIGKILL" in out
    assert err.endswith("error: copies: 3 failed, 0 left out; mend or remove them and run this again\n")
    assert "Traceback" in summary(root)["failed"]["c"]  # of a defect, for whoever mends it

    for name in "bcd":
        (root / "part" / f"{name}.mp4").write_text(f"content of {name}")
    assert run(root) == 0 and copies(root) == ALL and summary(root)["done_before"] == 2


def test_what_is_wrong_with_the_list_is_told(root, capsys):
    entries = {"a.mp4": {"label": "REAL"}, "gone.mp4": {"label": "REAL"}, "../x.mp4": {"label": "REAL"}}
    (root / "part" / "metadata.json").write_text(json.dumps(entries))
    assert run(root) == 1 and list(copies(root)) == ["a.txt"]
    out, err = capsys.readouterr()
    assert "copies: 1 of 1 done" in out and "0 failed, 2 left out" in err
    assert "  left out: part/gone.mp4: there is no such video (No such file or directory)\n" in out
    assert "  left out: part/../x.mp4: not the name of a video beside the metadata.json\n" in out


def test_many_failures_are_not_all_printed(root, capsys):
    entries = {f"{number}.mp4": {"label": "REAL"} for number in range(30)} | {"a.mp4": {"label": "REAL"}}
    (root / "part" / "metadata.json").write_text(json.dumps(entries))
    assert run(root) == 1
    out = capsys.readouterr().out
    assert out.count("left out:") == 20
    assert f"  and 10 more, see {root}/.preprocessing/copies.summary.json\n" in out
    assert len(summary(root)["left_out"]) == 30


def test_warnings_are_told_by_every_run_and_fail_nothing(root, capsys):
    (root / "part" / "b.mp4").write_text("odd \x1b[2J")
    (root / "part" / "c.mp4").write_text("bad")
    assert run(root) == 1
    out = capsys.readouterr().out
    assert "copies: 4 of 5 done" in out and "  note: b: is odd: odd \\x1b[2J\n  failed: c: " in out
    (root / "part" / "c.mp4").write_text("odd one")
    for done_before in (4, 5):
        assert run(root) == 0 and summary(root)["done_before"] == done_before
        out, err = capsys.readouterr()
        assert "  note: b: is odd: odd \\x1b[2J\n  note: c: is odd: odd one\n" in out and "error" not in err
        assert summary(root)["warnings"] == {"b": ["is odd: odd \x1b[2J"], "c": ["is odd: odd one"]}
    (root / "part" / "b.mp4").write_text("even")
    assert run(root) == 0 and list(summary(root)["warnings"]) == ["c"]


def test_many_warnings_are_not_all_printed(root, capsys):
    entries = {f"{number}.mp4": {"label": "REAL"} for number in range(30)}
    (root / "part" / "metadata.json").write_text(json.dumps(entries))
    for name in entries:
        (root / "part" / name).write_text("odd")
    assert run(root) == 0
    out = capsys.readouterr().out
    assert out.count("  note: ") == 20
    assert f"  and 10 more, see {root}/.preprocessing/copies.summary.json\n" in out
    assert len(summary(root)["warnings"]) == 30


def test_a_journal_from_before_there_were_warnings(root):
    assert run(root) == 0
    path = root / ".preprocessing" / "copies.jsonl"
    records = [json.loads(line) for line in path.read_text().splitlines()]
    for record in records:
        assert record.pop("warnings") == [] and record.pop("chain")
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    assert run(root) == 0 and summary(root)["done_before"] == 5 and summary(root)["warnings"] == {}


def test_a_full_disk_ends_the_run_with_what_was_done(root, capsys):
    (root / "part" / "c.mp4").write_text("full")
    assert run(root) == 1
    err = capsys.readouterr().err
    assert f"error: {root}/copies/c.txt: can't be written (No space left on device); mend that and run" in err
    assert "c.txt" not in copies(root)
    (root / "part" / "c.mp4").write_text("content of c")
    assert run(root) == 0 and copies(root) == ALL and summary(root)["done_before"] > 0


def test_a_choice_that_cannot_be_had(root, capsys):
    assert run(root, make_work=make_impossible) == 1
    assert "error: --device cuda:9: there is none\n" in capsys.readouterr().err


def test_two_runs_at_once(root, capsys):
    from runtime.journal import Journal

    (root / ".preprocessing").mkdir()
    journal = Journal(root / ".preprocessing" / "copies.jsonl", busy="", remedy="")
    assert run(root) == 1
    assert "copies.jsonl: another run of this stage is working on this data root" in capsys.readouterr().err
    journal.close()
    assert run(root) == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to be someone else")
def test_a_root_that_cannot_be_written(root, capsys):
    for folder in (root, *root.parents[:3]):
        folder.chmod(0o755)
    os.seteuid(65534)
    try:
        assert run(root) == 1
    finally:
        os.seteuid(0)
    err = capsys.readouterr().err
    assert err == f"error: {root}/.preprocessing: can't be made (Permission denied); the data root must be writable\n"


@pytest.mark.parametrize(
    "line",
    [
        '{"item": 1}',
        '{"item": "a", "settings": "", "inputs": [], "counts": {}, "warnings": 3}',
        '{"item": "a", "settings": "", "inputs": [], "counts": {}, "warnings": [3]}',
        '{"item": "a", "settings": "", "inputs": [], "counts": {}, "other": []}',
    ],
    ids=range(4),
)
def test_damaged_journal(root, capsys, line):
    assert run(root) == 0
    with open(root / ".preprocessing" / "copies.jsonl", "a") as file:
        file.write(f"{line}\n")
    assert run(root) == 1
    assert "copies.jsonl: line 6 is damaged; delete the file to start anew" in capsys.readouterr().err


@pytest.mark.parametrize(
    "place",
    ["copies", ".preprocessing", ".preprocessing/copies.jsonl", ".preprocessing/copies.summary.json"],
)
@pytest.mark.parametrize("overwrite", [False, True])
def test_links_in_the_data_root_are_not_followed(root, tmp_path_factory, capsys, place, overwrite):
    """A data root from an archive must not reach its user's files."""
    home = tmp_path_factory.mktemp("home")
    for name in ("copies.jsonl", "copies.summary.json", "a.txt"):
        (home / name).write_text("precious")
    (root / place).parent.mkdir(exist_ok=True)
    (root / place).symlink_to(home if "." not in place[1:] else home / Path(place).name)
    assert run(root, overwrite=overwrite) == 1
    err = capsys.readouterr().err
    assert f"error: {root}/{place}: is a link, and may lead anywhere; remove it, or put what it leads to there\n" in err
    assert "Traceback" not in err
    assert {path.name: path.read_text() for path in home.iterdir()} == dict.fromkeys(
        ("copies.jsonl", "copies.summary.json", "a.txt"), "precious"
    )


def test_a_data_root_that_is_a_link(root, tmp_path_factory):
    link = tmp_path_factory.mktemp("links") / "root"
    link.symlink_to(root)
    assert run(link) == 0 and copies(root) == ALL


def test_a_journal_that_is_no_file_of_ours(root, capsys):
    folder = root / ".preprocessing"
    folder.mkdir()
    os.mkfifo(folder / "copies.jsonl")
    assert run(root) == 1
    assert "copies.jsonl: is not a regular file; remove it" in capsys.readouterr().err
    (folder / "copies.jsonl").unlink()
    (root / "precious").write_text("precious")
    os.link(root / "precious", folder / "copies.jsonl")
    assert run(root, overwrite=True) == 1
    assert "copies.jsonl: is a file that has another name too (a hard link)" in capsys.readouterr().err
    assert (root / "precious").read_text() == "precious"


def test_what_no_run_has_made_stays(root, capsys):
    (root / "copies").mkdir()
    (root / "copies" / "b.txt").write_text("precious")
    for overwrite in (False, True):
        assert run(root, overwrite=overwrite) == 1
        out = capsys.readouterr().out
        assert f"  failed: b: {root}/copies/b.txt: is there, and no run of this stage has made that; move it" in out
        assert copies(root) == {**ALL, "b.txt": "precious"}
    (root / "copies" / "b.txt").unlink()
    assert run(root) == 0 and copies(root) == ALL


def test_what_a_run_has_made_is_replaced_whatever_became_of_the_journal(root):
    """Stopped before it wrote down that an item is done; told to start anew; by a version that wrote one journal."""
    journal = root / ".preprocessing" / "copies.jsonl"
    assert run(root) == 0
    journal.unlink()
    assert run(root, suffix="1") == 0 and copies(root)["a.txt"] == "content of a1"
    journal.write_text("damaged\n")
    assert run(root, suffix="2", overwrite=True) == 0 and copies(root)["a.txt"] == "content of a2"
    (root / ".preprocessing" / ".copies.begun.jsonl").unlink()
    with open(journal, "a") as file:
        file.write("damaged\n")
    assert run(root, suffix="3", overwrite=True) == 0 and copies(root)["a.txt"] == "content of a3"
    journal.unlink()
    assert run(root, suffix="4") == 0 and copies(root)["a.txt"] == "content of a4"


def test_ranks_share_the_work(root):
    """Under a real torchrun: every item once, by both ranks, one journal."""
    script = root / "stage.py"
    script.write_text(
        Path(__file__).read_text().split("@pytest.fixture")[0].replace("import pytest\n", "")
        + f"""
import time
def list_items(root, data):
    return [Item(key=v.id, inputs=(v.path,), output=root / "copies" / v.id, task=root / "copies" / v.id)
            for v in data.videos]
def work(output):
    time.sleep(0.3)
    with new_file(output) as file:
        file.write_text(os.environ["RANK"])
    return Made({{"files": 1}}, [f"by rank {{os.environ['RANK']}}"])
def make_work():
    return work
if __name__ == "__main__":
    root = Path({str(root)!r})
    stage = Stage(name="copies", output="copies", settings={{}}, list_items=partial(list_items, root),
                  make_work=make_work, preload=())
    args = argparse.Namespace(root_dir=str(root), workers=1, overwrite=False)
    sys.exit(run_command(lambda args, ranks: run_stage(stage, args, ranks), args))
"""
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    environment = {**os.environ, "PYTHONPATH": os.getcwd(), "OMP_NUM_THREADS": "1"}
    finished = processes.run(command, capture_output=True, text=True, env=environment, timeout=120)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.count("copies: 5 of 5 done") == 1  # rank 0 alone speaks
    assert set(copies(root).values()) == {"0", "1"}
    assert len((root / ".preprocessing" / "copies.jsonl").read_text().splitlines()) == 5
    assert finished.stdout.count("  note: ") == 5 and "  note: a: by rank " in finished.stdout
    again = processes.run(command, capture_output=True, text=True, env=environment, timeout=120)
    assert again.returncode == 0 and "5 of them done before" in again.stdout


def test_a_gpu_that_fails_ends_the_stage(root, capsys):
    """The worker that met it does not eat the queue; what is done stays done."""
    (root / "part" / "c.mp4").write_text("defect")
    assert run(root, make_work=partial(make_failing, "")) == 1
    err = capsys.readouterr().err
    assert "error: the GPU failed (launch failure): run the same command again\n" in err and "Traceback" not in err
    (root / "part" / "c.mp4").write_text("content of c")
    assert run(root) == 0 and copies(root) == ALL
