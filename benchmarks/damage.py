"""Damaged copies of videos, and what prediction makes of them.

    python -m benchmarks.damage --videos VIDEOS --out DAMAGED --count 200 --seed 0 --models CHECKPOINT

Input: a folder of whole videos; without --models only the copies are made. Output: --count copies in DAMAGED, each of
some kind of damage drawn from (seed, number) alone; then `predict_folder.py` runs over them, and its result is checked:
exit code 0, a row for each copy, no traceback, less than 3 GB of memory, at most 60 seconds a copy. Prints a table of
kinds and of what became of them.
"""

import argparse
import csv
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np

from faces.containers import is_video_name

MOST_BYTES, MOST_SECONDS = 3 * 10**9, 60
_BOXES = (b"ftyp", b"moov", b"mvhd", b"trak", b"tkhd", b"mdia", b"mdhd", b"minf", b"stbl", b"stsd", b"stts", b"ctts")
_BOXES += (b"stss", b"stsc", b"stsz", b"stco", b"edts", b"elst", b"mdat", b"avcC", b"hvcC", b"moof", b"traf", b"trun")
_EXTREME = (0, 1, 2**16, 2**31 - 1, 2**31, 2**32 - 1)

Damage = Callable[[bytearray, np.random.Generator], None]


def flip_bytes(data: bytearray, draw: np.random.Generator) -> None:
    for place in draw.integers(0, len(data), draw.integers(1, 200)):
        data[place] ^= int(draw.integers(1, 256))


def flip_bytes_of_the_header(data: bytearray, draw: np.random.Generator) -> None:
    for place in draw.integers(0, min(len(data), 2000), 8):
        data[place] ^= int(draw.integers(1, 256))


def zero_a_stretch(data: bytearray, draw: np.random.Generator) -> None:
    start, size = _stretch(data, draw)
    data[start : start + size] = bytes(size)


def cut_the_end(data: bytearray, draw: np.random.Generator) -> None:
    del data[int(draw.integers(1, len(data))) :]


def cut_the_front(data: bytearray, draw: np.random.Generator) -> None:
    del data[: int(draw.integers(1, len(data)))]


def remove_a_stretch(data: bytearray, draw: np.random.Generator) -> None:
    start, size = _stretch(data, draw)
    del data[start : start + size]


def repeat_a_stretch(data: bytearray, draw: np.random.Generator) -> None:
    start, size = _stretch(data, draw)
    data[start:start] = data[start : start + size]


def alter_a_box_size(data: bytearray, draw: np.random.Generator) -> None:
    """MP4's; other containers get a byte flipped."""
    at = _a_box(data, draw)
    size = int.from_bytes(data[at - 4 : at], "big")
    value = int(draw.choice([*_EXTREME, max(size - 8, 0), min(size + 8, 2**32 - 1)]))
    data[at - 4 : at] = value.to_bytes(4, "big")


def alter_a_box_kind(data: bytearray, draw: np.random.Generator) -> None:
    at = _a_box(data, draw)
    data[at : at + 4] = _BOXES[draw.integers(len(_BOXES))]


def alter_a_table(data: bytearray, draw: np.random.Generator) -> None:
    """A number of four bytes in one of MP4's boxes."""
    at = _a_box(data, draw) + 4 + 4 * int(draw.integers(0, 12))
    data[at : at + 4] = int(draw.choice(_EXTREME)).to_bytes(4, "big")


DAMAGES: tuple[Damage, ...] = (
    flip_bytes,
    flip_bytes_of_the_header,
    zero_a_stretch,
    cut_the_end,
    cut_the_front,
    remove_a_stretch,
    repeat_a_stretch,
    alter_a_box_size,
    alter_a_box_kind,
    alter_a_table,
)


def _stretch(data: bytearray, draw: np.random.Generator) -> tuple[int, int]:
    start = int(draw.integers(0, len(data)))
    return start, min(int(draw.integers(1, max(len(data) // 5, 2))), len(data) - start)


def _a_box(data: bytearray, draw: np.random.Generator) -> int:
    """The place of a box's kind, or any place where there are no boxes."""
    places = [at for kind in _BOXES if (at := data.find(kind)) >= 4]
    return int(draw.choice(places)) if places else int(draw.integers(4, len(data) - 8))


def make_copies(videos: list[Path], out: Path, count: int, seed: int) -> dict[str, str]:
    """Write damaged copies; returns the kind of damage by file name."""
    out.mkdir(parents=True, exist_ok=True)
    kinds = {}
    for number in range(count):
        draw = np.random.default_rng((seed, number))
        damage, video = DAMAGES[number % len(DAMAGES)], videos[draw.integers(len(videos))]
        data = bytearray(video.read_bytes())
        damage(data, draw)
        name = f"{number:04}_{video.name}"
        (out / name).write_bytes(data)
        kinds[name] = damage.__name__
    return kinds


# A script that writes its peak of memory down at its end: what the system counts for a child has its parent's in it.
_TELLING = """
import atexit, runpy, sys
peak, *sys.argv = sys.argv[1:]
def tell():
    status = open("/proc/self/status").read()
    open(peak, "w").write(str(1024 * int(status.split("VmHWM:")[1].split()[0])))
atexit.register(tell)
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def predict(folder: Path, models: list[Path], *flags: str) -> dict:
    """Run the command on a folder. Returns exit code, output, rows, summary, peak memory in bytes and seconds."""
    output, peak = folder.with_name(folder.name + ".csv"), folder.with_name(folder.name + ".peak")
    script = str(Path(__file__).parents[1] / "predict_folder.py")
    command = [sys.executable, "-c", _TELLING, str(peak), script, "--test-dir", str(folder)]
    command += ["--weights-dir", str(models[0].parent), "--models", *(model.name for model in models)]
    started = time.time()
    command += ["--output", str(output), *flags]
    try:
        process = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=MOST_SECONDS * len(list(folder.iterdir()))
        )
    except subprocess.TimeoutExpired as error:
        process = subprocess.CompletedProcess(command, 124, "", f"stopped after {error.timeout:.0f} s")
    rows, summary = {}, {}
    if output.exists():
        with open(output, newline="", errors="surrogateescape") as file:
            rows = dict(list(csv.reader(file))[1:])
        summary = json.loads(output.with_suffix(".summary.json").read_text())
    return {
        "exit_code": process.returncode,
        "output": process.stdout + process.stderr,
        "rows": rows,
        "summary": summary,
        "bytes": int(peak.read_text()) if peak.exists() else 0,
        "seconds": time.time() - started,
    }


def problems(kinds: dict[str, str], result: dict) -> list[str]:
    """What is not as it must be, as sentences."""
    found = []
    if result["exit_code"]:
        found.append(f"exit code {result['exit_code']}: {result['output'][-500:]}")
    if set(result["rows"]) != set(kinds):
        found.append(f"{len(result['rows'])} rows for {len(kinds)} copies")
    if "Traceback" in result["output"] or result["summary"].get("failed"):
        found.append(f"a traceback: {result['summary'].get('failed')}")
    if result["bytes"] > MOST_BYTES:
        found.append(f"{result['bytes'] / 1e9:.1f} GB of memory")
    if result["seconds"] > MOST_SECONDS * len(kinds):
        found.append(f"{result['seconds']:.0f} s")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description="Damage videos and predict them")
    arg = parser.add_argument
    arg("--videos", type=Path, required=True, metavar="DIR", help="whole videos")
    arg("--out", type=Path, required=True, metavar="DIR", help="folder for the copies")
    arg("--count", type=int, default=200, metavar="N", help="copies (default: 200)")
    arg("--seed", type=int, default=0)
    arg("--models", type=Path, nargs="+", default=[], metavar="FILE", help="checkpoints of one folder to predict with")
    args = parser.parse_args()
    videos = sorted(path for path in args.videos.iterdir() if is_video_name(path.name))
    if not videos:
        parser.error(f"--videos {args.videos}: holds no video")
    kinds = make_copies(videos, args.out, args.count, args.seed)
    if not args.models:
        return 0
    result = predict(args.out, args.models)
    summary = result["summary"]
    fates = dict.fromkeys(kinds, "scored") | dict.fromkeys(summary.get("no_face", ()), "no face")
    fates |= dict.fromkeys(summary.get("unreadable", ()), "unreadable")
    print(f"{'damage':<26}{'copies':>8}{'scored':>8}{'no face':>9}{'unreadable':>12}")
    for kind in sorted(set(kinds.values())):
        of_kind = Counter(fates[name] for name, each in kinds.items() if each == kind)
        print(f"{kind:<26}{of_kind.total():>8}{of_kind['scored']:>8}{of_kind['no face']:>9}{of_kind['unreadable']:>12}")
    print(f"{result['bytes'] / 1e9:.2f} GB, {result['seconds']:.0f} s")
    for problem in problems(kinds, result):
        print(problem)
    return int(bool(problems(kinds, result)))


if __name__ == "__main__":
    sys.exit(main())
