"""Who may call: keys, the accounts behind them, and what each account may do.

Owns: looking a key up in the headers and the rolling cap of unverified accounts. Must not import routes or
jobs.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["Account", "Accounts", "bearer"]

_HOUR = 3600.0


@dataclass(frozen=True)
class Account:
    """One key and what it may do.

    Attributes:
        key: the secret that clients send.
        owner: the user or organisation that it belongs to; keys of one owner read each other's responses.
            By default the key stands for an owner of its own.
        background_role: may use ``service_tier: "background"``.
        has_credits: the balance is above zero. Without: realtime answers 402 at once, flex accepts and fails
            later.
        in_debt: the balance is below zero: batches are refused with 402 as well.
        batch_role: may create batches.
        models: the models that the key may use; ``None`` means all.
        unverified_limit: submissions accepted per rolling hour while the account is unverified, and lines of
            batches per hour of their window; ``None``: no cap.
    """

    key: str
    owner: str = ""
    background_role: bool = False
    has_credits: bool = True
    in_debt: bool = False
    batch_role: bool = True
    models: frozenset[str] | None = None
    unverified_limit: int | None = None
    _submitted: deque[float] = field(default_factory=deque, repr=False, compare=False)
    _in_batches: deque[tuple[float, int]] = field(default_factory=deque, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.owner:
            object.__setattr__(self, "owner", self.key)

    def may_use(self, model: str) -> bool:
        """Whether the key sees ``model``."""
        return self.models is None or model in self.models

    def take_submission(self, now: float) -> bool:
        """Count one submission against the unverified cap; false (and not counted) when the cap is reached.

        Args:
            now: service time, in seconds.
        """
        if self.unverified_limit is None:
            return True
        while self._submitted and self._submitted[0] <= now - _HOUR:
            self._submitted.popleft()
        if len(self._submitted) >= self.unverified_limit:
            return False
        self._submitted.append(now)
        return True

    def take_batch(self, lines: int, window: float, now: float) -> bool:
        """Count the lines of a batch against the unverified cap; false (and not counted) when they exceed it.

        Args:
            lines: how many.
            window: the completion window, in seconds: the cap rolls over it and grows with it.
            now: service time, in seconds.
        """
        if self.unverified_limit is None:
            return True
        taken = sum(number for at, number in self._in_batches if at > now - window)
        if taken + lines > self.unverified_limit * window / _HOUR:
            return False
        self._in_batches.append((now, lines))
        return True


class Accounts:
    """The keys that the emulator accepts.

    Raises:
        ValueError: no key at all, or the same key twice.
    """

    def __init__(self, keys: Iterable[str | Account]) -> None:
        self._by_key: dict[str, Account] = {}
        for entry in keys:
            account = entry if isinstance(entry, Account) else Account(entry)
            if account.key in self._by_key:
                raise ValueError("api_keys holds the same key twice: give each account its own")
            self._by_key[account.key] = account
        if not self._by_key:
            raise ValueError("api_keys is empty: give at least one key that clients can use")

    @property
    def first_key(self) -> str:
        """The first key given."""
        return next(iter(self._by_key))

    def known(self, key: str | None) -> Account | None:
        """The account of a key, or none."""
        return self._by_key.get(key) if key is not None else None

    def solvent(self, owner: str) -> bool:
        """Whether any account of this owner has credits left."""
        return any(account.has_credits for account in self._by_key.values() if account.owner == owner)


def bearer(headers: Mapping[str, str]) -> str | None:
    """The key in the ``Authorization`` header, or none when there is no bearer token."""
    value = headers.get("Authorization")
    if value is None or not value.startswith("Bearer ") or not value[7:].strip():
        return None
    return value[7:].strip()
