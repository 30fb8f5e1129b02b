"""Errors that a person can mend: shown as one line, without a traceback."""


class UserError(Exception):
    """The message names the file, flag or key, and the remedy."""


class InputError(UserError):
    """Something that was asked for is not there or makes no sense."""


class ItemError(UserError):
    """One item of the work can't be used, or not all of it; the others can."""


class OutputError(UserError):
    """Something can't be written."""


class DeviceError(UserError):
    """The GPU has too little memory, or has failed: nothing else can be computed in this process."""


class TrainingError(UserError):
    """Training can't go on."""


def printable(text: str) -> str:
    """File names may hold anything; a terminal gets only what can be printed."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape", "surrogatepass").decode() for char in text
    )
