"""The loop that every stage of data preparation runs in: list the work, skip what is done, process, summarise.

A stage says what its items are, what it does with one, and which settings its outputs depend on; everything else is
here, once: torchrun's ranks, worker processes, the journal of what is done, progress, the summary, the exit code.

An item is done when the journal says that it was made with the same settings from the same inputs and its output is
there. The journals and summaries of all stages lie in DATA_ROOT/.preprocessing.
"""

import argparse
import contextlib
import hashlib
import json
import os
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from preprocessing.data_root import DataRoot, read_data_root
from preprocessing.outputs import prepare, tidy
from runtime import limits
from runtime.command import worker_count
from runtime.cores import available_cores
from runtime.errors import DeviceError, ItemError, OutputError, printable
from runtime.files import file_identity, make_folder, open_file, open_folder, write_json
from runtime.journal import Journal
from runtime.ranks import Ranks
from runtime.workers import Crash, WorkerPool

_RECORDS = ".preprocessing"
_CLAIMED_AT_ONCE = 1000  # items in a line of the journal
_SHOWN = 20  # failures, and warnings, that are named at the end; all of them are in the summary file

DETECTOR_MODULES = ("cv2", "av", "torch", "torchvision", "facenet_pytorch")  # slow to import

Counts = dict[str, int]


@dataclass(frozen=True, kw_only=True)
class Item:
    """One unit of work, done or not done as a whole.

    `key` names it in messages and in the journal. `inputs` are the files or folders that its output depends on: when
    one of them changes, it is done again. `task` is what the worker gets.
    """

    key: str
    inputs: tuple[str, ...]
    output: Path
    task: object


@dataclass(frozen=True)
class Made:
    """What a worker made of an item: counts ({"frames": 300, ...}), which are added up for the summary, and warnings,
    each a line that says what a person should look at though the item is done."""

    counts: Counts
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Stage:
    """What one stage does.

    `list_items` turns the data root into items. `make_work` is called in each worker process and returns the function
    that does a task and returns what it made. `settings` are all that the outputs depend on besides the inputs.
    `device` is the --device of stages that need one. `key_of` is for stages that make many files of an item: the key by
    the name of a file in the output folder.
    """

    name: str
    output: str  # the folder in the data root
    settings: dict
    list_items: Callable[[DataRoot], Sequence[Item]]
    make_work: Callable[[], Callable[[object], Made]]
    device: str | None = None
    preload: tuple[str, ...] = ("cv2", "av")
    key_of: Callable[[str], str] | None = None


@dataclass(frozen=True, kw_only=True)
class Result:
    """What became of an item: what was `made` of it and of which `inputs`, or an error. `fatal` ones (a full disk) end
    the run: every other item would meet them too."""

    key: str
    error: str | None = None
    fatal: bool = False
    made: Made | None = None
    inputs: list = field(default_factory=list)


def add_common_flags(parser: argparse.ArgumentParser) -> None:
    arg = parser.add_argument
    arg("--root-dir", required=True, metavar="DIR", help="data root: part folders with metadata.json and videos")
    arg("--workers", type=worker_count, metavar="N", help="processes (default: CPU cores; with a GPU at most 8)")
    arg("--overwrite", action="store_true", help="do everything again, also what is done with the same settings")


def add_device_flag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: a GPU if there is one)")


def run_stage(stage: Stage, args: argparse.Namespace, ranks: Ranks) -> int:
    """Do a stage and return its exit code: 0, or 1 if anything failed."""
    if ranks.rank:
        return _assist(stage, args, ranks)
    started = time.time()
    root = Path(args.root_dir)
    output = root / stage.output

    # list the work and skip what is done
    with _told_to_the_others(ranks):
        data = read_data_root(args.root_dir)
        items = stage.list_items(data)
        progress = Progress(stage, args.root_dir, args.overwrite)
        folders = {output, *(item.output.parent for item in items)}
        for folder in folders:
            prepare(folder, root)
    with contextlib.closing(progress), _tidied(folders, root):
        with _told_to_the_others(ranks):
            todo = [item for item in items if not progress.is_done(item)]
            done_before = len(items) - len(todo)
            failed = progress.claim(todo)
        todo = [item for item in todo if item.key not in failed]
        todo.sort(key=_size, reverse=True)  # the long ones first, so that no process is left with one at the end
        print(f"{stage.name}: {len(items)} to do" + (f", {done_before} of them done before" if done_before else ""))
        if todo and stage.device is not None:
            with _told_to_the_others(ranks):
                _tell_device(stage, ranks)
        ranks.broadcast(todo)

        # process
        if todo:
            bar = tqdm(total=len(items), initial=len(items) - len(todo), desc=stage.name, unit="item", smoothing=0.05)
            with bar, contextlib.closing(ranks.results(todo, _pool(stage, args, ranks))) as results:
                for result in results:
                    if result.fatal:
                        raise OutputError(result.error)
                    if result.error is None:
                        progress.add(result)
                    else:
                        failed[result.key] = result.error
                    bar.update()
        ranks.close()

        # summarise
        counts: Counter = Counter()
        warnings: dict[str, list[str]] = {}
        for item in items:
            if item.key not in failed:
                made = progress.made(item)
                counts.update(made.counts)
                if made.warnings:
                    warnings[item.key] = made.warnings
        summary = {
            "items": len(items),
            "done": len(items) - len(failed),
            "done_before": done_before,
            "made": dict(counts),
            "warnings": warnings,
            "failed": failed,
            "left_out": data.problems,
            "settings": stage.settings,
        }
        file = progress.write_summary(summary)
        _report(stage, summary, output, time.time() - started)
        _print_some([f"  note: {key}: {line}" for key, lines in warnings.items() for line in lines], file)
        return report_bad(stage.name, failed, data.problems, file)


def _assist(stage: Stage, args: argparse.Namespace, ranks: Ranks) -> int:
    """What a process other than rank 0 does: take items until none is left."""
    todo = ranks.broadcast(None)
    if todo is None:
        return 1
    if todo:
        for _ in ranks.results(todo, _pool(stage, args, ranks)):
            raise AssertionError("results go to rank 0")
    ranks.close()
    return 0


@contextlib.contextmanager
def _told_to_the_others(ranks: Ranks):
    """On an error the other ranks are sent away: there will be no work."""
    try:
        yield
    except BaseException:
        ranks.broadcast(None)
        raise


@contextlib.contextmanager
def _tidied(folders: set[Path], root: Path):
    try:
        yield
    finally:
        for folder in folders:
            tidy(folder, root)


def _pool(stage: Stage, args: argparse.Namespace, ranks: Ranks) -> Callable:
    """A function from items to results that keeps some worker processes busy."""
    pool = WorkerPool(_Worker(stage.make_work), _worker_count(stage, args, ranks), stage.preload)

    def run(items):
        for result in pool.run(items):
            yield Result(key=result.item.key, error=result.reason) if isinstance(result, Crash) else result

    return run


def _worker_count(stage: Stage, args: argparse.Namespace, ranks: Ranks) -> int:
    cores = max(1, available_cores() // ranks.local_world_size)
    if stage.device is not None:
        import torch  # which takes seconds

        from engines.device import resolve_device
        from engines.gpu import most_workers

        device = resolve_device(stage.device, ranks.local_rank)
        if device.type == "cuda":
            sharing = -(-ranks.local_world_size // (1 if ":" in stage.device else torch.cuda.device_count()))
            return min(args.workers or cores, most_workers(device, sharing))
    return args.workers or cores


def _tell_device(stage: Stage, ranks: Ranks) -> None:
    from engines.device import describe_device, device_notes, resolve_device

    device = resolve_device(stage.device, ranks.local_rank)
    print(f"{stage.name}: on {describe_device(device)}")
    for line in device_notes(stage.device, device, ranks.local_world_size):
        print(line, file=sys.stderr)


@dataclass(frozen=True)
class _Worker:
    """Makes the function that a worker process calls for each item: whatever happens, it returns a Result."""

    make_work: Callable[[], Callable[[object], Made]]

    def __call__(self) -> Callable[[Item], Result]:
        import cv2

        cv2.setNumThreads(1)  # work is spread over processes, not inside one
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # what is wrong with a file, we say
        work = self.make_work()

        def do(item: Item) -> Result:
            inputs = _identities(item)
            try:
                return Result(key=item.key, made=work(item.task), inputs=inputs)
            except (OutputError, DeviceError) as error:
                return Result(key=item.key, error=str(error), fatal=True)
            except ItemError as error:
                return Result(key=item.key, error=str(error))
            except Exception as error:  # noqa: BLE001  a defect: told with its traceback, and only this item is lost
                return Result(key=item.key, error="".join(traceback.format_exception(error)).strip())

        return do


class Progress:
    """The journal of a stage: which items were made from which inputs with which settings, and what they gave.

    A second one holds the items whose outputs a run has ever begun to make, also with other settings: only these may be
    replaced. What else lies in the output folder is someone's own, however it is called.
    """

    def __init__(self, stage: Stage, root: str, overwrite: bool):
        self._root = Path(root)
        records = self._root / _RECORDS
        self._output, self._key_of = self._root / stage.output, stage.key_of
        self._summary = records / f"{stage.output}.summary.json"
        self._settings = hashlib.sha256(json.dumps(stage.settings, sort_keys=True).encode()).hexdigest()[:16]
        try:
            make_folder(root, _RECORDS)
        except OSError as error:
            raise OutputError(f"{records}: can't be made ({error.strerror}); the data root must be writable") from error
        # no output folder is hidden, so no stage has a journal of this name
        self._claims = self._open(records / f".{stage.output}.begun.jsonl")
        with contextlib.ExitStack() as undo:
            undo.callback(self._claims.close)
            self._ours: set[str] = set()
            for number, record in enumerate(self._claims.records, start=1):
                if record.keys() != {"begun"} or not _is_list_of_text(record["begun"]):
                    raise self._claims.damaged(number)
                self._ours.update(record["begun"])
            path = records / f"{stage.output}.jsonl"
            if overwrite:
                self._claim(_items_in(path))
            self._journal = self._open(path, overwrite)
            undo.callback(self._journal.close)
            self._done: dict[str, dict] = {}
            for number, record in enumerate(self._journal.records, start=1):
                if not _is_record(record):
                    raise self._journal.damaged(number)
                self._done[record["item"]] = record
            undo.pop_all()

    def _open(self, path: Path, overwrite: bool = False) -> Journal:
        return Journal(
            path,
            busy="another run of this stage is working on this data root; wait for it, or share the work by torchrun",
            remedy="the data root must be writable",
            overwrite=overwrite,
            root=self._root,
        )

    def claim(self, items: Sequence[Item]) -> dict[str, str]:
        """Write down that these are about to be made, so that a later run may replace what this one leaves.

        Returns what is in the way, by item: what is where an output belongs though no run has begun to make it.
        """
        others = set()
        if self._key_of:
            with open_folder(self._root, self._output.name) as folder:
                others = set(map(self._key_of, os.listdir(folder)))
        new, in_the_way = [], {}
        for item in items:
            if item.key in self._ours or item.key in self._done:
                continue
            if os.path.lexists(item.output) or item.key in others:
                found = f"{self._output}: other images of it are"
                if os.path.lexists(item.output):
                    found = f"{item.output}: is"
                in_the_way[item.key] = f"{found} there, and no run of this stage has made that; move it elsewhere"
            else:
                new.append(item.key)
        self._claim(new)
        return in_the_way

    def _claim(self, keys: Collection[str]) -> None:
        new = sorted(set(keys) - self._ours)
        for start in range(0, len(new), _CLAIMED_AT_ONCE):
            self._claims.add({"begun": new[start : start + _CLAIMED_AT_ONCE]})
        self._ours.update(new)

    def is_done(self, item: Item) -> bool:
        record = self._done.get(item.key)
        return (
            record is not None
            and record["settings"] == self._settings
            and record["inputs"] == _identities(item)
            and None not in record["inputs"]
            and _is_there(item.output, record["counts"])
        )

    def add(self, result: Result) -> None:
        record = {
            "item": result.key,
            "settings": self._settings,
            "inputs": result.inputs,
            "counts": result.made.counts,
            "warnings": result.made.warnings,
        }
        self._journal.add(record)
        self._done[result.key] = record

    def made(self, item: Item) -> Made:
        record = self._done[item.key]
        return Made(record["counts"], record.get("warnings", []))

    def write_summary(self, summary: dict) -> Path:
        write_json(self._summary, summary, "the data root must be writable", root=self._root, indent=2)
        return self._summary

    def close(self) -> None:
        self._journal.close()
        self._claims.close()


def _items_in(path: Path) -> set[str]:
    """The items that a journal names, whatever else it holds: it is about to be emptied."""
    items = set()
    with contextlib.suppress(OSError), open_file(path, sys.maxsize) as file:
        while line := file.readline(limits.JOURNAL_LINE):
            with contextlib.suppress(ValueError, RecursionError):
                record = json.loads(line)
                if isinstance(record, dict) and isinstance(record.get("item"), str):
                    items.add(record["item"])
    return items


def _is_list_of_text(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _is_record(record: dict) -> bool:
    """Whether a line of the journal can be one that `add` wrote, or wrote before there were warnings."""
    record = {"warnings": [], **record}
    types = {"item": str, "settings": str, "inputs": list, "counts": dict, "warnings": list}
    return (
        record.keys() == types.keys()
        and all(isinstance(record[key], type_) for key, type_ in types.items())
        and all(key.isprintable() and type(count) is int and count >= 0 for key, count in record["counts"].items())
        and _is_list_of_text(record["warnings"])
    )


def _identities(item: Item) -> list:
    """As they come back from the journal's JSON."""
    return [identity and list(identity) for identity in map(file_identity, item.inputs)]


def _is_there(output: Path, counts: Counts) -> bool:
    """The file; or the folder with as many files as were made."""
    if output.is_dir():
        return len(os.listdir(output)) >= counts.get("files", 0)
    return output.is_file()


def _size(item: Item) -> int:
    identity = file_identity(item.inputs[0])
    return identity[0] if identity else 0


def _report(stage: Stage, summary: dict, output: Path, seconds: float) -> None:
    made = ", ".join(f"{count} {name}" for name, count in summary["made"].items())
    done = f"{summary['done']} of {summary['items']} done"
    print(f"{stage.name}: {done} in {seconds:.0f} s ({made or 'nothing made'}): {printable(str(output))}")


def report_bad(name: str, failed: dict[str, str], left_out: dict[str, str], file: Path | None = None) -> int:
    """Name what could not be done, and return the exit code: 1 if there is any."""
    bad = [f"  failed: {key}: {error.splitlines()[-1]}" for key, error in failed.items()]
    bad += [f"  left out: {key}: {reason}" for key, reason in left_out.items()]
    _print_some(bad, file)
    if bad:
        counts = f"{len(failed)} failed, {len(left_out)} left out"
        print(f"error: {name}: {counts}; mend or remove them and run this again", file=sys.stderr)
    return int(bool(bad))


def _print_some(lines: list[str], file: Path | None) -> None:
    for line in lines[:_SHOWN]:
        print(printable(line))
    if len(lines) > _SHOWN:
        print(f"  and {len(lines) - _SHOWN} more" + (f", see {printable(str(file))}" if file else ""))
