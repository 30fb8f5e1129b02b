"""What an examination of a machine finds, one thing at a time."""

from collections.abc import Callable
from dataclasses import dataclass

from runtime.errors import one_line

OK, FAILED, NOT_HERE = "ok", "failed", "not here"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What was looked at, how it is (OK, FAILED, or NOT_HERE for what a machine need not have), and why, in words."""

    check: str
    state: str
    text: str


def tried(check: str, look: Callable[[], tuple[str, str]]) -> Finding:
    """What `look` says: state and text. Whatever it raises is a failure of that check, and the next ones go on."""
    try:
        state, text = look()
    except Exception as error:  # noqa: BLE001  told with its kind
        state, text = FAILED, f"{type(error).__name__}: {one_line(error)}"
    return Finding(check=check, state=state, text=text)
