"""The videos of a variant, made in processes of their own: a file on which an encoder crashes costs that file alone."""

import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from evaluation.robustness_progress import Identity, Progress
from evaluation.robustness_videos import make_video
from evaluation.variants import Variant
from faces.video_file import VideoError
from runtime.errors import OutputError
from runtime.files import file_identity
from runtime.workers import Crash, WorkerPool

_PRELOAD = ("cv2", "av")


@dataclass(frozen=True, kw_only=True)
class _Task:
    source: str
    output: Path
    variant: Variant


@dataclass(frozen=True, kw_only=True)
class _Made:
    """What became of a task: `source` is the file that it was made of, as it was at the start. `fatal` errors (a full
    disk) end the run: every other video would meet them too."""

    task: _Task
    source: Identity
    error: str | None = None
    fatal: bool = False


def make_videos(
    variant: Variant, sources: Mapping[str, str], folder: Path, progress: Progress, workers: int
) -> dict[str, str]:
    """Make what is missing of a variant's videos. `sources` are files by the name of what is made of them in `folder`.

    Returns why videos could not be made, by name. Raises OutputError.
    """
    progress.begin(variant, folder)
    tasks = [_Task(source=source, output=folder / name, variant=variant) for name, source in sources.items()]
    todo = [task for task in tasks if not progress.is_made(variant, task.source, task.output)]
    for task in todo:
        task.output.unlink(missing_ok=True)
    failed = {}
    results = map(_make, todo) if variant.codec is None else _in_processes(todo, workers)
    done = len(tasks) - len(todo)
    for made in tqdm(results, variant.name, len(tasks), initial=done, unit="video", disable=not todo):
        if made.fatal:
            raise OutputError(made.error)
        if made.error:
            failed[made.task.output.name] = made.error
        else:
            progress.add_made(variant, made.source, made.task.output)
    return failed


def remove_others(folder: Path, names: set[str]) -> None:
    """Remove from the folder of a variant's videos all that is not to be scored, such as what a process left that was
    killed."""
    for path in folder.iterdir():
        if path.name in names:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _in_processes(todo: list[_Task], workers: int) -> Iterator[_Made]:
    for result in WorkerPool(_make_work, workers, _PRELOAD).run(todo):
        yield _Made(task=result.item, source=None, error=result.reason) if isinstance(result, Crash) else result


def _make_work() -> Callable[[_Task], _Made]:
    import cv2

    cv2.setNumThreads(1)  # work is spread over processes, not inside one
    return _make


def _make(task: _Task) -> _Made:
    source = file_identity(task.source)
    try:
        make_video(task.source, task.output, task.variant)
    except VideoError as error:
        return _Made(task=task, source=source, error=error.reason)
    except OutputError as error:
        return _Made(task=task, source=source, error=str(error), fatal=True)
    return _Made(task=task, source=source)
