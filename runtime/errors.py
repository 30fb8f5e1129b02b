"""Errors that a person can mend: shown as one line, without a traceback."""

_LONGEST = 2000  # characters of an error's line


class UserError(Exception):
    """The message names the file, flag or key, and the remedy."""


class InputError(UserError):
    """Something that was asked for is not there or makes no sense."""


class UnreadableSamples(InputError):
    """Too many rows after one another can't be read.

    PyTorch raises what a worker raised with its traceback as the message, of which this keeps the last line.
    """

    def __init__(self, message: str):
        super().__init__(message.strip().rpartition(f"{UnreadableSamples.__name__}: ")[2])


class ItemError(UserError):
    """One item of the work can't be used, or not all of it; the others can."""


class OutputError(UserError):
    """Something can't be written."""


class DeviceError(UserError):
    """The GPU has too little memory, or has failed: nothing else can be computed in this process."""


class TrainingError(UserError):
    """Training can't go on."""


def one_line(error: Exception) -> str:
    """What a person is told: a line that can be printed, its middle left out where what it quotes is long."""
    text = printable(str(error))
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST // 2]} [...] {text[-_LONGEST // 2 :]}"


def printable(text: str) -> str:
    """File names may hold anything; a terminal gets only what can be printed."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape", "surrogatepass").decode() for char in text
    )
