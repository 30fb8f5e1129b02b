"""Train a network of one of the systems, on one CPU process, one GPU or many.

    python training/pipelines/train_classifier.py --config configs/b7.json --data-dir DATA_ROOT --folds-csv folds.csv
    torchrun --nproc-per-node 4 training/pipelines/train_classifier.py --config configs/b7.json --data-dir DATA_ROOT

Input: DATA_ROOT as preprocess_data.sh leaves it for the system that the configuration names (the winner's: crops,
landmarks, diffs and folds.csv). Output, in --output-dir, where <name> is <network>_<encoder>_<fold> of the winner's:

    <prefix><name>_<epoch>                     after each epoch, for predict_folder.py; the winner's in published format
    <prefix><name>_last                        the same with the optimizer's state, for --resume
    <prefix><name>_best_dice                   of the epoch with the best validation score
    <prefix><name>_last_validated, _lock       while an epoch is validated; while training runs
    predictions_<fold>.json                    {"probs": {id: mean probability}, "targets": {id: label}}

and curves for TensorBoard in --logdir. Standard output has `epoch N`, `fake_loss X` and `real_loss X` of each
validation. SIGTERM and Ctrl-C end the step, save `_last` and exit 143 or 130; --resume goes on to the same weights.
"""

import argparse
import os
import sys
from pathlib import Path

# before PyTorch: threads that spin while they wait take the core from one that works (10 times slower, beside one busy
# process on two cores)
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the project, from wherever this is run

import runtime.environment  # noqa: F401  it says what to do where the others can't be imported

from runtime.command import MOST_WORKERS, run_command, whole
from runtime.cores import available_cores
from systems.registry import add_training_flags, create_task
from systems.task import Asked, Task
from training.config import read_config
from training.loop import train_together
from training.precision import OPT_LEVELS
from training.processes import Processes

_MOST_SEED = (2**32 - 1) // 10_000  # times epoch + 1 it must still be a seed of NumPy's


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train a network of one of the systems")
    arg, count = parser.add_argument, whole(0)
    arg("--config", required=True, metavar="FILE", help="JSON with the hyperparameters, such as configs/b7.json")
    arg("--data-dir", required=True, metavar="DIR", help="data root, as preprocess_data.sh leaves it")
    arg(
        "--seed",
        type=whole(1, _MOST_SEED),
        metavar="N",
        help="of weights, rows, augmentation (default: 777, or the configuration's)",
    )
    arg("--prefix", type=_prefix, default="classifier_", help="of the checkpoints' names (default: classifier_)")
    arg("--output-dir", default="weights/", metavar="DIR", help="for checkpoints (default: weights/)")
    arg("--logdir", default="logs", metavar="DIR", help="for TensorBoard (default: logs)")
    arg("--resume", default="", metavar="FILE", help="checkpoint to go on from; auto: this run's _last, if it is there")
    arg("--from-zero", action="store_true", help="with --resume: take its weights only")
    arg("--zero-score", action="store_true", help="with --resume: forget its best score")
    workers = min(6, available_cores())
    arg("--workers", type=whole(0, MOST_WORKERS), default=workers, metavar="N", help=f"that load (default: {workers})")
    arg("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: a GPU if there is one)")
    arg("--gpu", type=count, metavar="N", help="the same as --device cuda:N")
    arg(
        "--opt-level",
        choices=OPT_LEVELS,
        default="O1",
        help="O0: fp32; O1, O2: the config's fp16 or bf16 (default: O1)",
    )
    arg("--test_every", "--test-every", type=count, default=1, metavar="N", help="validate each N epochs (default: 1)")
    arg("--distributed", action="store_true", help="insist on being one process of a torchrun launch")
    arg("--local_rank", "--local-rank", type=int, help=argparse.SUPPRESS)  # torch.distributed.launch passes it
    add_training_flags(parser)
    return parser.parse_args(argv)


def _prefix(text: str) -> str:
    if "/" in text or text.startswith("."):
        raise argparse.ArgumentTypeError(f"{text!r} is not how a file's name begins; --output-dir names the folder")
    return text


def main(argv: list[str] | None = None) -> int:
    return run_command(train, parse_args(argv), Processes)


def train(args: argparse.Namespace, processes: Processes) -> int:
    """Read the configuration and train what it says."""
    config = read_config(args.config)

    def make_task(world_size: int) -> Task:
        asked = Asked(config_file=args.config, data_dir=args.data_dir, seed=args.seed, world_size=world_size)
        return create_task(config, asked, args)

    return train_together(args, config, make_task, processes)


if __name__ == "__main__":
    sys.exit(main())
