"""Find the faces of fakes that lie on a face of their original, detection by detection, for NtechLab's system.

    python preprocessing/align_tracks.py --root-dir DATA_ROOT

Input: DATA_ROOT/*/metadata.json, DATA_ROOT/face_tracks/<part>/<video>.mp4.json (detect_tracks.py). Output:
DATA_ROOT/aligned_tracks.json, the boxes of each face in both videos (systems/ntechlab/track_files.py). With
--format published DATA_ROOT/tracks.pkl is read, by a reader that runs nothing of what it names, and
DATA_ROOT/aligned_tracks.pkl written. A file that would stay the same is left as it is.
"""

import argparse
import itertools
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the project, from wherever this is run

import runtime.environment  # noqa: F401  it says what to do where the others can't be imported

from tqdm import tqdm

from faces.containers import METADATA, video_id
from preprocessing.data_root import DataRoot, read_data_root
from preprocessing.labels import read_metadata
from preprocessing.stage import report_bad
from runtime.command import run_command
from runtime.errors import InputError, ItemError, OutputError, printable
from runtime.files import make_folder, remove_leftovers, write_json
from runtime.ranks import Ranks
from systems.ntechlab.alignment import AlignedTrack, align_tracks, fakes_by_original
from systems.ntechlab.published_files import read_aligned_tracks as read_published
from systems.ntechlab.published_files import read_tracks
from systems.ntechlab.published_files import write_aligned_tracks as write_published
from systems.ntechlab.track_crops import DETECTIONS
from systems.ntechlab.track_files import (
    FOLDER,
    FORMATS,
    Size,
    read_aligned_tracks,
    read_face_tracks,
    write_aligned_tracks,
)
from systems.ntechlab.tracking import Track

_RECORDS = ".preprocessing"
_REMEDY = "the data root must be writable"

Found = tuple[Sequence[Track], Size | None]  # the tracks of a video, and the size of its frames where it is known


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Find the faces of fakes that lie on a face of their original")
    arg = parser.add_argument
    arg("--root-dir", required=True, metavar="DIR", help="data root: part folders with metadata.json, and tracks")
    arg(
        "--format",
        choices=FORMATS,
        default="json",
        help="json (default), or published: read tracks.pkl and write aligned_tracks.pkl",
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    return run_command(align, parse_args(argv))


def align(args: argparse.Namespace, ranks: Ranks) -> int:
    if ranks.rank:
        return 0  # it takes seconds: one process does it
    started = time.time()
    root = Path(args.root_dir)

    # list the work
    data = read_data_root(root)
    pairs = list_pairs(root, data)
    if not pairs:
        raise InputError(f"--root-dir {root}: no fake has an original here; there is nothing to align")
    find = published_tracks(root) if args.format == "published" else json_tracks(root)

    # process
    aligned, sizes, notes, failed = align_all(pairs, find)
    if not aligned:
        named = "".join(f"; {video}: {reason}" for video, reason in [*failed.items(), *notes.items()][:1])
        raise InputError(f"--root-dir {root}: no face of a fake lies on one of its original{named}")

    # summarise
    path, is_new = write(root, args.format, aligned, sizes)
    used = {track.fake for track in aligned}
    summary = write_summary(
        root,
        {
            "pairs": len(pairs),
            "aligned": len(aligned),
            "fakes": len(used),
            "notes": notes,
            "failed": failed,
            "left_out": data.problems,
            "settings": {"format": args.format},
        },
    )
    done = f"{len(aligned)} tracks of {len(used)} of {len(pairs)} fakes in {time.time() - started:.0f} s"
    print(f"aligned_tracks: {done}: {printable(str(path))}" + ("" if is_new else " (as before)"))
    if notes:
        video, reason = next(iter(notes.items()))
        print(printable(f"  note: {len(notes)} fakes give no training pair, see {summary}; {video}: {reason}"))
    return report_bad("aligned_tracks", failed, data.problems, summary)


def list_pairs(root: Path, data: DataRoot) -> list[tuple[str, str]]:
    """Pairs (original, fake) of usable videos, `part/video.mp4`, in the published order: by original, then as the
    metadata lists the fakes."""
    places = {video.id: f"{video.part}/{video.name}" for video in data.videos}
    fakes = {(video.part, video.name): video.original_name for video in data.fakes_with_original}
    metadata = {
        part: {
            name: {"label": "FAKE", "original": fakes[part, name]}
            for name in read_metadata(root / part / METADATA)[0]
            if (part, name) in fakes
        }
        for part in dict.fromkeys(part for part, _ in fakes)
    }
    # an original may lie in another part, or have another ending
    return [(places[video_id(os.path.basename(real))], fake) for real, fake in fakes_by_original(metadata)]


def json_tracks(root: Path) -> Callable[[str], Found]:
    def find(video: str) -> Found:
        found = read_face_tracks(root / FOLDER / f"{video}.json")
        return found.tracks, found.size

    return find


def published_tracks(root: Path) -> Callable[[str], Found]:
    path = root / "tracks.pkl"
    tracks = read_tracks(path)

    def find(video: str) -> Found:
        if video not in tracks:
            raise ItemError(f"{path}: has no entry of it; run detect_tracks.py --format published")
        return tracks[video], None

    return find


def align_all(
    pairs: Sequence[tuple[str, str]], find: Callable[[str], Found]
) -> tuple[list[AlignedTrack], dict[str, Size], dict[str, str], dict[str, str]]:
    """The aligned tracks of all pairs in order, the sizes of their videos, why a fake gives no training pair, and why
    videos could not be looked at."""
    aligned: list[AlignedTrack] = []
    sizes: dict[str, Size] = {}
    notes: dict[str, str] = {}
    failed: dict[str, str] = {}
    with tqdm(total=len(pairs), desc="aligned_tracks", unit="fake") as bar:
        for real, group in itertools.groupby(pairs, key=lambda pair: pair[0]):
            fakes = [fake for _, fake in group]
            found: dict[str, Found] = {}
            for video in (real, *fakes):
                try:
                    found[video] = find(video)
                except ItemError as error:
                    failed[video] = str(error)
            for fake in fakes:
                if real in failed:
                    failed.setdefault(fake, f"its original {real} has no tracks")
                elif fake in found:
                    made = align_tracks([(real, fake)], {video: found[video][0] for video in (real, fake)})
                    aligned += made
                    if made:
                        sizes.update({video: found[video][1] for video in (real, fake)})
                    if all(len(track.real_bboxes) < DETECTIONS for track in made):
                        notes[fake] = _why_not(found[real], found[fake], real)
                bar.update()
    return aligned, sizes, notes, failed


def _why_not(real: Found, fake: Found, name: str) -> str:
    if real[1] != fake[1]:
        ours, theirs = (f"{size[0]}x{size[1]}" for size in (fake[1], real[1]))
        return f"has frames of {ours} pixels, its original {name} of {theirs}: scale it to that"
    return f"no face of it is followed for {DETECTIONS} detections where one of its original {name} is"


def write(root: Path, format_: str, aligned: list[AlignedTrack], sizes: dict[str, Size]) -> tuple[Path, bool]:
    """Write the file of a format unless it holds that already, so that what was made of it stays done. Returns where
    it is, and whether it was written."""
    path = root / ("aligned_tracks.pkl" if format_ == "published" else "aligned_tracks.json")
    remove_leftovers(path)
    if format_ == "published":
        is_new = _held(read_published, path) != aligned
        if is_new:
            write_published(path, aligned, root)
    else:
        is_new = _held(read_aligned_tracks, path) != (aligned, sizes)
        if is_new:
            write_aligned_tracks(path, aligned, sizes, root)
    return path, is_new


def _held(read: Callable[[Path], object], path: Path) -> object:
    """What a file holds; None where there is none, or it is damaged."""
    try:
        return read(path)
    except InputError:
        return None


def write_summary(root: Path, summary: dict) -> Path:
    path = root / _RECORDS / "aligned_tracks.summary.json"
    try:
        make_folder(root, _RECORDS)
    except OSError as error:
        raise OutputError(f"{path.parent}: can't be made ({error.strerror}); the data root must be writable") from error
    write_json(path, summary, _REMEDY, root=root, indent=2)
    return path


if __name__ == "__main__":
    sys.exit(main())
