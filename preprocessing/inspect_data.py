"""Draw what the stages made of a video and its fake: boxes, crops, landmarks and SSIM masks of three frames.

    python preprocessing/inspect_data.py --root-dir DATA_ROOT --video aaagqkcdis --out sheet.png

Input: DATA_ROOT/*/metadata.json and its videos; DATA_ROOT/boxes and crops; landmarks and diffs, where they are there.
Of a fake its original is shown too; of a real video the first of its fakes that has crops. Output: one picture, about
2000 pixels wide, with a row for the first, the middle and the last frame that has crops.
"""

import argparse
import difflib
import io
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the project, from wherever this is run

import runtime.environment  # noqa: F401  it says what to do where the others can't be imported

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.patheffects import withStroke

from faces.containers import video_id
from faces.images import list_crops, read_image
from faces.video import iter_all_frames
from preprocessing.data_root import DataRoot, Video, read_data_root
from preprocessing.extract_crops import Boxes, read_boxes
from runtime import limits
from runtime.command import run_command
from runtime.errors import InputError, ItemError, printable
from runtime.files import read_file
from runtime.pictures import format_of, save
from runtime.ranks import Ranks

ACTOR = 0  # the largest face: the one whose crops are shown

_DPI = 100
_WIDTH, _MOST_HEIGHT = 20.0, 6.5  # of the sheet and of one row's pictures, in inches
_LEAST_WIDTH = 10.0  # of the sheet, however narrow the pictures are: its title and legend need that
_ASPECTS = (0.7, 2.4)  # of a column, width to height: narrower ones have no room for a heading
_GAP, _HEADING, _FRAME = 0.1, 0.55, 1.6  # between columns, above each panel, for title and legend; inches
_BOX, _OTHER_BOX = "#00e5ff", "#ffb000"
_LANDMARKS = ("#00e5ff", "#7cff4f", "#ffe600", "#ff4fd8", "#ff4fd8")  # in the order of the file
_LONGEST = 44  # letters of an id or folder in the title


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One picture of the sheet.

    `image` is RGB uint8 (h, w, 3), or grey uint8 (h, w), or None where there is none. `boxes` (x1, y1, x2, y2) and
    `landmarks` (5, 2) are in its pixels. `note` says what is missing.
    """

    heading: str
    image: np.ndarray | None = None
    boxes: Sequence[Sequence[float]] = ()
    landmarks: np.ndarray | None = None
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """Everything that is drawn: lines of the title, and rows of equally many panels."""

    title: list[str]
    rows: list[list[Panel]]


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Draw what the stages made of a video and its fake")
    arg = parser.add_argument
    arg("--root-dir", required=True, metavar="DIR", help="data root on which boxes and crops are made")
    arg("--video", required=True, metavar="ID", help="a real video or a fake: its file name without the ending")
    arg("--out", required=True, metavar="FILE", help="picture to write: .png, .jpg, .pdf, ...")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    return run_command(inspect_video, parse_args(argv))


def inspect_video(args: argparse.Namespace, ranks: Ranks) -> int:
    if ranks.rank:
        return 0  # one picture: one process makes it
    image_format = format_of(args.out)
    data = read_data_root(args.root_dir)
    root = Path(args.root_dir)
    video = find_video(data, args.video)
    boxes = read_boxes(root / "boxes" / f"{video.source}.json")
    videos = with_counterpart(data, video, root / "crops")
    crops = {video.id: crops_of(video, root / "crops") for video in videos}
    indices = choose_frames(crops)
    sheet = load_sheet(root, videos, boxes, crops, indices)
    save(draw(sheet), args.out, image_format)
    names = " and ".join(f"{video.id} ({label_of(video)})" for video in videos)
    print(printable(f"{args.out}: {names}, frame(s) {', '.join(map(str, indices))}"))
    return 0


# which videos and frames


def find_video(data: DataRoot, name: str) -> Video:
    """Raises InputError for an id that is unknown, or whose video can't be used."""
    videos = {video.id: video for video in data.videos}
    if name in videos:
        return videos[name]
    for entry, reason in data.problems.items():
        if video_id(entry.partition("/")[2]) == video_id(name):
            raise InputError(f"--video {name}: can't be used: {entry}: {reason}")
    near = difflib.get_close_matches(video_id(name), videos, n=1)
    hint = (
        f"did you mean {near[0]}?" if near else f"an id is a file name without its ending, such as {next(iter(videos))}"
    )
    raise InputError(f"--video {name}: not among the {len(videos)} videos of the data root; {hint}")


def with_counterpart(data: DataRoot, video: Video, crops_dir: Path) -> list[Video]:
    """The real video and the fake; or the one alone that has no counterpart."""
    if video.original is not None:
        return [next(real for real in data.videos if real.id == video.original), video]
    for fake in data.fakes_with_original:
        if fake.original == video.id and has_crops(fake, crops_dir):
            return [video, fake]
    return [video]


def has_crops(video: Video, crops_dir: Path) -> bool:
    try:
        return bool(crops_of(video, crops_dir))
    except ItemError:
        return False


def crops_of(video: Video, crops_dir: Path) -> dict[int, Path]:
    """The crops of the largest face, by frame. Raises ItemError where the stage has not run."""
    folder = crops_dir / video.id
    return {crop.frame: folder / crop.name for crop in list_crops(folder) if crop.actor == ACTOR}


def choose_frames(crops: dict[str, dict[int, Path]]) -> list[int]:
    """First, middle and last of the frames that have crops in all videos; of any video, where there are none of these.
    Fewer than three where there are no more. Raises InputError for none."""
    sets = [set(found) for found in crops.values()]
    indices = sorted(set.intersection(*sets) or set.union(*sets))
    if not indices:
        raise InputError(f"--video {' and '.join(crops)}: no crops, as no face was found; choose another video")
    return sorted({indices[0], indices[len(indices) // 2], indices[-1]})


# loading


def load_sheet(
    root: Path, videos: list[Video], boxes: Boxes, crops: dict[str, dict[int, Path]], indices: list[int]
) -> Sheet:
    """`videos` are the real one and its fake, or one alone; `boxes` and `crops` go by frame. Raises ItemError where a
    file can't be read."""
    # with the first frame, as a reader that gives none at all says that the video is damaged
    frames = {video.id: dict(iter_all_frames(video.path, lambda count: [0, *indices])) for video in videos}
    rows = []
    for index in indices:
        landmarks, note = load_landmarks(root / "landmarks" / videos[0].source, index)
        row = []
        for video in videos:
            row.append(frame_panel(video, index, frames[video.id].get(index), boxes.get(index, [])))
            row.append(crop_panel(video, index, crops[video.id].get(index), landmarks, note))
        if len(videos) > 1:
            row.append(mask_panel(root / "diffs" / videos[1].id, index))
        rows.append(row)
    return Sheet(title=[title_of(video) for video in videos], rows=rows)


def label_of(video: Video) -> str:
    return "fake" if video.is_fake else "real"


def title_of(video: Video) -> str:
    return f"{label_of(video)}: {shortened(video.id)}, part folder {shortened(video.part)}"


def shortened(name: str) -> str:
    """Both ends of a long name, as either may be what tells it from others."""
    half = _LONGEST // 2
    return name if len(name) <= _LONGEST else f"{name[:half]}…{name[-half:]}"


def frame_panel(video: Video, index: int, frame: np.ndarray | None, boxes: Sequence[Sequence[float]]) -> Panel:
    heading = f"{label_of(video)} frame {index}"
    if frame is None:
        return Panel(heading=heading, note="no such frame:\nthe video is shorter")
    whole = [[2 * side for side in box] for box in boxes]
    return Panel(heading=heading, image=frame, boxes=whole, note="" if boxes else "no box")


def crop_panel(video: Video, index: int, path: Path | None, landmarks: np.ndarray | None, note: str) -> Panel:
    heading = f"{label_of(video)} crop {index}_{ACTOR}"
    if path is None:
        return Panel(heading=heading, note="no crop")
    image = cv2.cvtColor(read_image(path), cv2.COLOR_BGR2RGB)
    return Panel(heading=heading, image=image, landmarks=landmarks, note=note)


def mask_panel(folder: Path, index: int) -> Panel:
    heading = f"SSIM mask {index}_{ACTOR}"
    path = folder / f"{index}_{ACTOR}_diff.png"
    if not folder.is_dir():
        return Panel(heading=heading, note="no mask:\nrun generate_diffs.py")
    if not path.exists():
        return Panel(heading=heading, note="no mask: a crop is missing\nor they differ in size")
    try:
        return Panel(heading=heading, image=read_image(path)[..., 0])
    except ItemError as error:
        raise ItemError(f"{path}: can't be read or is damaged; run generate_diffs.py --overwrite") from error


def load_landmarks(folder: Path, index: int) -> tuple[np.ndarray | None, str]:
    """Landmarks (5, 2) in pixels of the crop, or None and the reason. Raises ItemError for a damaged file."""
    path = folder / f"{index}_{ACTOR}.npy"
    if not folder.is_dir():
        return None, "no landmarks:\nrun generate_landmarks.py"
    if not path.exists():
        return None, "no landmarks found"
    try:
        landmarks = np.load(io.BytesIO(read_file(path, limits.LANDMARKS)), allow_pickle=False)
        if landmarks.shape != (5, 2) or landmarks.dtype.kind not in "iuf":
            raise ValueError("not five points")
    except Exception as error:  # NumPy's reader fails in many ways on what is no array
        raise ItemError(f"{path}: can't be read or is damaged; run generate_landmarks.py --overwrite") from error
    return landmarks, ""


# drawing


def draw(sheet: Sheet) -> Figure:
    """As large as the pictures ask for: all of a row are equally high, and together as wide as the sheet."""
    aspects = column_aspects(sheet.rows)
    gaps = _GAP * (len(aspects) + 1)
    height = min(_MOST_HEIGHT, (_WIDTH - gaps) / sum(aspects))
    size = (max(_LEAST_WIDTH, height * sum(aspects) + gaps), len(sheet.rows) * (height + _HEADING) + _FRAME)
    figure = Figure(figsize=size, dpi=_DPI, layout="constrained")
    figure.get_layout_engine().set(w_pad=_GAP / 2, h_pad=_GAP)
    figure.suptitle("\n".join(sheet.title), fontsize=16, parse_math=False)  # a $ in a name is a $
    grid = figure.subplots(len(sheet.rows), len(aspects), width_ratios=aspects, squeeze=False)
    for row, panels in zip(grid, sheet.rows, strict=True):
        for axes, panel in zip(row, panels, strict=True):
            draw_panel(axes, panel)
    handles = legend_handles(has_mask=len(aspects) == 5)
    columns = len(handles) // 2
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, frameon=False, fontsize=11)
    return figure


def column_aspects(rows: list[list[Panel]]) -> list[float]:
    """Width to height of each column's pictures, in the middle; the narrowest column's, where there are none."""
    aspects: list[float | None] = []
    for column in zip(*rows, strict=True):
        shapes = [panel.image.shape for panel in column if panel.image is not None]
        aspect = statistics.median(width / height for height, width, *_ in shapes) if shapes else None
        aspects.append(aspect and min(max(aspect, _ASPECTS[0]), _ASPECTS[1]))
    narrowest = min(aspect for aspect in aspects if aspect)
    return [aspect or narrowest for aspect in aspects]


def draw_panel(axes: Axes, panel: Panel) -> None:
    axes.set(xticks=[], yticks=[])
    heading = panel.heading
    if panel.image is None:
        axes.set_facecolor("0.93")
        axes.text(0.5, 0.5, panel.note, transform=axes.transAxes, ha="center", va="center", fontsize=12, color="0.3")
    else:
        height, width = panel.image.shape[:2]
        heading += f"\n{width} × {height} px"
        draw_image(axes, panel)
        if panel.note:
            draw_note(axes, panel.note)
    axes.set_title(heading, fontsize=11)


def draw_image(axes: Axes, panel: Panel) -> None:
    height, width = panel.image.shape[:2]
    image = reduced(panel.image)
    axes.imshow(image, cmap="gray", vmin=0, vmax=255, extent=(0, width, height, 0))
    for actor, (left, top, right, bottom) in enumerate(panel.boxes):
        colour = _BOX if actor == ACTOR else _OTHER_BOX
        axes.add_patch(
            Rectangle((left, top), right - left, bottom - top, fill=False, edgecolor=colour, linewidth=2.5)
        ).set_path_effects([withStroke(linewidth=4, foreground="black")])
    if panel.landmarks is not None:
        xs, ys = panel.landmarks.T
        axes.scatter(xs, ys, s=45, c=_LANDMARKS, edgecolors="black", linewidths=1)
    axes.set(xlim=(0, width), ylim=(height, 0))


def draw_note(axes: Axes, note: str) -> None:
    style = {"boxstyle": "round", "facecolor": "white", "edgecolor": "none", "alpha": 0.85}
    axes.text(0.5, 0.04, note, transform=axes.transAxes, ha="center", va="bottom", fontsize=10, bbox=style)


def reduced(image: np.ndarray) -> np.ndarray:
    """An image no larger than the sheet can show."""
    scale = _WIDTH * _DPI / 2 / max(image.shape[:2])
    return image if scale >= 1 else cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


def legend_handles(has_mask: bool) -> list:
    def point(colour: str, label: str) -> Line2D:
        return Line2D(
            [], [], linestyle="", marker="o", markersize=8, color=colour, markeredgecolor="black", label=label
        )

    handles = [
        Line2D([], [], color=_BOX, linewidth=3, label="box of the largest face, the one in the crop"),
        Line2D([], [], color=_OTHER_BOX, linewidth=3, label="boxes of other faces"),
        point(_LANDMARKS[0], "left eye"),
        point(_LANDMARKS[1], "right eye"),
        point(_LANDMARKS[2], "nose"),
        point(_LANDMARKS[3], "corners of the mouth"),
    ]
    if has_mask:
        handles.append(Patch(facecolor="white", edgecolor="black", label="mask: the fake differs from the real crop"))
        handles.append(Patch(facecolor="black", edgecolor="black", label="mask: both are the same"))
    return handles


if __name__ == "__main__":
    sys.exit(main())
