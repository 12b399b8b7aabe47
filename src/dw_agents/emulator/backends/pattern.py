"""One short string for a regular expression, as JSON schemas use them in ``pattern``.

Owns: the small reader of ECMA-style patterns. Must not import anything of the package: text in, text out.

Only what schemas in practice contain is understood: literals, classes, groups, alternation, quantifiers and
anchors. Look-arounds are skipped. The result is checked against the pattern, so a construct that is not
understood ends in ``ValueError``, never in a wrong string.
"""

from __future__ import annotations

import re
import string

__all__ = ["example"]

_CLASSES = {
    "d": "1234567890",
    "w": string.ascii_lowercase + string.digits + "_",
    "s": " ",
    "D": string.ascii_lowercase,
    "W": "-",
    "S": string.ascii_lowercase,
}
_CONTROLS = {"n": "\n", "t": "\t", "r": "\r", "f": "\f", "v": "\v"}
_PRINTABLE = string.ascii_lowercase + string.ascii_uppercase + string.digits + string.punctuation + " "
_BRACES = re.compile(r"\{(\d+)(?:,(\d*))?\}")
_GROUP_HEAD = re.compile(r"\?(?:P?<\w+>|:)")
_LOOK_AROUND = re.compile(r"\?<?[=!]")


def example(pattern: str, least: int = 0) -> str:
    """Return a short string of at least ``least`` characters in which ``pattern`` is found.

    Args:
        pattern: the value of a JSON schema's ``pattern`` (not anchored unless it says so).
        least: the schema's ``minLength``.

    Raises:
        ValueError: the pattern is no regular expression, or uses what this reader does not know.
    """
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ValueError(f"{pattern!r} is no regular expression: {error}") from error
    for repeat in range(least + 1):
        text = _Reader(pattern, repeat).alternatives()
        if len(text) >= least and compiled.search(text):
            return text
    raise ValueError(f"no example of {least} or more characters found for the pattern {pattern!r}")


class _Reader:
    """Walks a pattern once and writes the example; ``repeat``: how often a free quantifier repeats."""

    def __init__(self, pattern: str, repeat: int) -> None:
        self._pattern = pattern
        self._repeat = repeat
        self._at = 0

    def alternatives(self) -> str:
        """Read up to the end of the group; the first alternative is the example."""
        first = self._sequence()
        while self._peek() == "|":
            self._at += 1
            self._sequence()
        return first

    def _sequence(self) -> str:
        parts: list[str] = []
        while (char := self._peek()) and char not in "|)":
            parts.append(self._quantified(self._atom()))
        return "".join(parts)

    def _atom(self) -> str:
        char = self._take()
        if char == "(":
            return self._group()
        if char == "[":
            return self._class()
        if char == "\\":
            return self._escape()
        if char in "^$":
            return ""
        return "a" if char == "." else char

    def _group(self) -> str:
        if _LOOK_AROUND.match(self._pattern, self._at):
            self.alternatives()
            inner = ""
        else:
            if head := _GROUP_HEAD.match(self._pattern, self._at):
                self._at = head.end()
            inner = self.alternatives()
        self._take()
        return inner

    def _escape(self) -> str:
        char = self._take()
        if char in "bBAZz":
            return ""
        if char in _CLASSES:
            return _CLASSES[char][0]
        return _CONTROLS.get(char, char)

    def _class(self) -> str:
        negated = self._peek() == "^"
        if negated:
            self._at += 1
        members: list[str] = []
        while (char := self._take()) and (char != "]" or not members):
            if char == "\\":
                escaped = self._take()
                members.extend(_CLASSES.get(escaped, _CONTROLS.get(escaped, escaped)))
            elif self._peek() == "-" and self._pattern[self._at + 1 : self._at + 2] not in ("]", ""):
                self._at += 1
                members.extend(chr(code) for code in range(ord(char), ord(self._take()) + 1))
            else:
                members.append(char)
        if negated:
            return next((letter for letter in _PRINTABLE if letter not in members), "")
        return members[0] if members else ""

    def _quantified(self, atom: str) -> str:
        char = self._peek()
        if braces := _BRACES.match(self._pattern, self._at):
            self._at = braces.end()
            least = int(braces[1])
            most = least if braces[2] is None else int(braces[2] or max(least, self._repeat))
            times = max(least, min(most, self._repeat))
        elif char and char in "*+?":
            self._at += 1
            times = min(self._repeat, 1) if char == "?" else max(self._repeat, int(char == "+"))
        else:
            return atom
        if self._peek() in ("?", "+"):
            self._at += 1
        return atom * times

    def _peek(self) -> str:
        return self._pattern[self._at : self._at + 1]

    def _take(self) -> str:
        char = self._peek()
        self._at += 1
        return char
