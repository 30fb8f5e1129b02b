"""Validation by parts of a data root, whose people are in no other part (of the DFDC's nearly none is)."""

import re
from collections.abc import Collection
from typing import Annotated

from pydantic import Field

HeldOutParts = Annotated[list[int], Field(description="a list of numbers of part folders, such as [45, 46]")]
_PART = re.compile(r"(?:.*_)?0*([0-9]+)")


def is_held_out(part: str, numbers: Collection[int]) -> bool:
    """Whether a part folder, such as dfdc_train_part_45, is one of those numbers."""
    match = _PART.fullmatch(part)
    return match is not None and int(match[1]) in numbers
