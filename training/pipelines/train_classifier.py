"""Train a classifier on the crops of a data root, on one CPU process, one GPU or many.

    python training/pipelines/train_classifier.py --config configs/b7.json --data-dir DATA_ROOT --folds-csv folds.csv
    torchrun --nproc-per-node 4 training/pipelines/train_classifier.py --config configs/b7.json --data-dir DATA_ROOT

Input: DATA_ROOT/crops, landmarks and diffs (preprocess_data.sh), folds.csv. Output, in --output-dir:

    <prefix><network>_<encoder>_<fold>_<epoch>       after each epoch: published format, for predict_folder.py
    <prefix><network>_<encoder>_<fold>_last          the same with the optimizer's state, for --resume
    <prefix><network>_<encoder>_<fold>_best_dice     of the epoch with the best validation score
    predictions_<fold>.json                          {"probs": {id: mean probability}, "targets": {id: label}}

and curves for TensorBoard in --logdir. Standard output has `epoch N`, `fake_loss X` and `real_loss X` of each
validation. SIGTERM and Ctrl-C end the step, save `_last` and exit 143 or 130; --resume goes on to the same weights.
"""

import argparse
import contextlib
import json
import math
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

# before PyTorch: threads that spin while they wait take the core from one that works (10 times slower, beside one busy
# process on two cores)
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from torch import nn
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the project, from wherever this is run

from runtime.command import MOST_WORKERS, run_command, whole
from runtime.cores import available_cores
from runtime.device import resolve_device
from runtime.errors import InputError, OutputError, TrainingError, printable
from runtime.files import remove_leftovers, temporary_name, whole_file
from training.datasets.classifier_dataset import ClassifierDataset
from training.datasets.folds import Row, read_folds, training_rows, validation_rows
from training.datasets.loaders import BrokenSamples, batches_of, create_loader
from training.losses import split_loss
from training.tools.config import TrainingConfig, read_config
from training.tools.epoch_batches import epoch_batches, share_of
from training.tools.optimizers import create_optimizer
from training.tools.precision import OPT_LEVELS, choose_dtype
from training.tools.processes import Processes
from training.tools.schedulers import SCHEDULES
from training.tools.stopping import Monitor, StopRequest
from training.tools.sync_batchnorm import convert_sync_batchnorm
from training.tools.training_state import Position, Trained
from training.tools.validation import Validation, score_videos
from training.zoo.checkpoints import save_model
from training.zoo.classifiers import NETWORKS, PretrainedWeightsError

_MOST_SEED = (2**32 - 1) // 10_000  # times epoch + 1 it must still be a seed of NumPy's
_GRADIENT_NORM = 1.0
_SHOWN_SAMPLES = 16


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train a classifier")
    arg, count = parser.add_argument, whole(0)
    arg("--config", required=True, metavar="FILE", help="JSON with the hyperparameters, such as configs/b7.json")
    arg("--data-dir", required=True, metavar="DIR", help="data root with crops, landmarks and diffs")
    arg("--folds-csv", default="folds.csv", metavar="FILE", help="from generate_folds.py (default: folds.csv)")
    arg("--crops-dir", default="crops", metavar="NAME", help="folder of crops in the data root (default: crops)")
    arg("--fold", type=count, default=0, metavar="N", help="the one that is held out (default: 0)")
    arg(
        "--seed",
        type=whole(1, _MOST_SEED),
        default=777,
        metavar="N",
        help="of weights, rows, augmentation (default: 777)",
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
    arg("--label-smoothing", type=_smoothing, default=0.01, metavar="X", help="labels are X and 1 - X (default: 0.01)")
    arg("--padding-part", type=count, default=3, metavar="N", help="above 3: trim the crops' margin (default: 3)")
    arg("--freeze-epochs", type=count, default=0, metavar="N", help="epochs with a frozen encoder (default: 0)")
    arg("--test_every", "--test-every", type=count, default=1, metavar="N", help="validate each N epochs (default: 1)")
    arg("--no-oversample", action="store_true", help="take all fakes, not as many as there are reals")
    arg("--no-hardcore", action="store_true", help="no dropout of eyes, mouth, nose, halves of the face")
    arg("--only-changed-frames", action="store_true", help="leave out fakes that hardly differ from their original")
    arg("--distributed", action="store_true", help="insist on being one process of a torchrun launch")
    arg("--local_rank", "--local-rank", type=int, help=argparse.SUPPRESS)  # torch.distributed.launch passes it
    return parser.parse_args(argv)


def _prefix(text: str) -> str:
    if "/" in text or text.startswith("."):
        raise argparse.ArgumentTypeError(f"{text!r} is not how a file's name begins; --output-dir names the folder")
    return text


def _smoothing(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 0 <= float(text) < 0.5:
            return float(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to below 0.5")


def main(argv: list[str] | None = None) -> int:
    return run_command(train, parse_args(argv), Processes)


def train(args: argparse.Namespace, processes: Processes) -> int:
    # parse
    config = read_config(args.config)
    device = choose_device(args, processes)
    table = read_folds(args.folds_csv)
    held_out = validation_rows(table, fold=args.fold)
    check_rows(held_out, training_rows(table, fold=args.fold, epoch=0, seed=args.seed), args)
    run = Run(args=args, config=config, processes=processes, device=device)
    make_folders(run)

    # skip what is done
    trained = create_model(run)
    position = resume(run, trained)
    epochs = config.optimizer.schedule.epochs
    run.say(f"{run.name}: {device.type}, {run.dtype}, {processes.world_size} process(es)".replace("torch.", ""))
    if position.epoch >= epochs and position.validated:
        run.say(f"{run.name}: all {epochs} epochs are done; best validation {position.best:.5f}")
        return 0
    if position != Position():
        run.say(f"going on at epoch {position.epoch}, step {position.iteration}")

    # process
    with run.stop.listening(), processes.lost_is_told(), writer_of(run, position) as writer:
        while True:
            if not position.validated:
                position = validate(run, trained, held_out, position, writer)
            if position.epoch >= epochs:
                break
            rows = training_rows(
                table, fold=args.fold, epoch=position.epoch, seed=args.seed, oversample=not args.no_oversample
            )
            position, signal_number = train_epoch(run, trained, rows, position, writer)
            if position.iteration == 0:
                save_epoch(run, trained, position)
            run.save_last(trained, position)
            if signal_number:
                where = f"epoch {position.epoch}, step {position.iteration}"
                run.say(f"stopped at {where}; --resume auto goes on", sys.stderr)
                return 128 + signal_number

    # summarise
    run.say(f"{run.name}: {epochs} epochs; best validation {position.best:.5f}: {args.output_dir}")
    processes.close()
    return 0


@dataclass(kw_only=True)
class Run:
    """What stays the same from the first step to the last."""

    args: argparse.Namespace
    config: TrainingConfig
    processes: Processes
    device: torch.device

    def __post_init__(self):
        self.dtype = choose_dtype(self.config, self.args.opt_level, self.device)
        self.schedule = SCHEDULES[self.config.optimizer.schedule.type](**self.config.optimizer.schedule.params)
        self.stop = StopRequest()
        self.name = f"{self.args.prefix}{self.config.network}_{self.config.encoder}_{self.args.fold}"
        shape = (1, 3, 1, 1)
        self._mean = 255 * torch.tensor(self.config.normalize.mean, device=self.device).reshape(shape)
        self._std = 255 * torch.tensor(self.config.normalize.std, device=self.device).reshape(shape)

    @property
    def described(self) -> dict:
        """What a checkpoint says of its model."""
        return {"network": self.config.network, "encoder": self.config.encoder, "input_size": self.config.size}

    @property
    def settings(self) -> dict:
        """What must be the same when a run goes on. JSON's lists and tuples are one."""
        names = ("seed", "fold", "label_smoothing", "padding_part", "freeze_epochs", "opt_level")
        switches = ("no_oversample", "no_hardcore", "only_changed_frames")
        flags = {name: getattr(self.args, name) for name in names + switches}
        config = json.loads(json.dumps(asdict(self.config)))
        return {**flags, "config": config, "world_size": self.processes.world_size}

    def path(self, ending: object) -> Path:
        return Path(self.args.output_dir, f"{self.name}_{ending}")

    def say(self, text: str, file=None) -> None:
        if self.processes.rank == 0:
            print(printable(text), file=file, flush=True)

    def save_last(self, trained: Trained, position: Position) -> None:
        if self.processes.rank == 0:
            trained.save(self.path("last"), self.described, position, self.settings)
        self.processes.wait()

    def inputs(self, images: torch.Tensor) -> torch.Tensor:
        """uint8 RGB (n, 3, size, size) to normalised fp32 on the device, channels last."""
        images = images.to(self.device, non_blocking=True).contiguous(memory_format=torch.channels_last)
        return (images.float() - self._mean) / self._std

    def autocast(self) -> Any:
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32)


def choose_device(args: argparse.Namespace, processes: Processes) -> torch.device:
    if args.distributed and processes.world_size == 1 and "WORLD_SIZE" not in os.environ:
        raise InputError("--distributed: this is no torchrun launch; run torchrun --nproc-per-node N, or leave it out")
    if args.gpu is not None and args.device != "auto":
        raise InputError("--gpu and --device: give one of them")
    name = args.device if args.gpu is None else f"cuda:{args.gpu}"
    if processes.world_size > 1 and name.startswith("cuda:"):
        name = "cuda"  # each process its own
    device = resolve_device(name, processes.local_rank)
    if device.type == "cuda":
        torch.cuda.set_device(device)
        torch.backends.cudnn.benchmark = True
    return device


def check_rows(held_out: list[Row], training: list[Row], args: argparse.Namespace) -> None:
    """Raises InputError where a class is missing."""
    for rows, what in ((held_out, f"held-out fold {args.fold} (frames that 20 divides)"), (training, "other folds")):
        labels = {row.label for row in rows}
        if len(labels) < 2:
            there = "fakes" if labels == {1} else "real videos"
            raise InputError(f"{args.folds_csv}: the {what} has only {there}; deal the folds out again, or use another")


def make_folders(run: Run) -> None:
    """Raises OutputError where nothing can be written, before time is spent."""
    args = run.args
    for flag, folder, name in (("--output-dir", args.output_dir, ""), ("--logdir", args.logdir, run.name)):
        try:
            Path(folder, name).mkdir(parents=True, exist_ok=True)
            if run.processes.rank == 0:
                probe = temporary_name(Path(folder, name, "probe"))
                probe.touch()
                probe.unlink()
        except OSError as error:
            raise OutputError(f"{flag} {folder}: can't be written ({error.strerror}); name another folder") from error
    if run.processes.rank == 0:
        for ending in ("last", "best_dice", *range(run.config.optimizer.schedule.epochs)):
            remove_leftovers(run.path(ending))


def create_model(run: Run) -> Trained:
    config = run.config
    torch.manual_seed(run.args.seed)
    try:
        model = NETWORKS[config.network](config.encoder, pretrained=config.pretrained)
    except PretrainedWeightsError as error:
        raise InputError(f"{error} Or set pretrained to false in {run.args.config}") from error
    model.encoder.classifier.requires_grad_(False)  # timm's own, which is never called: DDP would wait for it
    model = model.to(run.device, memory_format=torch.channels_last)
    if run.processes.world_size > 1:
        model = convert_sync_batchnorm(model, run.device)
    scaler = torch.amp.GradScaler(run.device.type, enabled=run.dtype == torch.float16)
    return Trained(model=model, optimizer=create_optimizer(config.optimizer, model), scaler=scaler)


def resume(run: Run, trained: Trained) -> Position:
    path = run.args.resume
    if not path and (run.args.from_zero or run.args.zero_score):
        raise InputError("--from-zero and --zero-score: say what to take of a checkpoint; name it with --resume")
    if path == "auto":
        path = str(run.path("last")) if run.path("last").exists() else ""
    if not path:
        return Position()
    position = trained.load(path, run.described, run.settings, from_zero=run.args.from_zero)
    return replace(position, best=Position.best) if run.args.zero_score else position


def train_epoch(run: Run, trained: Trained, rows: list[Row], position: Position, writer: Any) -> tuple[Position, int]:
    """Train from `position` to the end of its epoch. Returns where it got to, and the signal that stopped it or 0."""
    args, config, processes = run.args, run.config, run.processes
    epoch, first = position.epoch, position.iteration
    dataset = ClassifierDataset(
        rows,
        data_dir=args.data_dir,
        crops_dir=args.crops_dir,
        size=config.size,
        training=True,
        seed=args.seed,
        epoch=epoch,
        label_smoothing=args.label_smoothing,
        hardcore=not args.no_hardcore,
        padding_part=args.padding_part,
        diff_dropout=config.diff_dropout,
        only_changed=args.only_changed_frames,
    )
    batches = epoch_batches(
        len(rows), batch_size=config.optimizer.batch_size, rank=processes.rank, world_size=processes.world_size
    )[: config.batches_per_epoch]
    loader = create_loader(dataset, batches[first:], workers=args.workers, pin_memory=run.device.type == "cuda")
    network = prepared(run, trained.model, frozen=epoch < args.freeze_epochs)
    monitor, broken = Monitor(processes, run.stop), BrokenSamples(len(rows))
    bar = tqdm(total=len(batches), initial=first, desc=f"epoch {epoch}", unit="batch", disable=processes.rank > 0)

    with bar:
        for i, batch in enumerate(batches_of(loader), start=first):
            step = i + epoch * config.batches_per_epoch
            set_rates(run, trained.optimizer, step if config.optimizer.schedule.mode == "step" else epoch)
            torch.manual_seed((args.seed * 1_000_003 + step) * 4099 + processes.rank)  # dropout and drop path
            broken.add(batch["errors"])
            if step == 0 and writer:
                writer.add_images("train/samples", batch["image"][:_SHOWN_SAMPLES], 0)

            with run.autocast():
                logits = network(run.inputs(batch["image"]))
            loss = split_loss(
                logits,
                batch["label"].to(run.device, non_blocking=True),
                weights=config.losses,
                keep=batch["valid"].to(run.device) if args.only_changed_frames else None,
                ohem_samples=config.ohem_samples,
                sum_over_ranks=processes.sum,
                world_size=processes.world_size,
            )
            trained.optimizer.zero_grad(set_to_none=True)
            trained.scaler.scale(loss.total).backward()
            trained.scaler.unscale_(trained.optimizer)
            nn.utils.clip_grad_norm_(trained.model.parameters(), _GRADIENT_NORM)
            trained.scaler.step(trained.optimizer)
            trained.scaler.update()

            monitor.add(loss.fake, loss.real, f"epoch {epoch}, step {i}")
            bar.update()
            if monitor.last is not None:
                bar.set_postfix(loss=f"{monitor.mean:.4f}", lr=f"{trained.optimizer.param_groups[0]['lr']:.6f}")
                log_step(trained, monitor, step, writer)
            if monitor.signal and i + 1 < len(batches):
                monitor.settle()
                return replace(position, iteration=i + 1), monitor.signal
        monitor.settle()
    tell_of_broken(run, broken, f"epoch {epoch}")
    return replace(position, epoch=epoch + 1, iteration=0, validated=False), monitor.signal


def prepared(run: Run, model: nn.Module, *, frozen: bool) -> nn.Module:
    """The model in training mode, shared by DDP between processes."""
    model.train()
    for name, parameter in model.encoder.named_parameters():
        parameter.requires_grad_(not frozen and not name.startswith("classifier."))
    if frozen:
        model.encoder.eval()
    if run.processes.world_size == 1:
        return model
    devices = [run.device.index] if run.device.type == "cuda" else None
    return nn.parallel.DistributedDataParallel(model, device_ids=devices, broadcast_buffers=False)


def set_rates(run: Run, optimizer: torch.optim.Optimizer, position: int) -> None:
    for group in optimizer.param_groups:
        group["lr"] = run.schedule(position, group["base_lr"])


def log_step(trained: Trained, monitor: Monitor, step: int, writer: Any) -> None:
    if writer:
        writer.add_scalar("train/loss", monitor.last, step - 1)  # of the step before this one
        for number, group in enumerate(trained.optimizer.param_groups):
            writer.add_scalar(f"group{number}/lr", group["lr"], step)


def tell_of_broken(run: Run, broken: BrokenSamples, when: str) -> None:
    errors = list(dict.fromkeys(error for share in run.processes.gather(list(broken.errors)) for error in share))
    if errors:
        run.say(f"{when}: {len(errors)} samples could not be read, the first: {errors[0]}", sys.stderr)


def save_epoch(run: Run, trained: Trained, position: Position) -> None:
    """The weights after an epoch of training."""
    if run.processes.rank == 0:
        extra = {"epoch": position.epoch, "bce_best": position.best}
        save_model(run.path(position.epoch - 1), trained.model, **run.described, **extra)


def validate(run: Run, trained: Trained, rows: list[Row], position: Position, writer: Any) -> Position:
    """Validate the epoch before `position` where it is its turn, and save what that gives."""
    epoch = position.epoch - 1
    done = replace(position, validated=True)
    if position.epoch % max(run.args.test_every, 1) == 0:
        frames = predict(run, trained.model, rows)
        if len({label for _, label, _ in frames}) < 2:
            raise InputError(f"{run.args.data_dir}: of a class no held-out crop can be read; run preprocess_data.sh")
        result = score_videos(frames)
        for line in (f"epoch {epoch}", f"fake_loss {result.fake_loss}", f"real_loss {result.real_loss}"):
            run.say(line)
        if not math.isfinite(result.bce):
            raise TrainingError(
                f"epoch {epoch}: the validation loss is {result.bce}: training went wrong in its last step; lower "
                f"optimizer.learning_rate or use --opt-level O0, and go on from {run.path(epoch - 1)}"
            )
        is_best = result.bce < position.best
        done = replace(done, best=min(result.bce, position.best))
        if run.processes.rank == 0:
            save_validation(run, trained, result, done, is_best, writer)
        run.say(f"bce {result.bce:.5f}, best {done.best:.5f}")
    run.save_last(trained, done)
    return done


def save_validation(
    run: Run, trained: Trained, result: Validation, position: Position, is_best: bool, writer: Any
) -> None:
    predictions = Path(run.args.output_dir, f"predictions_{run.args.fold}.json")
    with whole_file(predictions, "free some space") as temporary, open(temporary, "w", encoding="utf-8") as file:
        json.dump({"probs": result.probs, "targets": result.targets}, file)
    if is_best:
        extra = {"epoch": position.epoch, "bce_best": position.best}
        save_model(run.path("best_dice"), trained.model, **run.described, **extra)
    if writer:
        writer.add_scalar("val/bce", result.bce, position.epoch - 1)


@torch.inference_mode()
def predict(run: Run, model: nn.Module, rows: list[Row]) -> list[tuple[str, int, float]]:
    """Video, label and probability of each row that can be read, on every process; each does its share."""
    args, processes = run.args, run.processes
    mine = [rows[index] for index in share_of(len(rows), rank=processes.rank, world_size=processes.world_size)]
    dataset = ClassifierDataset(
        mine,
        data_dir=args.data_dir,
        crops_dir=args.crops_dir,
        size=run.config.size,
        training=False,
        hardcore=False,
        padding_part=args.padding_part,
    )
    batches = epoch_batches(len(mine), batch_size=2 * run.config.optimizer.batch_size)
    loader = create_loader(dataset, batches, workers=args.workers, pin_memory=run.device.type == "cuda")
    model.eval()
    broken, scored = BrokenSamples(len(mine)), []
    bar = tqdm(batches_of(loader), desc="validation", total=len(batches), unit="batch", disable=processes.rank > 0)
    for indices, batch in zip(batches, bar, strict=True):
        broken.add(batch["errors"])
        with run.autocast():
            logits = model(run.inputs(batch["image"]))
        probabilities = logits.float().sigmoid().flatten().tolist()
        scored += [
            (mine[index].video, mine[index].label, probability)
            for index, row, probability in zip(indices, batch["row"].tolist(), probabilities, strict=True)
            if row == index  # another one stands in for what can't be read
        ]
    tell_of_broken(run, broken, "validation")
    return [frame for share in processes.gather(scored) for frame in share]


@contextlib.contextmanager
def writer_of(run: Run, position: Position) -> Iterator[Any]:
    """A TensorBoard writer on rank 0, None elsewhere."""
    if run.processes.rank:
        yield None
        return
    from torch.utils.tensorboard import SummaryWriter  # takes seconds

    step = position.iteration + position.epoch * run.config.batches_per_epoch
    with SummaryWriter(os.path.join(run.args.logdir, run.name), purge_step=step) as writer:
        yield writer


if __name__ == "__main__":
    sys.exit(main())
