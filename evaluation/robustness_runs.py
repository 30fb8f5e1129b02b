"""A variant from videos to predictions: what is missing is made, predict_folder.py scores all of it as a process of its
own, and the videos are deleted."""

import ctypes
import functools
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from evaluation.robustness_making import make_videos, remove_others
from evaluation.robustness_progress import Progress, Scored
from evaluation.variants import Variant
from runtime.errors import InputError, OutputError
from runtime.files import file_identity
from runtime.source_tree import ROOT
from systems.checkpoints import file_digest
from systems.registry import checkpoint_path

# those that a test sets itself, and those whose file each variant would write over
_NOT_PASSED = (
    *("--test-dir", "--output", "--models", "--weights-dir", "--faces-csv", "--only-mp4"),
    *("--tracks-csv", "--intervals-csv", "--report", "--case"),
)
SUBMISSION, SUMMARY, FACES = OUTPUTS = ("submission.csv", "submission.summary.json", "faces.csv")
_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG of Linux's prctl


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """How videos are scored: predict_folder.py's flags, and the checkpoints, whose content counts."""

    weights_dir: str
    models: Sequence[str]
    flags: Sequence[str]

    def check(self) -> None:
        """Raises InputError for checkpoints that are not there, and for flags that can't be passed on."""
        missing = [name for name in self.models if not os.path.isfile(checkpoint_path(self.weights_dir, name))]
        if missing:
            raise InputError(
                f"--weights-dir {self.weights_dir}: no checkpoint {', '.join(missing)}; name those that are there"
            )
        for flag in self.flags:
            word = flag.partition("=")[0]
            if len(word) > 2 and any(name.startswith(word) for name in _NOT_PASSED):
                raise InputError(f"{word} after --: is set for each variant here; leave it out")

    @functools.cached_property
    def _digests(self) -> list[str]:
        return [file_digest(checkpoint_path(self.weights_dir, name)) for name in self.models]

    def digest(self, variant: Variant) -> str:
        """Sixteen hexadecimal digits that tell apart what gives other predictions."""
        described = json.dumps([variant.digest, list(self.models), self._digests, list(self.flags)])
        return hashlib.sha256(described.encode(errors="surrogateescape")).hexdigest()[:16]

    def command(self, videos: Path, folder: Path) -> list[str]:
        return [
            *(sys.executable, str(ROOT / "predict_folder.py"), "--test-dir", str(videos)),
            *("--output", str(folder / SUBMISSION), "--faces-csv", str(folder / FACES)),
            *("--weights-dir", self.weights_dir, "--models", *self.models, *self.flags),
        ]


@dataclass(frozen=True, kw_only=True)
class Scoring:
    """How the variants of one test are scored; `workers` make videos, which are deleted unless they are to be kept."""

    prediction: Prediction
    progress: Progress
    workers: int
    keep: bool

    def score(self, variant: Variant, sources: Mapping[str, str], folder: Path) -> tuple[Scored, dict[str, str]]:
        """Make the videos of a variant in FOLDER/videos, score them to FOLDER/submission.csv, and delete them.

        `sources` are files by the names of the videos. What is complete is left as it is; videos that could not be made
        are tried again. Returns also why some could not be made, by name. Raises OutputError, and InputError where the
        prediction ended without writing its results.
        """
        settings, videos = self.prediction.digest(variant), folder / "videos"
        identities = {name: file_identity(path) for name, path in sources.items()}
        scored = self.progress.scored(variant, settings)
        todo = {name for name in sources if scored is None or scored.sources.get(name) != identities[name]}
        failed: dict[str, str] = {}
        try:
            if todo or scored is None:
                failed = self._make(variant, sources, todo, videos)
            if scored is None or len(failed) < len(todo):
                failed |= self._make(variant, sources, sources.keys() - todo, videos)
                made = {name: identity for name, identity in identities.items() if name not in failed}
                remove_others(videos, set(made))
                command, outputs = self.prediction.command(videos, folder), [folder / name for name in OUTPUTS]
                code = predict(command, folder / SUMMARY) if made else 0
                scored = Scored(sources=made, exit_code=code)
                self.progress.add_scored(variant, settings, scored, outputs if made else [])
            if not self.keep and videos.is_dir() and not videos.is_symlink():
                shutil.rmtree(videos)
        except OSError as error:
            raise OutputError(f"{videos}: can't be written ({error.strerror}); choose another --output-dir") from error
        return scored, failed

    def _make(
        self, variant: Variant, sources: Mapping[str, str], names: Collection[str], videos: Path
    ) -> dict[str, str]:
        some = {name: path for name, path in sources.items() if name in names}
        return make_videos(variant, some, videos, self.progress, self.workers)


def predict(command: Sequence[str], summary: Path) -> int:
    """Run predict_folder.py, whose last file is `summary`, and return its exit code: it is 1 also where it is told to
    be strict. Raises InputError where it ended before."""
    before = file_identity(summary)
    code = subprocess.run(command, preexec_fn=_ending_with_this_one()).returncode
    if file_identity(summary) in (before, None):
        raise InputError(f"predict_folder.py ended with exit code {code} and wrote no results; see what it said above")
    return code


def _ending_with_this_one() -> Callable[[], object] | None:
    """What a new process calls so that it ends as soon as this one, however that goes: where this one is killed, the
    next must not find another writing its files. Linux alone can do that; elsewhere it waits to be told so."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl
    return lambda: prctl(_DIE_WITH_PARENT, signal.SIGKILL)
