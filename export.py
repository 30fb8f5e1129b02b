"""Write models for use elsewhere: safetensors for their weights, ONNX for whole models from pixels to probabilities.

    python export.py --weights-dir weights --models A B --output-dir exported

Input: checkpoints of one of the systems. Output, in --output-dir, for each checkpoint A:

    A.safetensors   its weights without code, which predict_folder.py loads as it does A
    A.onnx          uint8 RGB pixels to the probability "fake", with a free number of faces, and of frames of a clip
    A.card.json     what it is, takes and gives, where it comes from, what it is not fit for; SHA-256 of the files
    A.card.md       the same for a person

Each file is loaded again and held against PyTorch before it appears: no probability may differ by more than 0.0001.
What is there already, of the same checkpoint with the same flags, is skipped. ONNX needs requirements-export.txt.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import runtime.environment  # noqa: F401  it says what to do where the others can't be imported

from tqdm import tqdm

from engines import onnx_model
from runtime import limits
from runtime.command import run_command
from runtime.digests import digest_of
from runtime.errors import InputError, ItemError, UserError, one_line, printable
from runtime.files import read_json, whole_file, write_json
from runtime.ranks import Ranks
from systems import portable
from systems.checkpoints import CheckpointError
from systems.model_cards import markdown, model_card
from systems.portable import PortableModel
from systems.portable_files import write_onnx, write_safetensors
from systems.registry import SYSTEMS, checkpoint_path, system_of

FORMATS = ("safetensors", "onnx")
_VERSION = 1  # raised whenever the same checkpoint and flags would give other files than before
_REMEDY = "free some space or name another --output-dir"


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Write models as safetensors and ONNX")
    arg = parser.add_argument
    arg("--weights-dir", default="weights", help="folder with checkpoints (default: weights, in the current folder)")
    arg("--models", nargs="+", required=True, metavar="FILE", help="checkpoint files in it, of one system")
    arg("--output-dir", default="exported", metavar="DIR", help="made where it is missing (default: exported)")
    both = " ".join(FORMATS)
    arg("--formats", nargs="+", choices=FORMATS, default=FORMATS, metavar="FORMAT", help=f"(default: {both})")
    arg("--licence", metavar="TEXT", help="of the weights, for the card")
    arg("--training-data", metavar="TEXT", help="what they were trained on, for the card")
    arg("--overwrite", action="store_true", help="write all files again")
    arg("--system", choices=SYSTEMS, help="whose models these are (default: by the checkpoints)")
    portable.add_flags(parser)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    return run_command(export, parse_args(argv))


def export(args: argparse.Namespace, ranks: Ranks) -> int:
    if ranks.rank:
        return 0  # one process does it
    if "onnx" in args.formats and (reason := onnx_model.why_not()):
        raise InputError(f"--formats onnx: {reason}, or give --formats safetensors")
    stems = [_stem(name) for name in args.models]
    twice = next((stem for stem in stems if stems.count(stem) > 1), None)
    if twice:
        raise InputError(f"--models: two would be written as {twice}; export them one by one")
    system = args.system or system_of(args.weights_dir, args.models)
    _make_folder(Path(args.output_dir))
    failed = 0
    with tqdm(args.models, desc="Exporting", unit="model") as models:
        for name in models:
            try:
                for line in export_model(args, system, name):
                    models.write(printable(line), file=sys.stdout)
            except UserError as error:
                failed += 1
                models.write(f"error: {one_line(error)}", file=sys.stderr)
    print(f"{len(args.models) - failed} of {len(args.models)} models exported: {printable(args.output_dir)}")
    return int(failed > 0)


def export_model(args: argparse.Namespace, system: str, name: str) -> Iterator[str]:
    """Write one model's files, but for those that are there; yields a line on each. Raises UserError."""
    path = checkpoint_path(args.weights_dir, name)
    stem = Path(args.output_dir, _stem(name))
    given = portable.options_of(args)
    source = {"file": os.path.basename(path), **_digest(path)}
    asked = {
        "version": _VERSION,
        "system": system,
        "source": source,
        "licence": args.licence,
        "training_data": args.training_data,
        "options": given,
    }
    files = {} if args.overwrite else _files_there(stem, asked)
    todo = [format_ for format_ in args.formats if f"{stem.name}.{format_}" not in files]
    if not todo:
        yield f"{stem}: done before"
        return
    if any(os.path.realpath(_with_ending(stem, format_)) == os.path.realpath(path) for format_ in todo):
        raise ItemError(f"{path}: would be written over; name another --output-dir")
    model = portable.open_model(system, given, name, path)
    card = model_card(model, system=system, source=source, licence=args.licence, training_data=args.training_data)
    for format_ in todo:
        written = _with_ending(stem, format_)
        difference = _write(format_, written, system, model, card)
        digest = _digest(written)
        files[written.name] = {**digest, "largest_difference": difference}
        content = {**card, "asked": asked, "files": files}
        write_json(_with_ending(stem, "card.json"), content, _REMEDY, indent=1, end="\n")
        _write_text(_with_ending(stem, "card.md"), markdown(card, files))
        yield f"{written}: {digest['bytes'] / 2**20:.1f} MiB, within {difference:.2g} of PyTorch"


def _write(format_: str, path: Path, system: str, model: PortableModel, card: Mapping[str, Any]) -> float:
    if format_ == "onnx":
        return write_onnx(path, model, card)
    return write_safetensors(path, system, model, card)


def _stem(name: str) -> str:
    """What the files of a model are called, without their endings."""
    return os.path.basename(os.path.normpath(name)).removesuffix(".safetensors")


def _with_ending(stem: Path, ending: str) -> Path:
    return stem.with_name(f"{stem.name}.{ending}")


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--output-dir {folder}: can't be made ({error.strerror}); name another folder") from error


def _digest(path: str | os.PathLike) -> dict[str, Any]:
    try:
        return asdict(digest_of(path))
    except OSError as error:
        raise CheckpointError(path, f"can't be opened ({error.strerror or error}); name another") from error


def _files_there(stem: Path, asked: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Of an earlier run that was asked for the same: what its card says of the files that are still as it says."""
    try:
        card = read_json(_with_ending(stem, "card.json"), limits.CONFIG)
        if card["asked"] != json.loads(json.dumps(asked)):
            return {}
        return {
            name: file
            for name, file in card["files"].items()
            if asdict(digest_of(stem.with_name(name))) == {key: file[key] for key in ("bytes", "sha256")}
        }
    except (OSError, ValueError, TypeError, LookupError, AttributeError):  # none, or none of ours: it is written anew
        return {}


def _write_text(path: Path, text: str) -> None:
    with whole_file(path, _REMEDY) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="surrogateescape", newline="\n")


if __name__ == "__main__":
    sys.exit(main())
