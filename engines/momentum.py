"""SGD with momentum as it is safe on a GPU."""

import torch


def start_momentum(optimizer: torch.optim.SGD) -> torch.optim.SGD:
    """Give every parameter that has no momentum yet one of zeros, and return the optimizer.

    The first step is the same: 0 * momentum + gradient is the gradient. PyTorch's fused step would make it of memory as
    it is, which stays where a gradient scaler skips that step, and it takes no mix of parameters with and without, as
    there is when an encoder thaws.
    """
    for group in optimizer.param_groups:
        for parameter in group["params"] if group["momentum"] else ():
            if optimizer.state[parameter].get("momentum_buffer") is None:
                optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter, requires_grad=False)
    return optimizer
