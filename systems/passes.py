"""Samples in passes over all of them, each in an order of its own, cut into epochs of another length."""

from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


def of_passes(make_pass: Callable[[int], Sequence[T]], length: int, first: int, count: int) -> list[T]:
    """`count` samples from number `first` on, counted over passes one after the other; `make_pass(n)` gives the n-th,
    of which the first `length` count."""
    samples: list[T] = []
    while len(samples) < count:
        number, start = divmod(first + len(samples), length)
        samples += make_pass(number)[start:length][: count - len(samples)]
    return samples
