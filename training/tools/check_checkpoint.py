"""Say what checkpoints are, after loading them strictly and safely.

    python -m training.tools.check_checkpoint weights/final_111_DeepFakeClassifier_tf_efficientnet_b7_ns_0_36

Input: checkpoint files. Output: a line for each; exit code 1 if one can't be used.
"""

import argparse
import sys

import runtime.environment  # noqa: F401  it says what to do where the others can't be imported

from runtime.errors import printable
from systems.checkpoints import CheckpointError
from systems.seferbekov.checkpoints import load_model


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Check that checkpoints can be used")
    parser.add_argument("files", nargs="+", metavar="FILE")
    args = parser.parse_args(argv)
    failed = 0
    for path in args.files:
        try:
            loaded = load_model(path)
        except CheckpointError as error:
            failed += 1
            print(printable(f"error: {error}"), file=sys.stderr)
            continue
        tensors = len(loaded.module.state_dict())
        print(printable(f"{path}: {type(loaded.module).__name__}, {tensors} tensors, input {loaded.input_size} px"))
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
