"""Files that would take more memory than they have, or make things that are no weights."""

import io
import pickle
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest
import torch

from runtime.checkpoint_files import check_file
from systems.checkpoints import CheckpointError, read_checkpoint
from systems.seferbekov.checkpoints import load_model

CONTENT = {"state_dict": {"fc.weight": torch.arange(1000.0), "fc.bias": torch.zeros(2)}, "bce_best": np.float64(0.5)}


def saved(content=CONTENT, **kwargs):
    file = io.BytesIO()
    torch.save(content, file, **kwargs)
    return file.getvalue()


def rewritten(data, compressed=""):
    """A zip file anew, by Python's own writer, with records compressed whose names end so."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(file, "w") as new:
        for entry in old.infolist():
            deflated = compressed is not None and entry.filename.endswith(compressed)
            new.writestr(entry.filename, old.read(entry), zipfile.ZIP_DEFLATED if deflated else zipfile.ZIP_STORED)
    return file.getvalue()


def refusal(tmp_path, data):
    path = tmp_path / "file"
    path.write_bytes(data)
    with pytest.raises(CheckpointError) as raised:
        read_checkpoint(path)
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize(
    "data",
    [saved(), saved(_use_new_zipfile_serialization=False), rewritten(saved(), None)],
    ids=["zip", "legacy", "zip by Python"],  # the bytes tell addresses, which differ between the processes of a run
)
def test_sound_files(tmp_path, data):
    check_file(io.BytesIO(data))
    (tmp_path / "file").write_bytes(data)
    content = read_checkpoint(tmp_path / "file")
    assert torch.equal(content["state_dict"]["fc.weight"], torch.arange(1000.0)) and content["bce_best"] == 0.5


def places_of(data):
    """Where the content of each record begins, by its name."""
    with zipfile.ZipFile(io.BytesIO(data)) as records:
        entries = records.infolist()
    lengths = {entry: struct.unpack_from("<2H", data, entry.header_offset + 26) for entry in entries}
    return {entry.filename.partition("/")[2]: entry.header_offset + 30 + sum(lengths[entry]) for entry in entries}


@pytest.mark.parametrize("name", ["data.pkl", "data/0", "data/1", "version"])
@pytest.mark.parametrize("put", [lambda data: data, lambda data: rewritten(data, None)], ids=["PyTorch", "Python"])
def test_a_bit_of_a_record(tmp_path, name, put):
    """PyTorch's reader would take it, and score with other weights."""
    data = bytearray(put(saved()))
    data[places_of(data)[name]] ^= 1
    said = f"is damaged (record {name} does not fit its checksum); download or copy it again"
    assert refusal(tmp_path, data) == f"{tmp_path / 'file'}: {said}"


def test_weights_that_are_not_read_are_not_summed(tmp_path):
    """A file that is only asked what it is of must not be read twice."""
    data = bytearray(saved())
    data[places_of(data)["data/0"]] ^= 1
    (tmp_path / "file").write_bytes(data)
    assert read_checkpoint(tmp_path / "file", weights=False)["bce_best"] == 0.5


def test_a_file_without_sums(tmp_path):
    """What a user wrote faster is read as it is."""
    torch.serialization.set_crc32_options(False)
    try:
        data = saved()
    finally:
        torch.serialization.set_crc32_options(True)
    (tmp_path / "file").write_bytes(data)
    assert torch.equal(read_checkpoint(tmp_path / "file")["state_dict"]["fc.weight"], torch.arange(1000.0))


def test_compressed_records_are_refused_before_they_grow(tmp_path):
    data = rewritten(saved({"note": "a" * 30_000_000, "state_dict": {"fc.weight": torch.zeros(8_000_000)}}))
    assert len(data) < 100_000
    tracemalloc.start()
    message = refusal(tmp_path, data)
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()
    assert "refused" in message


@pytest.mark.parametrize("name", ["data.pkl", "data/0", "version"])
def test_one_compressed_record(tmp_path, name):
    assert "refused" in refusal(tmp_path, rewritten(saved(), name))


def test_records_that_share_their_bytes(tmp_path):
    """A thousand names of one record, each of which would be read into memory of its own."""
    file = io.BytesIO(saved())
    with zipfile.ZipFile(file, "a") as records:
        first = next(entry for entry in records.infolist() if entry.filename.endswith("data/0"))
        for number in range(1000):
            twin = zipfile.ZipInfo(first.filename.replace("data/0", f"data/{number + 9}"))
            twin.header_offset, twin.file_size, twin.compress_size = first.header_offset, 4000, 4000
            twin.CRC = first.CRC
            records.filelist.append(twin)
        records._didModify = True
    assert "refused" in refusal(tmp_path, file.getvalue())


@pytest.mark.parametrize("put", [lambda d: d + b"more", lambda d: d[:-2] + b"\4\0more", lambda d: d[:4] + b"x" + d[4:]])
def test_a_list_of_records_that_is_not_at_the_end(tmp_path, put):
    assert "is not a PyTorch checkpoint" in refusal(tmp_path, put(saved()))


def test_another_list_of_records_behind_the_zip64_locator(tmp_path):
    """Python takes the list that lies before the locator, PyTorch the one that it points to."""
    data = bytearray(saved())
    data[data.rindex(b"PK\x06\x07") + 8] ^= 1
    assert "is not a PyTorch checkpoint" in refusal(tmp_path, bytes(data))


def test_an_older_file_that_claims_more_than_it_has(tmp_path):
    data = saved(_use_new_zipfile_serialization=False)
    claimed = data.replace(b"M\xe8\x03N", b"J\x00\x00\x00\x60N")  # 1000 elements: 1.6e9
    assert claimed != data
    with pytest.raises(pickle.UnpicklingError, match="larger than the file"):
        check_file(io.BytesIO(claimed))
    assert "refused" in refusal(tmp_path, claimed)


class Call:
    """Pickled as a call of something."""

    def __init__(self, what, *args):
        self._call = what, args

    def __reduce__(self):
        return self._call


@pytest.mark.parametrize(
    "what, argument", [(bytearray, 10**10), (torch.Tensor, 10), (torch.FloatTensor, 10), (eval, "1")]
)
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_calls_that_make_memory_or_run_code(tmp_path, what, argument, zipped):
    data = saved({"state_dict": {"a": Call(what, argument)}}, _use_new_zipfile_serialization=zipped)
    assert "refused" in refusal(tmp_path, data)


@pytest.mark.parametrize(
    "tensor",
    [
        torch.zeros(2).to(torch.float8_e4m3fn),
        torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)]),
        torch.zeros(2).to_sparse(),
        torch.quantize_per_tensor(torch.zeros(2), 0.1, 0, torch.qint8),
        torch.zeros(2, device="meta"),
        torch.zeros(2, dtype=torch.complex64),
        torch.zeros(2, dtype=torch.uint16),
        torch.zeros(2, dtype=torch.bool),
    ],
    ids=["float8", "nested", "sparse", "quantized", "meta", "complex", "uint16", "bool"],
)
@pytest.mark.parametrize("key", ["fc.bias", "surplus"])
def test_tensors_that_are_no_weights(tmp_path, tensor, key):
    (tmp_path / "file").write_bytes(saved({"state_dict": {"fc.weight": torch.zeros(2), key: tensor}}))
    with pytest.raises(CheckpointError, match=f"{key} is no plain tensor of weights"):
        load_model(tmp_path / "file", encoder="tf_efficientnet_b0_ns")


@pytest.mark.parametrize(
    "content, message",
    [
        ({1: torch.zeros(1)}, "keys that are no names"),
        ({"state_dict": {(1, 2): torch.zeros(1)}}, "keys that are no names"),
        ({"network": "x" * 10**6, "state_dict": {}}, "network 'x+' is unknown"),
        ({"input_size": [[[0] * 1000] * 1000], "state_dict": {}}, "input_size "),
    ],
    ids=["number", "tuple", "long", "large"],
)
def test_content_of_any_size_gives_one_line(tmp_path, content, message):
    (tmp_path / "file").write_bytes(saved(content))
    with pytest.raises(CheckpointError, match=message) as raised:
        load_model(tmp_path / "file")
    assert len(str(raised.value)) < 1000


def test_only_regular_files():
    with pytest.raises(CheckpointError, match="is not a regular file"):
        read_checkpoint("/dev/zero")


def test_a_pickle_alone(tmp_path):
    assert "refused" in refusal(tmp_path, pickle.dumps({"a": 1}))
