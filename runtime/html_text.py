"""What a page of HTML says of things from outside, and what its own policy lets a browser run."""

import base64
import hashlib
import html

from runtime.errors import printable


def html_text(value: object) -> str:
    """Text from outside as HTML: no markup, and nothing that can't be seen or turns the direction of writing."""
    return html.escape(printable(str(value)))


def policy_hash(source: str) -> str:
    """What a browser compares an inline script or style with (Content Security Policy)."""
    return "sha256-" + base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()


def counted(number: int, noun: str) -> str:
    """Such as "1 video" and "2 videos"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
