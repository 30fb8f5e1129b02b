"""How many samples may be broken."""

import pytest

from runtime.errors import InputError
from training.loaders import BrokenSamples


def test_a_few_are_counted_once_each():
    broken = BrokenSamples(100)
    for _ in range(3):
        broken.add([f"crop {number} is gone" for number in range(10)])
    assert len(broken.errors) == 10


@pytest.mark.parametrize("rows, most", [(100, 10), (5000, 50)])
def test_more_are_an_error(rows, most):
    broken = BrokenSamples(rows)
    with pytest.raises(InputError, match=f"{most + 1} samples can't be read, more than the {most} .*: crop 0 is gone"):
        broken.add([f"crop {number} is gone" for number in range(most + 1)])
