"""What torchrun tells each of its processes."""

import os
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Launch:
    """`rank` of `world_size` processes, `local_rank` of `local_world_size` on this machine; alone without torchrun.
    `is_torchruns` says whether its variables are there."""

    rank: int
    world_size: int
    local_rank: int
    local_world_size: int
    is_torchruns: bool

    def unreachable(self, error: Exception) -> str:
        """What to say where the others can't be reached."""
        return f"WORLD_SIZE is {self.world_size}, but: {error}. Use torchrun, or unset it"


def read_launch() -> Launch:
    """Of the environment variables."""
    return Launch(
        rank=int(os.environ.get("RANK", 0)),
        world_size=int(os.environ.get("WORLD_SIZE", 1)),
        local_rank=int(os.environ.get("LOCAL_RANK", 0)),
        local_world_size=int(os.environ.get("LOCAL_WORLD_SIZE", 1)),
        is_torchruns="WORLD_SIZE" in os.environ,
    )
