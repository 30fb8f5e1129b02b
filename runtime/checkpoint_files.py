"""What a checkpoint file must be before PyTorch may load it: nothing in it may grow.

PyTorch writes a zip file of records that are not compressed, or in the older format pickles with the tensors' bytes
behind them. Loading takes as much memory as the records claim to need, and what else the pickles make. A safetensors
file is a header of JSON, and the tensors' bytes as they are.
"""

import json
import pickle
import pickletools
import re
import struct
import zipfile
import zlib
from typing import Any, BinaryIO

_MOST_HEADER = 1 << 22  # bytes of a safetensors file's: the largest networks here have a twentieth
METADATA = "__metadata__"  # among the names of a safetensors file's tensors
_MOST_RECORDS = 1 << 20
_CHUNK = 1 << 20  # bytes that are summed at a time
_LEGACY_PICKLES = 5  # magic number, protocol, the system's sizes, the content, keys of storages

# what torch.save names for tensors of every kind, and for NumPy's scalars; others run code, or make memory of a number
_NAMED = re.compile(
    r"collections OrderedDict|_codecs encode|torch\._utils _rebuild_\w+|torch\.nn\.parameter Parameter"
    r"|torch\.serialization _get_layout|torch(\.storage|\.cuda)? (?!\w*Tensor$)\w+"
    r"|numpy\.(_?core\.multiarray scalar|dtypes \w+)|numpy (dtype|float32|float64)"
)
_WHOLE = {"BININT", "BININT1", "BININT2", "LONG1"}
_NOTES = {"BINPUT", "LONG_BINPUT"}  # they leave the stack as it is

_ZIP = b"PK\x03\x04"
_END, _END_64, _LOCATOR_64 = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"
_NAME_LENGTHS = 26  # from a record's beginning: how long its name and an extra field are, which its content follows
_END_SIZE, _END_64_SIZE, _LOCATOR_64_SIZE = 22, 56, 20


class DamagedRecord(ValueError):
    """A record is not what was written; the message says which."""


def check_file(file: BinaryIO, *, whole: bool = True) -> None:
    """Leaves the file at its beginning. Raises pickle.UnpicklingError for what must not be loaded, DamagedRecord, and
    other exceptions for what is no checkpoint.

    The records of a zip file are held against their CRC-32, which PyTorch's reader does not look at; without `whole`
    only what is unpickled. A sum of 0 is none: PyTorch writes it where `torch.serialization.set_crc32_options(False)`
    or `skip_data` was used. The older format has no sums.
    """
    size = file.seek(0, 2)
    file.seek(0)
    if file.read(4) == _ZIP:
        _check_zip(file, size, whole)
    elif size:
        file.seek(0)
        try:
            for _ in range(_LEGACY_PICKLES):
                _check_pickle(file, size)
        except ValueError as error:
            raise pickle.UnpicklingError(f"no pickle ({error})") from error
    file.seek(0)


class SafetensorsDamage(ValueError):
    """A safetensors file is not what it should be."""


def safetensors_header(file: BinaryIO) -> dict[str, Any] | None:
    """What a safetensors file says of itself: by name what is known of each tensor, and under "__metadata__" the texts
    that go with them. None for a file of another kind. Raises SafetensorsDamage for one that is cut, or claims to be
    larger than it is. Leaves the file at its beginning."""
    size = file.seek(0, 2)
    file.seek(0)
    start = file.read(9)
    length = int.from_bytes(start[:8], "little")
    if start[8:] != b"{" or start[:4] == _ZIP:
        file.seek(0)
        return None
    if length > min(_MOST_HEADER, size - 8):
        raise SafetensorsDamage(f"a header of {length} bytes in a file of {size}")
    file.seek(8)
    try:
        header = json.loads(file.read(length))
        ends = [tensor["data_offsets"][1] for name, tensor in header.items() if name != METADATA]
        if 8 + length + max(ends, default=0) != size:
            raise ValueError("tensors that end elsewhere than the file")
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        raise SafetensorsDamage(f"its header: {error}") from error
    file.seek(0)
    return header


def _check_zip(file: BinaryIO, size: int, whole: bool) -> None:
    _check_end(file, size)
    with zipfile.ZipFile(file) as records:
        entries = records.infolist()
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise pickle.UnpicklingError("a compressed record")
        if len(entries) > _MOST_RECORDS or sum(entry.file_size for entry in entries) > size:
            raise pickle.UnpicklingError("records that are larger than the file")
        for entry in entries:
            is_pickle = entry.filename.endswith("/data.pkl")
            if whole or is_pickle:
                _check_sum(file, entry)
            if is_pickle:
                with records.open(entry) as content:
                    _check_pickle(content)


def _check_sum(file: BinaryIO, entry: zipfile.ZipInfo) -> None:
    """Afterwards a record without a sum has one, as zipfile would not read it otherwise."""
    file.seek(entry.header_offset + _NAME_LENGTHS)
    file.seek(sum(struct.unpack("<2H", file.read(4))), 1)
    found, left = 0, entry.file_size
    while left and (part := file.read(min(_CHUNK, left))):
        found, left = zlib.crc32(part, found), left - len(part)
    if entry.CRC and found != entry.CRC:
        name = entry.filename.partition("/")[2]  # without the folder that PyTorch puts all of them in
        raise DamagedRecord(f"record {name:.60} does not fit its checksum")
    entry.CRC = found


def _check_end(file: BinaryIO, size: int) -> None:
    """The list of records must be where PyTorch's reader and Python's both look for it: at the very end, undivided."""
    tail_size = min(size, _END_SIZE + _LOCATOR_64_SIZE + _END_64_SIZE)
    file.seek(size - tail_size)
    tail = file.read(tail_size)
    end = tail[-_END_SIZE:]
    if not end.startswith(_END) or end[-2:] != b"\0\0":
        raise ValueError("no end of a zip file")
    length, start = struct.unpack("<2L", end[12:20])
    behind = size - _END_SIZE
    if tail[:4] == _END_64 and tail[_END_64_SIZE:].startswith(_LOCATOR_64):
        behind -= _LOCATOR_64_SIZE + _END_64_SIZE
        length, start = struct.unpack("<2Q", tail[40:56])
        if struct.unpack("<Q", tail[_END_64_SIZE + 8 :][:8]) != (behind,):
            raise ValueError("another end of the zip file")
    if start + length != behind:
        raise ValueError("the list of records is elsewhere")


def _check_pickle(file: BinaryIO, size: int | None = None) -> None:
    """`size`: the file's, of which storages are to have a part each."""
    recent: list[tuple[str, object]] = []
    claimed = 0
    for opcode, argument, _ in pickletools.genops(file):
        if opcode.name == "GLOBAL" and not _NAMED.fullmatch(argument):
            raise pickle.UnpicklingError(f"{argument} is named")
        if opcode.name == "BINPERSID" and size is not None:
            claimed += _claimed(recent)
            if claimed > size:  # an element has a byte at least
                raise pickle.UnpicklingError("storages that are larger than the file")
        if opcode.name not in _NOTES:
            recent = [*recent[-4:], (opcode.name, argument)]


def _claimed(recent: list[tuple[str, object]]) -> int:
    """Elements of a storage: of ("storage", type, key, place, elements, None); 0 where it was named before."""
    if len(recent) < 5:
        raise pickle.UnpicklingError("a storage that is described in another way")
    (key, _), _, (kind, elements), (none, _), (last, _) = recent
    if kind not in _WHOLE or elements < 0 or (none, last) != ("NONE", "TUPLE"):
        raise pickle.UnpicklingError("a storage that is described in another way")
    return 0 if key in ("BINGET", "LONG_BINGET") else elements
