"""Train a classifier on the crops of a data root, on one CPU process, one GPU or many.

    python training/pipelines/train_classifier.py --config configs/b7.json --data-dir DATA_ROOT --folds-csv folds.csv
    torchrun --nproc-per-node 4 training/pipelines/train_classifier.py --config configs/b7.json --data-dir DATA_ROOT

Input: DATA_ROOT/crops, landmarks and diffs (preprocess_data.sh), folds.csv. Output, in --output-dir:

    <prefix><network>_<encoder>_<fold>_<epoch>       after each epoch: published format, for predict_folder.py
    <prefix><network>_<encoder>_<fold>_last          the same with the optimizer's state, for --resume
    <prefix><network>_<encoder>_<fold>_best_dice     of the epoch with the best validation score
    <prefix><network>_<encoder>_<fold>_last_validated, _lock     while an epoch is validated; while training runs
    predictions_<fold>.json                          {"probs": {id: mean probability}, "targets": {id: label}}

and curves for TensorBoard in --logdir. Standard output has `epoch N`, `fake_loss X` and `real_loss X` of each
validation. SIGTERM and Ctrl-C end the step, save `_last` and exit 143 or 130; --resume goes on to the same weights.
"""

import argparse
import contextlib
import errno
import json
import math
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

# before PyTorch: threads that spin while they wait take the core from one that works (10 times slower, beside one busy
# process on two cores)
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from torch import nn
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the project, from wherever this is run

from engines.device import resolve_device
from engines.gpu import forbid_tf32
from runtime.command import MOST_WORKERS, run_command, whole
from runtime.cores import available_cores
from runtime.errors import InputError, OutputError, TrainingError, printable
from runtime.files import remove_leftovers, temporary_name, whole_file
from systems.imagenet import PretrainedWeightsError
from systems.seferbekov.checkpoints import save_model
from systems.seferbekov.dataset import ClassifierDataset
from systems.seferbekov.folds import Row, check_apart, read_folds, training_rows, validation_rows
from systems.seferbekov.loss import split_loss
from systems.seferbekov.models import NETWORKS
from systems.seferbekov.validation import Validation, score_videos
from training.config import TrainingConfig, read_config
from training.device_errors import device_errors_are_told
from training.epoch_batches import epoch_batches, share_of
from training.loaders import BrokenSamples, batches_of, create_loader
from training.optimizers import create_optimizer
from training.precision import OPT_LEVELS, choose_dtype
from training.processes import Processes
from training.run_lock import run_lock
from training.schedulers import SCHEDULES
from training.state import Position, Trained
from training.stopping import Monitor, StopRequest
from training.sync_batchnorm import convert_sync_batchnorm

_MOST_SEED = (2**32 - 1) // 10_000  # times epoch + 1 it must still be a seed of NumPy's
_GRADIENT_NORM = 1.0
_SHOWN_SAMPLES = 16
_STRIDE = 32  # of the encoders' last feature map


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
    return run_command(train_together, parse_args(argv), Processes)


def train_together(args: argparse.Namespace, processes: Processes) -> int:
    """`train`, so that what ends one process ends all of them, with a line."""
    with processes.lost_is_told(), device_errors_are_told(args.config):
        code = train(args, processes)
        processes.close()
        return code


def train(args: argparse.Namespace, processes: Processes) -> int:
    # parse
    config = read_config(args.config)
    device = choose_device(args, processes)
    table = read_folds(args.folds_csv)
    check_apart(args.folds_csv, table)
    held_out = validation_rows(table, fold=args.fold)
    first = training_rows(table, fold=args.fold, epoch=0, seed=args.seed, oversample=not args.no_oversample)
    check_rows(held_out, first, args)
    run = Run(args=args, config=config, processes=processes, device=device)
    check_batches(run, len(first))
    make_folders(run)

    with run.alone():
        # skip what is done
        run.say(
            f"{run.name}: {run.described_device}, {run.dtype}, {processes.world_size} process(es)".replace("torch.", "")
        )
        remove_leftovers_of(run)
        trained = create_model(run)
        position = resume(run, trained)
        epochs = config.optimizer.schedule.epochs
        if position.epoch >= epochs and position.validated:
            run.say(f"{run.name}: all {epochs} epochs are done; best validation {position.best:.5f}")
            return 0
        if position != Position():
            run.say(f"going on at epoch {position.epoch}, step {position.iteration}")

        # process
        with run.stop.listening(), writer_of(run, position) as writer:
            while True:
                if not position.validated:
                    position = validate(run, trained, held_out, position, writer)
                if position.epoch >= epochs:
                    break
                rows = training_rows(
                    table, fold=args.fold, epoch=position.epoch, seed=args.seed, oversample=not args.no_oversample
                )
                position, signal_number = train_epoch(run, trained, rows, position, writer)
                check_finite(run, trained, position)
                run.save_last(trained, position)
                if signal_number:
                    where = f"epoch {position.epoch}, step {position.iteration}"
                    run.say(f"stopped at {where}; --resume auto goes on", sys.stderr)
                    return 128 + signal_number

    # summarise
    run.say(f"{run.name}: {epochs} epochs; best validation {position.best:.5f}: {args.output_dir}")
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
        self.last_is_validated = True  # else an epoch's weights may turn out to be of no use
        self.name = f"{self.args.prefix}{self.config.network}_{self.config.encoder}_{self.args.fold}"
        shape = (1, 3, 1, 1)
        self._mean = 255 * torch.tensor(self.config.normalize.mean, device=self.device).reshape(shape)
        self._std = 255 * torch.tensor(self.config.normalize.std, device=self.device).reshape(shape)

    @property
    def described_device(self) -> str:
        if self.device.type == "cuda":
            return f"{self.device} ({torch.cuda.get_device_name(self.device)})"
        return str(self.device)

    @property
    def described(self) -> dict:
        """What a checkpoint says of its model."""
        return {"network": self.config.network, "encoder": self.config.encoder, "input_size": self.config.size}

    @property
    def settings(self) -> dict:
        """What must be the same when a run goes on."""
        names = ("seed", "fold", "label_smoothing", "padding_part", "freeze_epochs", "opt_level")
        switches = ("no_oversample", "no_hardcore", "only_changed_frames")
        flags = {name: getattr(self.args, name) for name in names + switches}
        # By way of JSON the strings are not shared with others, which keeps the bytes of checkpoints as they were.
        config = json.loads(self.config.model_dump_json())
        return {**flags, "config": config, "world_size": self.processes.world_size}

    def path(self, ending: object) -> Path:
        return Path(self.args.output_dir, f"{self.name}_{ending}")

    def say(self, text: str, file=None) -> None:
        if self.processes.rank == 0:
            print(printable(text), file=file, flush=True)

    @property
    def remedy(self) -> str:
        """What to do where training went wrong; names a checkpoint that is there."""
        lower = "lower optimizer.learning_rate or use --opt-level O0"
        if not self.path("last").is_file():
            return f"{lower}, and start again: there is no checkpoint yet"
        return f"{lower}, and go on from {self.path('last')} by --resume and --from-zero"

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Raises OutputError, on all processes, where another training writes the same checkpoints."""
        with contextlib.ExitStack() as held:
            refusal = None
            if self.processes.rank == 0:
                try:
                    held.enter_context(run_lock(self.path("lock")))
                except OutputError as error:
                    refusal = str(error)
            refusal = self.processes.gather(refusal)[0]
            if refusal:
                raise OutputError(refusal)
            yield

    def save_last(self, trained: Trained, position: Position) -> None:
        """An epoch's state is kept before it is validated, and that of before until it has been."""
        if self.processes.rank == 0:
            last, before = self.path("last"), self.path("last_validated")
            if not position.validated and self.last_is_validated and last.is_file():
                keep(last, before)
            trained.save(last, self.described, position, self.settings)
            if position.validated:
                before.unlink(missing_ok=True)
        self.last_is_validated = position.validated
        self.processes.wait()

    def take_back_last(self) -> None:
        """Put the state of before an epoch in the place of one that is of no use, which --resume auto would fail at."""
        if self.processes.rank == 0 and not self.last_is_validated:
            last, before = self.path("last"), self.path("last_validated")
            if before.is_file():
                os.replace(before, last)
            else:
                last.unlink(missing_ok=True)
        self.last_is_validated = True
        self.processes.wait()

    def inputs(self, images: torch.Tensor) -> torch.Tensor:
        """uint8 RGB (n, 3, size, size) to normalised fp32 on the device, channels last."""
        images = images.to(self.device, non_blocking=True).contiguous(memory_format=torch.channels_last)
        return (images.float() - self._mean) / self._std

    def autocast(self) -> Any:
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32)


def keep(path: Path, other: Path) -> None:
    """Give a file another name besides, or copy it where the file system has no hard links."""
    other.unlink(missing_ok=True)
    try:
        os.link(path, other)
    except OSError:
        with whole_file(other, "free some space or name another folder") as temporary:
            shutil.copyfile(path, temporary)


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
        if args.opt_level == "O0":
            forbid_tf32()
    return device


def check_rows(held_out: list[Row], training: list[Row], args: argparse.Namespace) -> None:
    """Raises InputError where a class is missing."""
    for rows, what in ((held_out, f"held-out fold {args.fold} (frames that 20 divides)"), (training, "other folds")):
        labels = {row.label for row in rows}
        if len(labels) < 2:
            there = "fakes" if labels == {1} else "real videos"
            raise InputError(f"{args.folds_csv}: the {what} has only {there}; deal the folds out again, or use another")


def check_batches(run: Run, rows: int) -> None:
    """Raises InputError for a batch whose last feature map has one number a channel, of which a batch norm can take no
    variance."""
    config, world_size = run.config, run.processes.world_size
    side = math.ceil(config.size / _STRIDE)
    batches = epoch_batches(rows, batch_size=config.optimizer.batch_size, world_size=world_size)
    least = min(len(batch) for batch in batches[: config.batches_per_epoch]) * world_size
    if least * side * side < 2:
        raise InputError(
            f"{run.args.config}: optimizer.batch_size {config.optimizer.batch_size}, size {config.size}: of the {rows} "
            "rows of an epoch a batch has one, which is too little for batch norms at this size; raise "
            "optimizer.batch_size by one, or size"
        )


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
            shorter = " or a shorter --prefix" if error.errno == errno.ENAMETOOLONG else ""
            raise OutputError(
                f"{flag} {folder}: can't be written ({error.strerror}); name another folder{shorter}"
            ) from error
    for ending in ("last_validated", run.config.optimizer.schedule.epochs):
        try:
            os.lstat(run.path(ending))
        except FileNotFoundError:
            continue
        except OSError as error:
            where = f"--output-dir {args.output_dir}, --prefix {args.prefix}"
            raise OutputError(
                f"{where}: {run.path(ending)} can't be written ({error.strerror}); choose others"
            ) from error


def remove_leftovers_of(run: Run) -> None:
    """Remove what trainings of this name that were killed left half written. The folder is read once: there may be very
    many epochs."""
    if run.processes.rank == 0:
        there = {name.split(".")[1] for name in os.listdir(run.args.output_dir) if name.startswith(".")}
        for ending in ("last", "last_validated", "best_dice", *range(run.config.optimizer.schedule.epochs)):
            path = run.path(ending)
            if there and temporary_name(path).name.split(".")[1] in there:
                remove_leftovers(path)


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
        path = str(run.path("last")) if os.path.exists(run.path("last")) else ""
    if not path:
        return Position()
    position = trained.load(path, run.described, run.settings, from_zero=run.args.from_zero)
    run.last_is_validated = position.validated or os.path.realpath(path) != os.path.realpath(run.path("last"))
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
    monitor, broken = Monitor(processes, run.stop, run.remedy), BrokenSamples(len(rows))
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
                keep=batch["valid"].to(run.device, non_blocking=True) if args.only_changed_frames else None,
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


def check_finite(run: Run, trained: Trained, position: Position) -> None:
    """Raises TrainingError, on all processes, where the last step made numbers that are none: before they replace any
    that are good."""
    broken = next(filter(None, run.processes.gather(trained.not_finite())), None)
    if broken:
        where = f"epoch {position.epoch}, step {position.iteration}"
        if position.iteration == 0:
            where = f"epoch {position.epoch - 1}"
        raise TrainingError(
            f"{where}: {broken} is not finite: training went wrong in its last step, nothing was overwritten; "
            f"{run.remedy}"
        )


def validate(run: Run, trained: Trained, rows: list[Row], position: Position, writer: Any) -> Position:
    """Validate the epoch before `position` where it is its turn, and save what that gives. Where it is not, a batch
    tells whether its weights are of use."""
    epoch = position.epoch - 1
    done = replace(position, validated=True)
    is_due = position.epoch % max(run.args.test_every, 1) == 0
    frames = predict(run, trained.model, rows if is_due else rows[: run.config.optimizer.batch_size])
    if not all(math.isfinite(probability) for _, _, probability in frames):
        run.take_back_last()
        raise TrainingError(
            f"epoch {epoch}: the validation loss is nan: training went wrong in its last steps; {run.remedy}"
        )
    if run.processes.rank == 0:
        extra = {"epoch": position.epoch, "bce_best": position.best}
        save_model(run.path(epoch), trained.model, **run.described, **extra)
    if is_due:
        if len({label for _, label, _ in frames}) < 2:
            raise InputError(f"{run.args.data_dir}: of a class no held-out crop can be read; run preprocess_data.sh")
        result = score_videos(frames)
        for line in (f"epoch {epoch}", f"fake_loss {result.fake_loss}", f"real_loss {result.real_loss}"):
            run.say(line)
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
