"""Who of several people is fake, and when: verdicts by person on made-up videos, against the truth.

    python -m benchmarks.people [--demo demo] [--folder /tmp/people] [--originals 12] [--seed 9]

Input: the folder of `demo.sh`, for its models, which have not seen the people of another seed. In FOLDER: data roots
with 2, 3 and 4 people who sit, cross and leave (`originals` real videos each, and a fake of each, in which one is
fake), two with half-fake ones of two people, and predict_folder.py's files of each. What is done is not done again.
Output: two tables in Markdown, and a line for each video in which something is not as it should be.

- tracks with two people: of whose faces not all lie on the boxes of one person;
- fake person highest: fakes whose track of the highest score is the fake person's;
- log loss by the strategies `confident` and `person`, from the same scores of the same faces;
- of half-fake videos the intersection over union of the intervals (of all tracks together) with the truth, over the
  whole video, and over the time in which the fake person can be seen.
"""

import argparse
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import log_loss

from benchmarks.machine import processor
from preprocessing.made_videos import RATE
from preprocessing.make_sample_data import make_data_root
from systems.tracks import overlap

PEOPLE = (2, 3, 4)
HALF_FAKE = ("still", "mixed")
_FRAMES, _WIDTH, _HEIGHT = 150, 640, 360  # as the demo has them
_LEAST_OVERLAP = 0.3  # of a face with the box of the person that it is taken for


@dataclass(frozen=True, kw_only=True)
class Predicted:
    """What predict_folder.py wrote of a data root, and the root's truth by video."""

    truth: Mapping[str, dict]
    scores: pd.Series
    faces: pd.DataFrame
    tracks: pd.DataFrame
    intervals: pd.DataFrame


def predicted(demo: Path, root: Path, **settings: object) -> Predicted:
    """Make a data root, where it is not there, and score its videos by `confident`."""
    import predict_folder

    size = {"frames": _FRAMES, "width": _WIDTH, "height": _HEIGHT}
    make_data_root(root, parts=1, fakes=1, **size, workers=2, **settings)
    summary = json.loads((demo / "submission.summary.json").read_text())
    files = {name: root / f"{name}.csv" for name in ("submission", "faces", "tracks", "intervals")}
    words = ["--weights-dir", demo / "weights", "--models", *(name for name, _ in summary["settings"]["models"])]
    words += ["--test-dir", root / "dfdc_train_part_0", "--output", files["submission"]]
    words += [word for name in ("faces", "tracks", "intervals") for word in (f"--{name}-csv", files[name])]
    if predict_folder.main([*map(str, words)]):
        sys.exit(f"error: {root}: predict_folder.py failed")
    tables = {name: pd.read_csv(path) for name, path in files.items()}
    return Predicted(
        truth=json.loads((root / "dfdc_train_part_0" / "metadata.json").read_text()),
        scores=tables["submission"].set_index("filename")["label"],
        **{name: tables[name] for name in ("faces", "tracks", "intervals")},
    )


def people_of_tracks(found: Predicted, video: str) -> dict[int, Counter]:
    """By track, how many of its faces lie on whom."""
    people = found.truth[video]["people"]
    tracks: dict[int, Counter] = {}
    for face in found.faces[(found.faces.video == video) & found.faces.track.notna()].itertuples():
        bbox = (face.x1, face.y1, face.x2, face.y2)
        overlaps = [overlap(bbox, person["boxes"].get(str(face.frame), (0, 0, 1, 1))) for person in people]
        if max(overlaps) > _LEAST_OVERLAP:
            tracks.setdefault(int(face.track), Counter())[int(np.argmax(overlaps))] += 1
    return tracks


def who(name: str, found: Predicted) -> str:
    """The row of a data root: purity of tracks, the fake person's place, log losses."""
    mixed, right, fakes, count = 0, 0, 0, 0
    by_person, labels = {}, {}
    for video, truth in found.truth.items():
        tracks = people_of_tracks(found, video)
        scores = found.tracks[found.tracks.video == video].set_index("track")["score"]
        count += len(scores)
        two = [track for track, faces in tracks.items() if len(faces) > 1]
        mixed += len(two)
        labels[video] = truth["label"] == "FAKE"
        by_person[video] = scores.max() if len(scores) else found.scores[video]
        if two:
            print(f"{name}/{video} ({truth['movement']}): two people in tracks {two}")
        if labels[video]:
            fakes += 1
            highest = tracks.get(scores.idxmax()) if len(scores) else None
            is_right = bool(highest) and truth["people"][highest.most_common(1)[0][0]]["fake"]
            right += is_right
            if not is_right:
                print(f"{name}/{video} ({truth['movement']}): the fake person is not the highest: {scores.to_dict()}")
    videos = list(found.truth)
    expected = [labels[video] for video in videos]
    losses = [log_loss(expected, [scores[video] for video in videos]) for scores in (found.scores, by_person)]
    return (
        f"| {name} | {len(videos)} | {count} | {mixed} | {right} of {fakes} | {losses[0]:.3f} | {losses[1]:.3f} "
        f"| {losses[1] / losses[0]:.2f} |"
    )


def overlaps_in_time(found: Predicted, video: str) -> tuple[float, float]:
    """Intersection over union of the intervals and the truth, frame by frame: of the whole video, and of the frames
    that show the fake person."""
    fake = next(person for person in found.truth[video]["people"] if person["fake"])
    seconds = (np.arange(_FRAMES) + 0.5) / RATE
    told = np.zeros(_FRAMES, bool)
    for interval in found.intervals[found.intervals.video == video].itertuples():
        told |= (seconds >= interval.start) & (seconds < interval.end)
    first, last = fake["fake_frames"]
    true = np.zeros(_FRAMES, bool)
    true[first:last] = True
    seen = np.array([str(frame) in fake["boxes"] for frame in range(_FRAMES)])
    return tuple((told & true & part).sum() / max(1, ((told | true) & part).sum()) for part in (seen | True, seen))


def when(name: str, found: Predicted) -> str:
    """The row of a data root with half-fake videos."""
    fakes = [video for video, truth in found.truth.items() if truth["label"] == "FAKE"]
    both = np.array([overlaps_in_time(found, video) for video in fakes])
    for video, (whole, seen) in zip(fakes, both, strict=True):
        if seen < 0.8:
            print(f"{name}/{video} ({found.truth[video]['movement']}): {whole:.2f} of the whole, {seen:.2f} where seen")
    wrong = len(found.intervals[~found.intervals.video.isin(fakes)])
    (whole, seen), (least, least_seen) = both.mean(axis=0), both.min(axis=0)
    return f"| {name} | {len(fakes)} | {whole:.3f} ({least:.3f}) | {seen:.3f} ({least_seen:.3f}) | {wrong} |"


def table(heading: str, rows: Sequence[str]) -> str:
    return "\n".join([heading, "|---" * (heading.count("|") - 1) + "|", *rows])


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure verdicts by person on made-up videos")
    parser.add_argument("--demo", type=Path, default=Path("demo"), help="folder of demo.sh (default: demo)")
    folder = Path(tempfile.gettempdir(), "people")
    parser.add_argument("--folder", type=Path, default=folder, help=f"for videos and results (default: {folder})")
    parser.add_argument("--originals", type=int, default=12, metavar="N", help="real videos of a kind (default: 12)")
    parser.add_argument("--seed", type=int, default=9, metavar="N", help="of the people: the demo's is 0 (default: 9)")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    settings = {"originals": args.originals, "seed": args.seed}
    rows, half_rows = [], []
    for people in PEOPLE:
        found = predicted(args.demo, args.folder / f"people_{people}", people=people, movement="mixed", **settings)
        rows.append(who(f"{people} people", found))
    for movement in HALF_FAKE:
        root = args.folder / f"half_fake_{movement}"
        half_rows.append(
            when(movement, predicted(args.demo, root, people=2, movement=movement, half_fake=1.0, **settings))
        )
    print(f"\n{processor()}, models of {args.demo}, people of seed {args.seed}\n")
    heading = "| | videos | tracks | with two people | fake person highest | log loss, confident | person | ratio |"
    print(table(heading, rows))
    heading = (
        "| half-fake, two people | fakes | overlap in time, mean (least) | where seen | intervals in real videos |"
    )
    print("\n" + table(heading, half_rows))


if __name__ == "__main__":
    main()
