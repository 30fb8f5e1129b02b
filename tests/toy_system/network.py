"""A tiny network on clips of three frames: how bright they are, against a threshold."""

import os

import numpy as np
import torch
from torch import nn

from systems.checkpoints import check_weights, read_checkpoint, state_dict_of


class ToyNetwork(nn.Module):
    """Float (n, 3, 3, h, w) from 0 to 1 to logits (n,)."""

    def __init__(self, threshold: float = 0.5):
        super().__init__()
        self.conv = nn.Conv3d(3, 1, (3, 1, 1), bias=False)
        nn.init.constant_(self.conv.weight, 1 / 9)
        self.fc = nn.Linear(1, 1)
        nn.init.constant_(self.fc.weight, 1)
        nn.init.constant_(self.fc.bias, -threshold)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.conv(x).mean((2, 3, 4)))[:, 0]


def inputs(clips: torch.Tensor) -> torch.Tensor:
    """uint8 (n, 3, h, w, 3) to what the network takes."""
    return clips.permute(0, 4, 1, 2, 3).float() / 255


def load(path: str | os.PathLike) -> ToyNetwork:
    network = ToyNetwork()
    load_weights(path, read_checkpoint(path), network)
    return network.eval()


def load_weights(path: str | os.PathLike, checkpoint: dict, network: ToyNetwork) -> None:
    state = state_dict_of(path, checkpoint)
    check_weights(path, network, state, kind="toy", remedy="name another")
    network.load_state_dict(state)


def save(path: str | os.PathLike, network: ToyNetwork, **extra) -> None:
    described = {"system": "toy", "network": "ToyNetwork", "input": [3, 0, 0], "normalize": None}
    torch.save({**extra, **described, "state_dict": network.state_dict()}, path)


@torch.inference_mode()
def p_fake(network: ToyNetwork, clips: list[np.ndarray]) -> np.ndarray:
    return network(inputs(torch.from_numpy(np.stack(clips)))).sigmoid().numpy()
