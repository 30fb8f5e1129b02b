"""Time data preparation against the reference's recipe, stage by stage, with the real commands.

    python -m benchmarks.preprocess --root-dir DATA_ROOT

Input: a data root, of which the first fake and its original are used again and again under other names (without
--root-dir one is made). Output: a table on the terminal: seconds a video, their ratio, memory; of the winner's stages
and of The Medics' face clips. Each command runs on a few videos and on more of them; what counts is the difference, so
the start of the processes does not.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from benchmarks.machine import processor
from preprocessing.data_root import read_data_root
from preprocessing.make_sample_data import make_data_root
from runtime.cores import available_cores

PROJECT = Path(__file__).resolve().parents[1]
FULL_REAL, FULL_FAKE = 19_154, 100_000  # videos of the whole DFDC
EVERY_TENTH = ("--frame-step", "10")
CLIPS = "face clips (The Medics)"
STAGES = ("boxes", "crops", "landmarks", "diffs", "clips")  # by which rows are chosen


@dataclass(kw_only=True)
class Row:
    """A stage: which command does it, over how many copies of the pair, and what was measured."""

    name: str
    script: str
    recipe: str
    full: int  # videos of the whole DFDC that it goes over
    copies: tuple[int, int]  # of the pair, in the short and in the long run
    flags: tuple[str, ...] = ()
    videos: int = 1  # of the pair that it goes over
    seconds: dict[str, list[float]] = field(default_factory=lambda: {"recipe": [], "ours": []})
    megabytes: float = 0

    def per_video(self, who: str) -> float:
        return statistics.median(self.seconds[who])


def stages(cores: int) -> list[Row]:
    few, some, many = (cores, 3 * cores), (3 * cores, 9 * cores), (20 * cores, 60 * cores)
    boxes = {"script": "detect_original_faces", "recipe": "boxes", "full": FULL_REAL}
    every = FULL_REAL + FULL_FAKE
    return [
        Row(name="boxes", copies=few, **boxes),
        Row(name="boxes, every tenth frame", copies=some, flags=EVERY_TENTH, **boxes),
        Row(name="crops", script="extract_crops", recipe="crops", copies=some, videos=2, full=every),
        Row(name="landmarks", script="generate_landmarks", recipe="landmarks", copies=many, full=FULL_REAL),
        Row(name="diffs", script="generate_diffs", recipe="diffs", copies=many, full=FULL_FAKE),
        Row(name=CLIPS, script="extract_face_clips", recipe="clips", copies=few, videos=2, full=every),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare data preparation with the reference recipe")
    parser.add_argument("--root-dir", help="data root with a real video and a fake of it (default: one is made)")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=STAGES, metavar="NAME", help=", ".join(STAGES))
    parser.add_argument("--rounds", type=int, default=2)
    args = parser.parse_args()
    cores = available_cores()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = [row for row in stages(cores) if row.recipe in args.stages]
        model = make_model(folder / "model", args.root_dir or make_source(folder / "source"), rows)
        for _ in range(args.rounds):
            for row in rows:
                measure(row, folder, model, rows[0])
        title = f"{date.today()}, {processor()}, {cores} cores, {args.rounds} rounds: {describe(model)}"
    print(f"\n{title}\n\n{table(rows, cores)}")


def make_source(root: Path) -> Path:
    make_data_root(root, parts=1, originals=1, fakes=1, frames=300, width=1920, height=1080, seed=0)
    return root


def make_model(root: Path, source: str | Path, rows: list[Row]) -> Path:
    """A data root with one pair, "real" and "fake", and what the winner's stages make of it, where one is timed."""
    data = read_data_root(source)
    fake = data.fakes_with_original[0]
    real = next(video for video in data.videos if video.id == fake.original)
    write_pairs(root, real.path, fake.path, 1)
    for row in stages(1) if any(row.name != CLIPS for row in rows) else []:
        if row.flags != EVERY_TENTH and row.name != CLIPS:
            command(row, "ours", root)
    return root


def describe(model: Path) -> str:
    if not (model / "crops").exists():
        return f"{os.path.getsize(model / 'part' / 'real0.mp4') / 1e6:.0f} MB a video"
    frames = len(json.loads((model / "boxes" / "real0.json").read_text()))
    crops = len(os.listdir(model / "crops" / "real0"))
    return f"{frames} frames a video, {crops} crops of every tenth"


def write_pairs(root: Path, real: str | Path, fake: str | Path, copies: int) -> None:
    part = root / "part"
    part.mkdir(parents=True)
    metadata = {}
    for number in range(copies):
        for kind, path in (("real", real), ("fake", fake)):
            (part / f"{kind}{number}.mp4").symlink_to(Path(path).resolve())
        metadata[f"real{number}.mp4"] = {"label": "REAL", "original": None}
        metadata[f"fake{number}.mp4"] = {"label": "FAKE", "original": f"real{number}.mp4"}
    (part / "metadata.json").write_text(json.dumps(metadata))


def measure(row: Row, folder: Path, model: Path, boxes: Row) -> None:
    """One round of a stage: the recipe and ours, each on the few copies and on the many."""
    for who in row.seconds:
        if who == "recipe" and row.flags == EVERY_TENTH:  # it knows no such flag
            row.seconds[who].append(boxes.seconds[who][-1])
            continue
        short, long = (timed(row, who, folder / "run", model, copies) for copies in row.copies)
        row.seconds[who].append((long - short) / (row.copies[1] - row.copies[0]) / row.videos)
        print(f"  {row.name}, {who}: {row.seconds[who][-1]:.3f} s a video", flush=True)


def timed(row: Row, who: str, root: Path, model: Path, copies: int) -> float:
    part = model / "part"
    write_pairs(root, part / "real0.mp4", part / "fake0.mp4", copies)
    if row.recipe not in ("boxes", "clips"):  # what the stages before it have made
        (root / "boxes").mkdir()
        for number in range(copies):
            shutil.copy(model / "boxes" / "real0.json", root / "boxes" / f"real{number}.json")
            if row.recipe != "crops":
                for kind in ("real", "fake"):
                    shutil.copytree(model / "crops" / f"{kind}0", root / "crops" / f"{kind}{number}")
    started = time.perf_counter()
    megabytes = command(row, who, root)
    seconds = time.perf_counter() - started
    if who == "ours":
        row.megabytes = max(row.megabytes, megabytes)
    shutil.rmtree(root)
    return seconds


def command(row: Row, who: str, root: Path) -> float:
    """Run a stage; peak memory in MB of the largest process below the command's own."""
    if who == "ours":
        words = [str(PROJECT / "preprocessing" / f"{row.script}.py"), "--root-dir", str(root), *row.flags]
        environment = os.environ
    else:
        words = ["-m", "benchmarks.preprocess_recipe", row.recipe, str(root)]
        one_thread = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}  # set at the top of the published scripts
        environment = {**os.environ, "PYTHONPATH": str(PROJECT), **(one_thread if row.recipe != "boxes" else {})}
    process = subprocess.Popen(
        [sys.executable, *words], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    peaks: dict[int, float] = {}
    watcher = threading.Thread(target=watch, args=(process, peaks))
    watcher.start()
    _, errors = process.communicate()
    watcher.join()
    if process.returncode:
        raise SystemExit(f"{' '.join(words)} failed:\n{errors.decode()}")
    return max(peaks.values(), default=0)


def watch(process: subprocess.Popen, peaks: dict[int, float]) -> None:
    while process.poll() is None:
        for pid in descendants(process.pid):
            try:
                status = Path(f"/proc/{pid}/status").read_text()
            except OSError:
                continue  # it has ended
            if "VmHWM:" in status:
                peaks[pid] = int(status.split("VmHWM:")[1].split()[0]) / 1024
        time.sleep(0.2)


def descendants(pid: int) -> list[int]:
    found, fresh = [], [pid]
    while fresh:
        each = fresh.pop()
        try:
            children = Path(f"/proc/{each}/task/{each}/children").read_text().split()
        except OSError:
            continue
        fresh += map(int, children)
        found += map(int, children)
    return found


def table(rows: list[Row], cores: int) -> str:
    lines = [
        f"| | recipe s | ours s | ratio | MB a worker | hours of the whole DFDC on {cores} cores: recipe | ours |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        recipe, ours = row.per_video("recipe"), row.per_video("ours")
        ratio = statistics.median(a / b for a, b in zip(row.seconds["recipe"], row.seconds["ours"], strict=True))
        hours = " | ".join(f"{seconds * row.full / 3600:.1f}" for seconds in (recipe, ours))
        lines.append(f"| {row.name} | {recipe:.3f} | {ours:.3f} | {ratio:.1f} | {row.megabytes:.0f} | {hours} |")
    rows = [row for row in rows if row.name != CLIPS]
    if len(rows) < len(stages(cores)) - 1:
        return "\n".join(lines)
    for name, flags in (("all stages", ()), ("all stages, FRAME_STEP=10", EVERY_TENTH)):
        chosen = [row for row in rows if row.recipe != "boxes" or row.flags == flags]
        for mix, weight in (("a pair", lambda row: row.videos), ("DFDC's mix", lambda row: row.full / FULL_REAL)):
            recipe, ours = (sum(row.per_video(who) * weight(row) for row in chosen) for who in ("recipe", "ours"))
            lines.append(f"| {name}, {mix} | {recipe:.2f} | {ours:.2f} | {recipe / ours:.1f} | | | |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
