"""Unpack one zip of the challenge's training data into a data root, whole or not at all.

    python preprocessing/unpack_part.py --zip dfdc_train_part_3.zip --root-dir DATA_ROOT
    python preprocessing/unpack_part.py --check DATA_ROOT/dfdc_train_part_3

Input: a zip that holds dfdc_train_part_<k>/metadata.json, videos beside it, and nothing else. Output:
DATA_ROOT/dfdc_train_part_<k>/, without zeros in front of k. It appears when every file's checksum was right and the
videos are those that metadata.json lists; a part that is there is left alone. With --check a part that is unpacked is
compared with its metadata.json; checksums are not looked at again. The zip is kept.
"""

import argparse
import contextlib
import errno
import lzma
import os
import re
import shutil
import stat
import struct
import sys
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the project, from wherever this is run

import runtime.environment  # noqa: F401  it says what to do where the others can't be imported

from tqdm import tqdm

from faces.containers import METADATA, SUFFIXES, is_video_name
from preprocessing.data_root import read_part
from preprocessing.outputs import new_folder, tidy_if_unused
from runtime.command import run_command
from runtime.errors import InputError, OutputError, printable
from runtime.files import open_file
from runtime.ranks import Ranks

_ENTRY = re.compile(r"(dfdc_train_part_([0-9]{1,4}))/(.*)", re.DOTALL)
_LARGEST_GROWTH = 3  # videos hardly become smaller in a zip: what grows more than that is no zip of videos
_CHUNK = 1 << 20
_SHOWN = 5
# what zipfile raises where the bytes make no sense
_DAMAGE = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, RuntimeError, ValueError, OSError)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Unpack one zip of the challenge's training data")
    arg = parser.add_argument
    arg("--zip", metavar="FILE", help="zip to unpack; it is kept")
    arg("--root-dir", metavar="DIR", help="data root to unpack into; it is made where it is missing")
    arg("--check", metavar="FOLDER", help="only say whether this unpacked part is complete: exit code 0 or 1")
    args = parser.parse_args(argv)
    if args.check is not None and (args.zip is not None or args.root_dir is not None):
        parser.error("--check goes without other flags")
    if args.check is None and (args.zip is None or args.root_dir is None):
        parser.error("give --zip and --root-dir, or --check")
    return args


def main(argv: list[str] | None = None) -> int:
    return run_command(check_or_unpack, parse_args(argv))


def check_or_unpack(args: argparse.Namespace, ranks: Ranks) -> int:
    if args.check is not None:
        check_part(Path(args.check))
        print(printable(f"{args.check}: complete"))
        return 0
    zip_path, root = Path(args.zip), Path(args.root_dir)
    with _open_zip(zip_path) as archive:
        part, files = list_files(archive, zip_path)
        target = root / part
        if os.path.lexists(target):  # someone's own folder may have taken work: it is never replaced
            check_part(target, "remove it and run this again")
            print(printable(f"{target}: there already and complete"))
            return 0
        _check_size(zip_path, root, sum(info.file_size for info in files.values()))
        _extract(archive, zip_path, files, target)
    print(printable(f"{target}: {len(files) - 1} videos"))
    return 0


def check_part(folder: Path, remedy: str = "remove it and unpack its zip again") -> None:
    """Raises InputError, after some lines about what is wrong, unless a part has just the videos of its metadata."""
    if not folder.is_dir():
        raise InputError(f"{folder}: there is no such folder, or it is something else; {remedy}")
    problems = find_problems(folder)
    if problems:
        _show(problems)
        raise InputError(f"{folder}: is no complete part ({_count(problems)}); {remedy}")


def find_problems(folder: Path) -> dict[str, str]:
    """What is wrong with a part folder, by name: entries without a video, videos without an entry, bad metadata."""
    videos, problems = read_part(folder)
    if METADATA in problems:
        return problems  # without it every video would be one too many
    listed = {video.name for video in videos} | problems.keys()
    if not listed:
        return {METADATA: "lists no video"}
    try:
        there = sorted(name for name in os.listdir(folder) if is_video_name(name))
    except OSError as error:
        raise InputError(f"{folder}: can't be read ({error.strerror})") from error
    return problems | {name: f"has no entry in {METADATA}" for name in there if name not in listed}


def list_files(archive: zipfile.ZipFile, zip_path: Path) -> tuple[str, dict[str, zipfile.ZipInfo]]:
    """The part's name and the files of a zip by name. Raises InputError where anything else is in it."""
    folders: dict[str, str] = {}  # as the zip spells it: the part's name
    files: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        match = _ENTRY.fullmatch(info.filename)
        if not match:
            raise _refused(zip_path, info, "is not in a folder dfdc_train_part_<number>")
        folder, number, name = match.groups()
        folders[folder] = f"dfdc_train_part_{int(number)}"
        if len(folders) > 1:
            raise _refused(zip_path, info, "is in a second folder")
        if not name:
            continue  # the folder itself
        reason = _reason_against(info, name) or ("is in it twice" if name in files else None)
        if reason:
            raise _refused(zip_path, info, reason)
        files[name] = info
    if METADATA not in files:
        raise InputError(f"--zip {zip_path}: holds no dfdc_train_part_<number>/{METADATA}; name a zip of training data")
    return folders.popitem()[1], files


def _reason_against(info: zipfile.ZipInfo, name: str) -> str | None:
    if "/" in name:
        return "is in a folder within the part's folder"
    if name != METADATA and not name.lower().endswith(SUFFIXES):
        return f"is neither a video nor {METADATA}"
    if name.startswith(".") or "\\" in name or not name.isprintable():
        return "has a name that no video has"
    if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG):  # 0: made where files have no such mode
        return "is no plain file but a link or a device"
    if info.flag_bits & 1:
        return "is encrypted"
    return None


def _refused(zip_path: Path, info: zipfile.ZipInfo, reason: str) -> InputError:
    return InputError(f"--zip {zip_path}: {info.filename} {reason}; nothing is unpacked, name a zip of training data")


def _check_size(zip_path: Path, root: Path, size: int) -> None:
    """Nothing is written where the content is a zip bomb or does not fit. Makes the data root."""
    try:
        packed = os.path.getsize(zip_path)
    except OSError as error:
        raise InputError(f"--zip {zip_path}: can't be read ({error.strerror})") from error
    if size > _LARGEST_GROWTH * packed:
        growth = f"would grow from {packed} to {size} bytes, which videos do not"
        raise InputError(f"--zip {zip_path}: {growth}; nothing is unpacked, name a zip of training data")
    try:
        root.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(root).free
    except OSError as error:
        raise OutputError(f"--root-dir {root}: can't be used ({error.strerror}); name another folder") from error
    if size > free:
        raise OutputError(f"--root-dir {root}: {size / 1e9:.1f} GB needed and {free / 1e9:.1f} GB free; make room")


def _extract(archive: zipfile.ZipFile, zip_path: Path, files: dict[str, zipfile.ZipInfo], target: Path) -> None:
    try:
        with new_folder(target, root=target.parent) as folder:
            total = sum(info.file_size for info in files.values())
            with tqdm(total=total, desc=target.name, unit="B", unit_scale=True) as bar:
                for name, info in files.items():
                    with open(folder / name, "xb") as file:
                        for chunk in _read(archive, zip_path, info):
                            file.write(chunk)
                            bar.update(len(chunk))
                        file.flush()
                        os.fsync(file.fileno())  # the zip may be removed afterwards
            problems = find_problems(folder)
            if problems:
                _show(problems)
                raise InputError(
                    f"--zip {zip_path}: its videos are not those of its {METADATA} ({_count(problems)}); nothing is "
                    "unpacked, fetch it again. If that gives the same, use unzip: the next steps leave such videos out"
                )
    finally:
        tidy_if_unused(target.parent)


@contextlib.contextmanager
def _open_zip(zip_path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        file = open_file(zip_path, sys.maxsize)  # a pipe would be waited for, for ever
    except OSError as error:
        raise InputError(f"--zip {zip_path}: can't be read ({error.strerror}); name a zip of training data") from error
    with file:
        try:
            archive = zipfile.ZipFile(file)
        except _DAMAGE as error:
            raise _damaged(zip_path, error) from error
        with archive:
            yield archive


def _read(archive: zipfile.ZipFile, zip_path: Path, info: zipfile.ZipInfo) -> Iterator[bytes]:
    """The content of a file in chunks; zipfile compares the checksum at its end."""
    size = 0
    try:
        with archive.open(info) as source:
            while chunk := source.read(_CHUNK):
                size += len(chunk)
                yield chunk
        if size != info.file_size:
            raise zipfile.BadZipFile(f"{info.filename} has {size} bytes instead of {info.file_size}")
    except _DAMAGE as error:
        raise _damaged(zip_path, error) from error


def _damaged(zip_path: Path, error: Exception) -> InputError:
    # EINVAL: the zip names a place before its beginning; others tell of the disk or of permissions, not of the content
    if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
        return InputError(f"--zip {zip_path}: can't be read ({error.strerror}); mend that and run this again")
    reason = str(error) or type(error).__name__
    return InputError(f"--zip {zip_path}: is no zip or is damaged ({reason}); fetch it again")


def _show(problems: dict[str, str]) -> None:
    for name, reason in list(problems.items())[:_SHOWN]:
        print(printable(f"  {name}: {reason}"), file=sys.stderr)
    if len(problems) > _SHOWN:
        print(f"  and {len(problems) - _SHOWN} more", file=sys.stderr)


def _count(problems: dict[str, str]) -> str:
    return f"{len(problems)} {'entry is' if len(problems) == 1 else 'entries are'} wrong"


if __name__ == "__main__":
    sys.exit(main())
