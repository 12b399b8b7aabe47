"""One rule of what goes wrong: its kind, when its turn comes, and its text form.

Owns: ``Fault`` and the families of kinds. Must not import the server.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = [
    "ARRIVAL_KINDS",
    "BATCH_KINDS",
    "DOWNLOAD_KINDS",
    "EARLY_ENDS",
    "JOB_KINDS",
    "LINE_KINDS",
    "REPLY_KINDS",
    "Fault",
]

ARRIVAL_KINDS = frozenset({"garbage", "lost_request", "rate_limit", "redirect", "slow", "stall", "status"})
"""Kinds that strike before the request is handled: nothing is accepted (``slow`` only delays)."""

REPLY_KINDS = frozenset({"lost_reply", "reset_body", "slow_reply", "stall_reply"})
"""Kinds that strike after the request was handled: a submission was accepted."""

JOB_KINDS = frozenset(
    {
        "cancelled",
        "fail_job",
        "omit_usage",
        "omit_usage_details",
        "parallel_calls",
        "reasoning",
        "refuse",
        "truncate",
    }
)
"""Kinds that strike the model call behind an accepted request, or behind a line of a batch."""

LINE_KINDS = frozenset(
    {
        "duplicate_line",
        "fail_line",
        "inline_error",
        "malformed_line",
        "missing_line",
        "unknown_custom_id",
        "unknown_finish_reason",
    }
)
"""Kinds that strike one line of a batch."""

EARLY_ENDS = frozenset({"batch_cancelled", "batch_expired", "batch_failed"})
"""Kinds that end a batch before its time."""

BATCH_KINDS = EARLY_ENDS | {"no_output_file"}
"""Kinds that strike a whole batch."""

DOWNLOAD_KINDS = frozenset({"paged_download"})
"""Kinds that strike the download of a file."""

_KINDS = ARRIVAL_KINDS | REPLY_KINDS | JOB_KINDS | LINE_KINDS | BATCH_KINDS | DOWNLOAD_KINDS
_USUAL_STATUS = {"inline_error": 400, "redirect": 302}


@dataclass(frozen=True)
class Fault:
    """One rule: when its turn comes, something goes wrong.

    The kinds:

    * before handling, nothing accepted: ``lost_request`` (connection reset), ``status`` (an error reply),
      ``rate_limit`` (429 above ``per_second``), ``stall`` (no answer until the client leaves), ``slow``
      (handled after ``delay``), ``garbage`` (200 with a body that is no JSON), ``redirect`` (302 to
      ``location``);
    * after handling: ``lost_reply`` (reset before any byte), ``reset_body`` (reset in mid-body),
      ``slow_reply`` (answered after ``delay``), ``stall_reply`` (never answered);
    * in the model call: ``fail_job`` (fails with ``code``), ``cancelled`` (the service cancels it),
      ``truncate``, ``refuse``, ``reasoning`` (adds a reasoning item), ``parallel_calls`` (calls several tools
      at once), ``omit_usage``, ``omit_usage_details``; they strike lines of a batch as well;
    * in one line of a batch: ``fail_line`` (fails with ``code``: a line of the error file), ``inline_error`` (a
      line of the output file with ``status``), ``malformed_line`` (cut in half), ``missing_line`` (done, but in
      no file), ``duplicate_line`` (twice), ``unknown_custom_id`` (under an id that nobody gave),
      ``unknown_finish_reason``;
    * in a whole batch, once ``share`` of its lines are done: ``batch_failed``, ``batch_expired``,
      ``batch_cancelled``; and at its end: ``no_output_file`` (completed without one);
    * in a download: ``paged_download`` (a request without ``limit`` gets ``page`` lines and
      ``X-Incomplete: true``).

    Attributes:
        kind: one of the above.
        route: a route label such as ``"POST /responses"``, or a method alone; ``None`` means every route. For
            a model call it is the route that submitted it: for a batch and its lines ``"POST /batches"``.
        times: how often it may fire; ``None`` means without end.
        rate: chance to fire, 0 to 1, drawn from the seed.
        after: how many matching requests pass first.
        match: text that the path or the body must contain, or a function of path and body. An upload is judged
            by its path alone, before its body is read; a line by its ``url`` and its text.
        status: for ``status`` the HTTP status, by default 500; for ``inline_error`` by default 400; for
            ``redirect`` by default 302.
        code: for ``fail_job`` and ``fail_line``: the upstream HTTP status, or ``None`` for a network error
            without one.
        retry_after: seconds in ``Retry-After``, by the client's clock; ``None`` leaves the header away.
        delay: for the slow kinds: service seconds.
        message: text of the error, in place of the usual one.
        location: for ``redirect``: where to.
        per_second: for ``rate_limit``: requests accepted per service second.
        burst: for ``rate_limit``: how many may come at once; by default one second's worth, at least one.
        share: for the kinds that end a batch early: the part of its lines that is done by then, 0 to 1.
        page: for ``paged_download``: lines per answer.

    Raises:
        ValueError: an unknown kind, or a field out of range.
    """

    kind: str
    _: KW_ONLY
    route: str | None = None
    times: int | None = None
    rate: float = 1.0
    after: int = 0
    match: str | Callable[[str, bytes], bool] | None = None
    status: int = 0
    code: int | None = 500
    retry_after: float | None = None
    delay: float = 1.0
    message: str = ""
    location: str = ""
    per_second: float = 0.0
    burst: float | None = None
    share: float = 0.5
    page: int = 100

    def __post_init__(self) -> None:
        if not self.status:
            object.__setattr__(self, "status", _USUAL_STATUS.get(self.kind, 500))
        if self.kind not in _KINDS:
            raise ValueError(f"unknown kind of fault {self.kind!r}: use one of {', '.join(sorted(_KINDS))}")
        if not 0 <= self.rate <= 1:
            raise ValueError(f"rate is a chance between 0 and 1, not {self.rate!r}")
        if not 0 <= self.share <= 1:
            raise ValueError(f"share is a part between 0 and 1, not {self.share!r}")
        if self.page < 1:
            raise ValueError(f"page is a number of lines, at least 1, not {self.page!r}")
        if self.kind == "rate_limit" and not self.per_second > 0:
            raise ValueError("a rate_limit fault needs per_second, a number above zero")
        if self.kind == "redirect" and not self.location:
            raise ValueError("a redirect fault needs location, the address to send the client to")

    @classmethod
    def parse(cls, text: str) -> Fault:
        """Read a rule from a command line.

        Args:
            text: kind, colon, fields: ``"status:route=POST /responses,status=429,retry_after=1,times=3"``.

        Raises:
            ValueError: the text names an unknown kind or field, or a value cannot be read.
        """
        kind, _, rest = text.partition(":")
        rule: dict[str, Any] = {}
        for part in filter(None, (piece.strip() for piece in rest.split(","))):
            name, equals, value = part.partition("=")
            if not equals or name not in _READERS:
                raise ValueError(
                    f"cannot read {part!r} in the fault {text!r}: fields are {', '.join(sorted(_READERS))}"
                )
            rule[name] = _READERS[name](value)
        return cls(kind.strip(), **rule)

    def wants(self, route: str, path: str, body: bytes) -> bool:
        """Whether this request is one that the rule speaks of."""
        if self.route is not None and route != self.route and not route.startswith(f"{self.route} "):
            return False
        if self.match is None:
            return True
        if callable(self.match):
            return self.match(path, body)
        return self.match in path or self.match.encode() in body


def _optional_int(text: str) -> int | None:
    return None if text.lower() == "none" else int(text)


_READERS: Mapping[str, Callable[[str], Any]] = {
    "after": int,
    "burst": float,
    "code": _optional_int,
    "delay": float,
    "location": str,
    "match": str,
    "message": str,
    "page": int,
    "per_second": float,
    "rate": float,
    "retry_after": float,
    "route": str,
    "share": float,
    "status": int,
    "times": _optional_int,
}
