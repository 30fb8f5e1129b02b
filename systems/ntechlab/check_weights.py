"""Say which of NtechLab's files of weights are there and can be used, after loading each strictly and safely.

    python -m systems.ntechlab.check_weights weights

Input: a folder with the three published folders of classifiers, each with its snapshot_100000.fp16.pth, and the file of
DSFD, the detector. Output: a line for each; exit code 1 if a classifier is missing, or a file is there that can't be
used. The links that they were published at have died, so that nothing can be fetched.
"""

import argparse
import sys
from pathlib import Path

from runtime.errors import InputError, UserError, printable
from systems.ntechlab.checkpoints import PUBLISHED_FILE, PUBLISHED_NAMES, load_classifier
from systems.ntechlab.detector import DSFD_FILE
from systems.ntechlab.dsfd import load_dsfd

_DEAD = "the link that it was published at is dead: bring the file"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Check the files of NtechLab's weights")
    parser.add_argument("folder", metavar="DIR", help="where they are, such as weights")
    folder = Path(parser.parse_args(argv).folder)
    failed = 0
    for role, name in PUBLISHED_NAMES.items():
        path = folder / name / PUBLISHED_FILE
        try:
            if not path.exists():
                raise InputError(f"{path}: is missing; {_DEAD}")
            loaded = load_classifier(path, role)
        except UserError as error:
            failed += 1
            print(printable(f"error: {error}"), file=sys.stderr)
            continue
        print(printable(f"{path}: {role}, {len(loaded.network.state_dict())} tensors"))
    path = folder / DSFD_FILE
    if not path.exists():
        print(printable(f"{path}: is missing; {_DEAD}, or do without: MTCNN then finds the faces"))
        return int(failed > 0)
    try:
        print(printable(f"{path}: DSFD, {len(load_dsfd(path).state_dict())} tensors"))
    except UserError as error:
        failed += 1
        print(printable(f"error: {error}"), file=sys.stderr)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
