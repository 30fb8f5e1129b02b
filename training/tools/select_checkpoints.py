"""Copy the checkpoints of a training's best epochs, as fp16, to where prediction finds them.

    python training/tools/select_checkpoints.py --log-file logs/b7_111 --checkpoints weights --prefix b7_111_ \
        --output-dir weights

Input: what training printed (training/loss_log.py says which lines count) and the checkpoints of its epochs,
DIR/<prefix><network>_<encoder>_<fold>_<epoch>. Output: DIR/final_<name>_<network>_<encoder>_<fold>_<epoch> of the best
epochs by (fake weight * fake + real) / 2, in the published format, without what only training needs. A copy that is
there is left alone; one with other content is refused without --overwrite.
"""

import argparse
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the project, from wherever this is run

import runtime.environment  # noqa: F401  it says what to do where the others can't be imported

import torch
from torch import nn

from runtime.command import positive, run_command
from runtime.errors import InputError, OutputError, printable
from runtime.ranks import Ranks
from systems.checkpoints import CheckpointError, is_plain, read_checkpoint
from systems.seferbekov.checkpoints import PUBLISHED, description, load_weights, save_model
from systems.seferbekov.models import ENCODERS, NETWORKS
from training.loss_log import (
    AFTER_EPOCH,
    COUNT,
    FAKE_WEIGHT,
    choose_best,
    describe,
    read_losses,
    weight,
)

_EXTRA = ("epoch", "bce_best")  # what is kept besides the weights and what describes them
_NAME = re.compile(
    rf"(?P<run>.*?)(?P<network>{'|'.join(NETWORKS)})_(?P<encoder>{'|'.join(ENCODERS)})_(?P<fold>\d+)_(?P<epoch>\d+)"
)


@dataclass(frozen=True, kw_only=True)
class Series:
    """The checkpoints of one training: DIR/<run><network>_<encoder>_<fold>_<epoch>."""

    folder: Path
    run: str
    network: str
    encoder: str
    fold: str

    @property
    def stem(self) -> str:
        return f"{self.network}_{self.encoder}_{self.fold}"

    def path(self, epoch: int) -> Path:
        return self.folder / f"{self.run}{self.stem}_{epoch}"


@dataclass(frozen=True, kw_only=True)
class Halved:
    """A classifier in fp16 and what its checkpoint says besides: network, encoder, input_size, epoch, bce_best."""

    module: nn.Module
    described: dict  # network, encoder and input size
    extra: dict


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Copy the checkpoints of the best epochs, as fp16")
    arg = parser.add_argument
    arg("--log-file", required=True, metavar="FILE", help="what training printed")
    arg("--checkpoints", required=True, metavar="DIR", help="folder with the checkpoints of its epochs")
    arg("--prefix", required=True, help="how their names begin: training's --prefix, such as b7_111_")
    arg("--output-dir", required=True, metavar="DIR", help="for the copies; made where it is not there")
    arg("--name", help="in the copies' names (default: the prefix's last part, such as 111)")
    arg("--count", type=positive, default=COUNT, metavar="N", help=f"how many epochs (default: {COUNT})")
    arg("--fake-weight", type=weight, default=FAKE_WEIGHT, metavar="X", help=f"of fakes (default: {FAKE_WEIGHT})")
    arg(
        "--after-epoch",
        type=_after,
        default=AFTER_EPOCH,
        metavar="N",
        help=f"only epochs after this one, unless fewer than --count come after it; -1: all (default: {AFTER_EPOCH})",
    )
    arg("--overwrite", action="store_true", help="replace copies that have other content")
    return parser.parse_args(argv)


def _after(text: str) -> int:
    if text != "-1" and not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from -1 on")
    return int(text)


def main(argv: list[str] | None = None) -> int:
    return run_command(select_checkpoints, parse_args(argv))


def select_checkpoints(args: argparse.Namespace, ranks: Ranks) -> int:
    if ranks.rank:
        return 0  # it takes seconds: one process does it

    # list the work
    losses = read_losses(args.log_file)
    choice = choose_best(losses, count=args.count, after_epoch=args.after_epoch, fake_weight=args.fake_weight)
    print(describe(losses, choice, after_epoch=args.after_epoch, fake_weight=args.fake_weight), flush=True)
    series = find_series(Path(args.checkpoints), args.prefix)
    name = name_of(series, args.name)
    epochs = [loss.epoch for loss in choice.best]
    check_sources(series, epochs)
    copies = {epoch: Path(args.output_dir, f"final_{name}_{series.stem}_{epoch}") for epoch in epochs}
    make_folder(args.output_dir)

    # skip what is done
    todo = todo_of(series, copies, args.overwrite)

    # process
    for epoch, copy in copies.items():
        if epoch in todo:
            halved = halve(series, epoch)
            save_model(copy, halved.module, **halved.described, **halved.extra)
        print(printable(f"{copy}{'' if epoch in todo else ' (was there)'}"), flush=True)
    print(f"{len(copies)} checkpoints: {len(todo)} written, {len(copies) - len(todo)} there before")
    return 0


# which files


def find_series(folder: Path, prefix: str) -> Series:
    """The one training whose checkpoints begin with `prefix`. Raises InputError for none and for several."""
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        raise InputError(f"--checkpoints {folder}: can't be read ({error.strerror}); name a folder") from error
    matches = [_NAME.fullmatch(name) for name in names if name.startswith(prefix)]
    keys = ("run", "network", "encoder", "fold")
    found = sorted({match.group(*keys) for match in matches if match})
    if not found:
        wanted = f"{prefix}<network>_<encoder>_<fold>_<epoch>"
        raise InputError(f"--checkpoints {folder}: holds no {wanted}; check --prefix and the folder")
    series = [Series(folder=folder, **dict(zip(keys, each, strict=True))) for each in found]
    if len(series) > 1:
        stems = ", ".join(f"{each.run}{each.stem}_" for each in series)
        raise InputError(f"--prefix {prefix}: belongs to several trainings; give one of {stems}")
    return series[0]


def name_of(series: Series, asked: str | None) -> str:
    """What stands after "final_". Raises InputError where it can't be a part of a file name."""
    name = asked if asked is not None else series.run.strip("_").split("_")[-1]
    if not name or any(char in name for char in "/\\\0") or not name.isprintable():
        raise InputError(f"--name {name!r}: can't be a part of a file name; give one such as 111")
    return name


def check_sources(series: Series, epochs: Sequence[int]) -> None:
    """Raises InputError that names the checkpoints that are not there."""
    missing = [series.path(epoch).name for epoch in epochs if not os.path.isfile(series.path(epoch))]
    if missing:
        raise InputError(
            f"--checkpoints {series.folder}: no checkpoint {', '.join(missing)}, which the log says is among the best; "
            "copy it there, or check that --log-file is of the same training"
        )


def make_folder(folder: str) -> None:
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"--output-dir {folder}: can't be made ({error.strerror}); name another folder") from error


def todo_of(series: Series, copies: dict[int, Path], overwrite: bool) -> set[int]:
    """The epochs whose copy must be written. Raises OutputError where a file is in the way, before any is written."""
    todo, in_the_way = set(), []
    for epoch, copy in copies.items():
        if os.path.realpath(copy) == os.path.realpath(series.path(epoch)):
            raise OutputError(f"{copy}: is itself one of the checkpoints; choose another --name or --output-dir")
        if os.path.exists(copy) and is_same(copy, halve(series, epoch)):
            continue
        if os.path.lexists(copy):
            in_the_way.append(copy.name)
        todo.add(epoch)
    if in_the_way and not overwrite:
        raise OutputError(
            f"--output-dir {copies[min(copies)].parent}: {', '.join(in_the_way)} is there with other content; "
            "use --overwrite, or choose another --name"
        )
    return todo


# one checkpoint


def halve(series: Series, epoch: int) -> Halved:
    """Read a checkpoint, strictly and safely, and cast it. Raises CheckpointError."""
    path = series.path(epoch)
    checkpoint = read_checkpoint(path)
    with torch.device("meta"):  # no time spent on weights that are replaced at once
        module = NETWORKS[series.network](series.encoder)
    module.to_empty(device="cpu")
    load_weights(path, checkpoint, module, network=series.network, encoder=series.encoder)
    module.half()
    for key, value in module.state_dict().items():
        if not torch.isfinite(value).all():  # it was before: load_weights takes nothing else
            reason = f"{key} has numbers beyond {torch.finfo(torch.float16).max:.0f}, too large for fp16"
            raise CheckpointError(path, f"{reason}; use the checkpoint itself, or leave this epoch out of the log")
    extra = {key: plain_number(path, key, checkpoint[key]) for key in _EXTRA if key in checkpoint}
    size = plain_number(path, "input_size", checkpoint.get("input_size", PUBLISHED["input_size"]))
    described = {"network": series.network, "encoder": series.encoder, "input_size": size}
    return Halved(module=module, described=described, extra=extra)


def plain_number(path: Path, key: str, value: object) -> int | float:
    """A number as Python's own, also where it is NumPy's. Raises CheckpointError."""
    plain = value.item() if hasattr(value, "item") and getattr(value, "size", None) == 1 else value
    if type(plain) not in (int, float):
        raise CheckpointError(path, f"its {key} is a {type(value).__name__}, not a number; save it anew")
    return plain


def is_same(path: Path, halved: Halved) -> bool:
    """Whether a file holds the same content; one that can't be read does not."""
    try:
        content = read_checkpoint(path)
    except CheckpointError:
        return False
    state = content.pop("state_dict", None)
    wanted = {f"module.{key}": value for key, value in halved.module.state_dict().items()}
    described = {**halved.extra, **description(**halved.described)}
    if not isinstance(state, dict) or state.keys() != wanted.keys() or content.keys() != described.keys():
        return False
    if any(type(content[key]) is not type(value) or content[key] != value for key, value in described.items()):
        return False
    return all(
        is_plain(state[key]) and state[key].dtype == value.dtype and torch.equal(state[key], value)
        for key, value in wanted.items()
    )


if __name__ == "__main__":
    sys.exit(main())
