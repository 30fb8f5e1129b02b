"""What is trained at which iteration, and at what rate. Iterations are counted from 1.

In the warm-up only the head learns, at a constant rate, with the network in eval mode: no dropout, batch norms fixed.
Then everything is trained, at a rate that falls linearly, by an optimizer that starts anew.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn

from engines.momentum import start_momentum
from runtime.errors import InputError

_MOMENTUM = 0.9
_WEIGHT_DECAY = 1e-4  # of every tensor, batch norms and biases too


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """The published one has 100 iterations of warm-up within 100,000. Raises InputError for what is none."""

    warm_up: int = 100
    iterations: int = 100_000
    learning_rate: float = 0.005

    def __post_init__(self) -> None:
        if not 0 <= self.warm_up <= self.iterations or self.iterations < 1:
            raise InputError(
                f"{self.warm_up} iterations of warm-up within {self.iterations}: give 1 iteration or more, and no more "
                "of them to the warm-up"
            )
        if not self.learning_rate > 0:
            raise InputError(f"a learning rate of {self.learning_rate}: give one above 0")

    def is_warm_up(self, iteration: int) -> bool:
        return iteration <= self.warm_up

    def rate(self, iteration: int) -> float:
        """The learning rate that an iteration uses.

        As published, the decline starts after the warm-up and is as long as all iterations: it ends above 0.
        """
        if self.is_warm_up(iteration):
            return self.learning_rate
        return self.learning_rate * (self.iterations + self.warm_up + 1 - iteration) / self.iterations


def trained_parameters(network: nn.Module, head: nn.Module, *, warm_up: bool) -> list[nn.Parameter]:
    """Put a network into the mode of its phase, and return what is trained in it: all of it, or its head alone.

    What is not trained requires no gradient.
    """
    network.train(not warm_up)
    network.requires_grad_(not warm_up)
    head.requires_grad_(True)
    return list((head if warm_up else network).parameters())


def create_optimizer(parameters: Iterable[nn.Parameter], rate: float) -> torch.optim.SGD:
    """SGD with Nesterov's momentum; one for each phase, so that no momentum is carried from one to the other."""
    return start_momentum(
        torch.optim.SGD(parameters, lr=rate, momentum=_MOMENTUM, nesterov=True, weight_decay=_WEIGHT_DECAY)
    )
