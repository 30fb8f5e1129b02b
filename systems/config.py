"""What configurations of all systems are made of: strict pydantic models whose fields say what is allowed.

The description of a field is for messages; a field without one is an object.
"""

import os
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from runtime.errors import InputError

LARGEST = 1e30  # of numbers that have no other bound


class ConfigError(InputError):
    """A key of a configuration can't be used; the message names the file, the key and what is allowed."""


class Strict(BaseModel):
    """What a JSON object must be: nothing is converted but whole numbers where any number may be."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


Switch = Annotated[bool, Field(description="true or false")]


def one_of(names: Iterable[str]) -> Any:
    names = tuple(names)
    return Annotated[Literal[names], Field(description=f"one of {', '.join(names)}")]


def whole_number(least: int, most: int = 10**9, **kwargs) -> Any:
    return Field(ge=least, le=most, description=f"a whole number from {least} to {most}", **kwargs)


def number(least: float, most: float = LARGEST, *, above: bool = False, **kwargs) -> Any:
    text = f"a number {'above' if above else 'from'} {least:g} to {most:g}"
    return Field(**{"gt" if above else "ge": least}, le=most, description=text, **kwargs)


def refuse(file: str | os.PathLike, key: str, why: str) -> None:
    """Raises ConfigError for a key whose value does not fit the rest."""
    raise ConfigError(f"{os.fspath(file)}: {key}: {why}")
