"""SHA-256 of files: all of their bytes, and nothing that is no regular file."""

import hashlib
import os

import pytest

from runtime.digests import Digest, digest_of


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (5 << 19) + 3])
def test_of_all_bytes(tmp_path, size):
    data = os.urandom(size)
    (tmp_path / "file").write_bytes(data)
    parts = []
    found = digest_of(tmp_path / "file", passing=parts.append)
    assert found == Digest(bytes=size, sha256=hashlib.sha256(data).hexdigest()) and sum(parts) == size


def test_what_is_too_large_or_no_file(tmp_path):
    (tmp_path / "file").write_bytes(b"1234")
    assert digest_of(tmp_path / "file", 4).bytes == 4
    with pytest.raises(OSError, match="has more than 3 bytes"):
        digest_of(tmp_path / "file", 3)
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", "none", "."):
        with pytest.raises(OSError):
            digest_of(tmp_path / name)


def test_it_can_be_ended(tmp_path):
    (tmp_path / "file").write_bytes(bytes(3 << 20))

    def stop(count):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        digest_of(tmp_path / "file", passing=stop)
