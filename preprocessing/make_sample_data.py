"""Make a small data root in the format of the Deepfake Detection Challenge from one face that scikit-image ships.

    python preprocessing/make_sample_data.py --root-dir sample_data
    python preprocessing/make_sample_data.py --root-dir several --people 3 --movement mixed --half-fake 0.5

Input: none, and no network. Output, on one machine the same to the byte for the same flags:

    sample_data/dfdc_train_part_<k>/<id>.mp4         H.264, 30 frames a second
    sample_data/dfdc_train_part_<k>/metadata.json    {"<id>.mp4": {"label": "REAL", "split": "train", "original": null},
                                                      "<id>.mp4": {"label": "FAKE", ..., "original": "<id>.mp4"}, ...}

Every real video shows that face with another shape, skin, hair, room and motion. Every fake has the inner face of one
more such person pasted over its original's. It is enough to try the pipeline, not to train a detector that is of use.
A run that was stopped goes on with the part where it stopped.

With --people, --movement or --half-fake metadata.json also says who is where, and who of them is fake when. In a fake
of several people one is swapped:

    "movement": "still", "cross" (two change places, one hides the other) or "leave" (one leaves and comes back)
    "people":   [{"fake": true, "fake_frames": [20, 45], "boxes": {"0": [x1, y1, x2, y2], "1": ...}}, ...]

from the left, as they stand at the beginning. `boxes` are those of the face by frame number, as MTCNN finds it, in
pixels of the frame, outside of which they may lie in part; a face of which less than half is seen has none.
`fake_frames`, which only the swapped person has, goes from the first to the one after the last, and is the whole video
but for half-fake ones.
"""

import argparse
import contextlib
import os
import shlex
import string
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the project, from wherever this is run

import runtime.environment  # noqa: F401  it says what to do where the others can't be imported

import cv2
import numpy as np
from tqdm import tqdm

from faces.containers import METADATA
from preprocessing.made_motion import MOVEMENTS
from preprocessing.made_scenes import MOST_PEOPLE
from preprocessing.made_videos import RATE, REMEDY, MadeVideo, write_video
from runtime import limits
from runtime.command import positive, run_command, whole, worker_count
from runtime.cores import available_cores
from runtime.errors import InputError, OutputError, UserError, printable
from runtime.files import make_folder, read_json, remove_leftovers, write_json
from runtime.ranks import Ranks
from runtime.workers import Crash, WorkerPool

_SETTINGS = ".sample_data.json"
_SIZES = (160, 4096)  # smaller ones leave MTCNN too little of the face; larger ones take gigabytes
# a slip of the keyboard must not fill the disk: 100000 frames are 55 minutes, the whole DFDC has 50 parts
_MOST_PARTS, _MOST_ORIGINALS, _MOST_FAKES, _MOST_FRAMES = 100, 1000, 20, 100000
_LEAST_ROOM = 100  # pixels of the width for each of several people: their faces are half as wide
_MIXED = "mixed"


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Make a small data root in the format of the DFDC")
    arg = parser.add_argument
    arg("--root-dir", required=True, metavar="DIR", help="where to make it; parts that are there stay")
    for flag, least, most, usual, what in (
        ("--parts", 1, _MOST_PARTS, 2, "part folders"),
        ("--originals", 1, _MOST_ORIGINALS, 4, "real videos of each part"),
        ("--fakes", 0, _MOST_FAKES, 1, "fakes of each real video"),
        ("--frames", 1, _MOST_FRAMES, 60, f"of each video, {RATE} a second"),
    ):
        told = f"{what}, at most {most} (default: {usual})"
        arg(flag, type=whole(least, most), default=usual, metavar="N", help=told)
    for flag, usual in (("--width", 640), ("--height", 360)):
        told = f"of the videos, even, {_SIZES[0]} to {_SIZES[1]} (default: {usual})"
        arg(flag, type=_size, default=usual, metavar="PIXELS", help=told)
    arg("--flicker", type=positive, default=1, metavar="N", help="times as unsteady fakes as usual (default: 1)")
    arg("--people", type=int, choices=range(1, MOST_PEOPLE + 1), default=1, help="in each video (default: 1)")
    arg(
        "--movement",
        choices=[*MOVEMENTS, _MIXED],
        default="still",
        help="still: everybody stays at their place (default); cross: two people change places, and one hides the "
        "other in passing; leave: one leaves the picture and comes back; mixed: these in turn, a fake as its original",
    )
    arg(
        "--half-fake",
        type=_share,
        default=0.0,
        metavar="SHARE",
        help="share of the fakes, 0 to 1, that are swapped in a part of their frames only, a third to a half of those "
        "that show the person (default: 0)",
    )
    arg("--seed", type=whole(0), default=0, metavar="N", help="another one gives other people and ids (default: 0)")
    arg("--workers", type=worker_count, default=available_cores(), metavar="N", help="processes (default: CPU cores)")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    return run_command(make, parse_args(argv))


def make(args: argparse.Namespace, ranks: Ranks) -> int:
    if ranks.rank:
        return 0  # one process makes it
    if not args.root_dir:
        raise InputError("--root-dir: is empty; name a folder to make")
    settings = {name: value for name, value in vars(args).items() if name not in ("root_dir", "workers")}
    made = make_data_root(args.root_dir, **settings, workers=args.workers)
    real = args.parts * args.originals
    print(printable(f"{real} real videos and {len(made) - real} fakes in {args.parts} parts: {args.root_dir}"))
    print(printable(f"next: ./preprocess_data.sh {shlex.quote(args.root_dir)}"))
    return 0


def make_data_root(
    root: str | os.PathLike,
    *,
    parts: int,
    originals: int,
    fakes: int,
    frames: int,
    width: int,
    height: int,
    seed: int,
    flicker: int = 1,
    people: int = 1,
    movement: str = "still",
    half_fake: float = 0.0,
    workers: int = 1,
) -> list[Path]:
    """Write a data root and return the paths of its videos. Parts that are there from the same settings stay.

    `originals` counts the real videos of each part, `fakes` the fakes of each real video, `frames` the frames of each;
    `width` and `height` are even, `flicker` is how many times as unsteady as usual fakes are. `people`, 1 to 4, are in
    each video; `movement` is still, cross, leave or mixed; `half_fake` is the share of fakes that are swapped in a part
    of their frames. Raises InputError, before anything is made, where a part is there that other settings made or the
    people don't go with the rest, and OutputError where something can't be written.
    """
    _check_people(people, movement, width)
    folders = [Path(root, f"dfdc_train_part_{part}") for part in range(parts)]
    size = {"frames": frames, "width": width, "height": height}
    settings = {"parts": parts, "originals": originals, "fakes": fakes, "seed": seed, **size}
    settings |= {"flicker": flicker} if flicker != 1 else {}
    cast = {"people": people, "movement": movement, "half_fake": half_fake}
    is_told = cast != {"people": 1, "movement": "still", "half_fake": 0.0}
    settings |= cast if is_told else {}
    _keep_settings(Path(root, _SETTINGS), settings, folders)
    names = iter(_draw_names(parts * originals * (1 + fakes), seed))
    made = []
    with tqdm(total=parts * originals * (1 + fakes), desc="videos", unit="video") as bar:
        for part, folder in enumerate(folders):
            films, metadata = [], {}
            for video in range(part * originals, (part + 1) * originals):
                original = None
                scene = {**size, "people": people, "movement": _movement_of(movement, video, people)}
                for fake in range(1 + fakes):  # 0 is the real one
                    name = next(names)
                    settings_of = {**scene, "flicker": flicker, "half_fake": half_fake}
                    films.append(_Film(path=folder / name, seed=seed, video=video, fake=fake, settings=settings_of))
                    metadata[name] = {"label": "FAKE" if fake else "REAL", "split": "train", "original": original}
                    original = original or name
            made += [film.path for film in films]
            if (folder / METADATA).exists():
                bar.update(len(films))
                continue
            _make_folder(folder, Path(root))
            with _without_leftovers(films), contextlib.closing(_render_all(films, workers)) as rendered:
                for film, shown in rendered:
                    if is_told:
                        metadata[film.path.name] |= {"movement": film.settings["movement"], "people": shown}
                    bar.update()
            _write_json(folder / METADATA, metadata, Path(root))
    return made


def _check_people(people: int, movement: str, width: int) -> None:
    if movement == "cross" and people == 1:
        raise InputError("--movement cross: takes two people; give --people 2 or more")
    if people > 1 and width < people * _LEAST_ROOM:
        raise InputError(
            f"--width {width}: is too little for {people} people, whose faces MTCNN would not find; give "
            f"{people * _LEAST_ROOM} or more"
        )


def _movement_of(movement: str, video: int, people: int) -> str:
    """How people move in a video, its fakes included."""
    if movement != _MIXED:
        return movement
    possible = [each for each in MOVEMENTS if people > 1 or each != "cross"]
    return possible[video % len(possible)]


def _keep_settings(path: Path, settings: dict, folders: list[Path]) -> None:
    """Write down what the parts are made with. Raises InputError where one is there that something else made."""
    there = [folder / METADATA for folder in folders if os.path.lexists(folder / METADATA)]
    try:
        same = read_json(path, limits.CONFIG) == settings
    except (OSError, ValueError):
        same = False
    if there and not same:
        raise InputError(f"{there[0]} is there already, not from these settings; name another folder, or remove it")
    if not same:
        _make_folder(path.parent, path.parent)
        _write_json(path, settings, path.parent)


@dataclass(frozen=True, kw_only=True)
class _Film:
    """A video to be written: `settings` are MadeVideo's, `fake` 0 is the real one."""

    path: Path
    seed: int
    video: int
    fake: int
    settings: dict


@contextlib.contextmanager
def _without_leftovers(films: list[_Film]) -> Iterator[None]:
    """Nothing lies beside the films that a process did not finish: one of an earlier run, or one that is stopped in
    the block, as another run may never come to remove it."""

    def remove() -> None:
        for film in films:
            remove_leftovers(film.path)

    remove()
    try:
        yield
    except BaseException:
        remove()
        raise


_Rendered = tuple[_Film, list[dict]]  # and the people that it shows


def _render_all(films: list[_Film], workers: int) -> Iterator[_Rendered]:
    if workers == 1:
        yield from map(_render, films)
        return
    pool = WorkerPool(_renderer, workers, preload=["preprocessing.make_sample_data"])
    with contextlib.closing(pool.run(films)) as results:
        for result in results:
            if isinstance(result, Crash):
                raise UserError(f"{result.item.path}: {result.reason}")
            yield result


def _renderer() -> Callable[[_Film], _Rendered]:
    cv2.setNumThreads(1)
    return _render


def _render(film: _Film) -> _Rendered:
    video = MadeVideo(film.seed, film.video, film.fake, **film.settings)
    write_video(film.path, video.images(), film.settings["width"], film.settings["height"])
    return film, video.people()


def _draw_names(count: int, seed: int) -> list[str]:
    """File names of ten letters, all different."""
    draw = np.random.default_rng((seed, 0))
    names: dict[str, None] = {}
    while len(names) < count:
        names["".join(draw.choice(list(string.ascii_lowercase), 10)) + ".mp4"] = None
    return list(names)


def _make_folder(folder: Path, root: Path) -> None:
    """A folder below the data root, or that itself, which alone may be a link."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        make_folder(root, *folder.relative_to(root).parts)
    except OSError as error:
        raise OutputError(f"{folder}: can't be made ({error.strerror})") from error


def _write_json(path: Path, content: dict, root: Path) -> None:
    write_json(path, content, REMEDY, root=root, indent=1, sort_keys=True)


def _size(text: str) -> int:
    """The type of --width and --height: the encoder takes even sizes only."""
    least, most = _SIZES
    if not text.isdecimal() or int(text) % 2 or not least <= int(text) <= most:
        raise argparse.ArgumentTypeError(f"{text!r} is not an even number from {least} to {most}")
    return int(text)


def _share(text: str) -> float:
    """The type of --half-fake."""
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 1")
    return share


if __name__ == "__main__":
    sys.exit(main())
