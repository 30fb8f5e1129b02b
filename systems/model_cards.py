"""What goes with an exported model: where it comes from, what it takes and gives, what it is not fit for.

As JSON it is in the files' metadata and, with their digests, beside them; `markdown` makes a page of it for a person.
"""

import html
import json
import math
import re
from collections.abc import Mapping
from typing import Any

from runtime.errors import printable
from systems.portable import PortableModel
from systems.registry import published_files, published_from

_TRAINED = ("epoch", "bce_best")  # what checkpoints of all systems say of their training, also to who resumes it
_LICENCE = "of the weights: whoever trained or published them decides. Of the code of the networks: MIT"
_INSIDE = "inside: pixels go in as they are, and a probability comes out; in the safetensors file are the weights alone"
_LIMITS = (
    "The score is what a face classifier of 2020 makes of a face: newer kinds of forgery, other compressions, voices "
    "and edits of whole scenes are outside what it was trained for.",
    "A face must be found, cut out and scaled as the system does it; other pictures give other scores.",
    "A score is a lead for a person to follow, no proof.",
)


def model_card(
    model: PortableModel,
    *,
    system: str,
    source: Mapping[str, Any],
    licence: str | None = None,
    training_data: str | None = None,
) -> dict[str, Any]:
    """A model's card. `source` is the "file" that it was exported from, with "bytes" and "sha256"; `licence` and
    `training_data` are the user's words. Under "checkpoint" is what its system loads the weights by."""
    trained = {key: number for key in _TRAINED if (number := _number(model.checkpoint.get(key))) is not None}
    return {
        "name": model.name,
        "system": system,
        "network": model.network,
        "checkpoint": {**trained, **model.described},
        "input": {
            "shape": list(model.axes),
            "least": dict(model.least),
            "type": "uint8",
            "colours": "RGB",
            "what": model.sees,
            "normalisation": _INSIDE,
        },
        "output": {"shape": list(model.output), "type": "float32", "what": model.says},
        "training": {**trained, "settings": _settings(model.checkpoint), "data": training_data},
        "published": _published(system, model.name),
        "licence": licence or _LICENCE,
        "source": dict(source),
        "limits": list(_LIMITS),
    }


def markdown(card: Mapping[str, Any], files: Mapping[str, Mapping[str, Any]]) -> str:
    """A card for a person. `files` are those that were written, by name: "bytes", "sha256" and "largest_difference"."""
    taken, given, trained = card["input"], card["output"], card["training"]
    facts = {
        "System": card["system"],
        "Network": card["network"],
        "Input": f"{taken['type']} {_shape(taken['shape'])}, {taken['colours']}. {taken['what']}",
        "Smallest sizes": ", ".join(f"{name} {least}" for name, least in taken["least"].items()),
        "Output": f"{given['type']} {_shape(given['shape'])}. {given['what']}",
        "Normalisation, polarity, sigmoid": taken["normalisation"],
        "Normalised by": json.dumps(card["checkpoint"]["normalize"]),
        "Trained on": trained["data"] or "the checkpoint does not say",
        "Training": _told(trained),
        "Published": card["published"] or "under no name that is known here",
        "Licence": card["licence"],
        "Exported from": "{file}, {bytes} bytes, SHA-256 {sha256}".format(**card["source"]),
    }
    lines = [f"# {_line(card['name'])}", ""]
    lines += [f"- **{name}:** {_line(fact)}" for name, fact in facts.items()]
    lines += ["", "## Limits", "", *(f"- {_line(limit)}" for limit in card["limits"]), "", "## Files", ""]
    for name, file in files.items():
        lines.append(
            f"- {_line(name)}: {file['bytes']} bytes, SHA-256 {file['sha256']}; probabilities within "
            f"{file['largest_difference']:.2g} of PyTorch's"
        )
    return "\n".join([*lines, ""])


def _number(value: Any) -> int | float | None:
    """A number of a checkpoint, which may be NumPy's, as JSON can have it."""
    try:
        plain = value.item() if hasattr(value, "item") else value
    except (RuntimeError, ValueError):  # a tensor or an array of several
        return None
    return plain if type(plain) in (int, float) and math.isfinite(plain) else None


def _settings(checkpoint: Mapping[str, Any]) -> Any:
    """With what a training that can go on was begun, None where the file does not tell."""
    resume = checkpoint.get("resume")
    settings = resume.get("settings") if isinstance(resume, dict) else None
    try:
        return json.loads(json.dumps(settings, allow_nan=False))
    except (TypeError, ValueError, RecursionError):
        return None


def _published(system: str, name: str) -> str | None:
    """What a name tells, which is no proof."""
    if name not in published_files(system):
        return None
    return f"a file of this name, at {published_from(system)}; whether this is it, its SHA-256 tells"


def _shape(shape: list[str | int]) -> str:
    return f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"


def _told(trained: Mapping[str, Any]) -> str:
    told = [f"{key} {trained[key]:.6g}" for key in _TRAINED if key in trained]
    if trained["settings"]:
        told.append(f"settings {json.dumps(trained['settings'])}")
    return ", ".join(told) or "the checkpoint does not say"


def _line(text: str) -> str:
    """Text within a line of Markdown, where nothing in it is markup: names of files may hold anything."""
    return re.sub(r"([\\`*_\[\]!])", r"\\\1", html.escape(printable(text), quote=False))
