"""Checkpoints as safetensors files: tensors without code, and a model card that says what they are.

The card is JSON under "model_card" in the file's metadata. Under its key "checkpoint" is what a checkpoint of ours says
of itself (system, network, input, ...), so that a system loads the file as it does its other ones.
"""

import json
from collections.abc import Mapping
from typing import Any, BinaryIO

import safetensors.torch
import torch
from safetensors import SafetensorError

from runtime.checkpoint_files import METADATA, SafetensorsDamage

CARD = "model_card"


def checkpoint_of(file: BinaryIO, header: Mapping[str, Any], *, weights: bool) -> dict[str, Any]:
    """The content of a checkpoint, from a safetensors file and its `runtime.checkpoint_files.safetensors_header`: a
    bare dict of tensors where there is no card. Without `weights` the tensors are empty.

    Raises SafetensorsDamage.
    """
    if weights:
        try:
            state = safetensors.torch.load(file.read())
        except SafetensorError as error:
            raise SafetensorsDamage(str(error)) from error
    else:
        state = {name: torch.empty(0) for name in header if name != METADATA}
    card = card_of(header)
    return {**card["checkpoint"], "state_dict": state} if card else state


def card_of(header: Mapping[str, Any]) -> dict[str, Any] | None:
    """The model card of a file of ours, None where it has none. Raises SafetensorsDamage."""
    metadata = header.get(METADATA, {})
    if not isinstance(metadata, dict) or CARD not in metadata:
        return None
    try:
        card = json.loads(metadata[CARD])
    except (ValueError, TypeError, RecursionError) as error:
        raise SafetensorsDamage("a model card that is no JSON") from error
    if not isinstance(card, dict) or not isinstance(card.get("checkpoint"), dict):
        raise SafetensorsDamage("a model card that does not say what the tensors are")
    return card


def safetensors_of(state: Mapping[str, torch.Tensor], card: Mapping[str, Any]) -> bytes:
    """A file's content: the same bytes for the same tensors and card."""
    own = {name: value.detach().cpu().clone(memory_format=torch.contiguous_format) for name, value in state.items()}
    return safetensors.torch.save(own, {CARD: json.dumps(card)})
