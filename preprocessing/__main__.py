"""Run one stage of data preparation by its name, as its script does.

    python -m preprocessing extract_crops --root-dir DATA_ROOT --crops-dir crops
    dfdc-preprocess extract_crops --root-dir DATA_ROOT --crops-dir crops    # where the project is installed

Input: the name of a stage and its flags. Output and exit code: the stage's. Without a name the stages are listed.
"""

import argparse
import ast
import importlib
import sys
from pathlib import Path

# in the order of their use: data roots, the winner's stages, NtechLab's, The Medics', what is made on the side
STAGES = (
    "make_sample_data",
    "unpack_part",
    "make_metadata",
    "detect_original_faces",
    "extract_crops",
    "generate_landmarks",
    "generate_diffs",
    "generate_folds",
    "detect_tracks",
    "align_tracks",
    "extract_track_crops",
    "extract_face_clips",
    "extract_mini_videos",
    "compress_videos",
    "extract_images",
    "inspect_data",
)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Run one stage of data preparation; STAGE --help tells its flags",
        epilog="stages:\n" + "\n".join(f"  {stage:<22} {_purpose(stage)}" for stage in STAGES),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("stage", choices=STAGES, metavar="STAGE", help="one of those below")
    parser.add_argument("flags", nargs=argparse.REMAINDER, metavar="...", help="the stage's own")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    sys.argv[0] = f"{sys.argv[0]} {args.stage}"  # by which the stage's parser calls it
    return importlib.import_module(f"preprocessing.{args.stage}").main(args.flags)


def _purpose(stage: str) -> str:
    """The first line of what a stage says of itself, without importing it, which takes seconds."""
    source = Path(__file__).with_name(f"{stage}.py").read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]


if __name__ == "__main__":
    sys.exit(main())
