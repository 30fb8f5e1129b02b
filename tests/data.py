"""What the tests of the stages ask of a data root."""

import json
from pathlib import Path

from preprocessing.data_root import Video, read_data_root


def pair(root: Path) -> tuple[Video, Video]:
    """A fake and its original."""
    data = read_data_root(root)
    fake = data.fakes_with_original[0]
    return next(video for video in data.videos if video.id == fake.original), fake


def files(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, by its path from there; hidden ones too."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def summary(root: Path, stage: str) -> dict:
    return json.loads((root / ".preprocessing" / f"{stage}.summary.json").read_text())


def cut(path: str, share: float = 0.5) -> None:
    """Truncate a file."""
    data = Path(path).read_bytes()
    Path(path).write_bytes(data[: int(len(data) * share)])
