"""Where the key, the address and the defaults come from.

Owns: the resolution order (argument, environment, the files that the ``dw`` CLI writes) and the checks on what was
found. Must not import the engine or anything that does network I/O.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from dw_agents.errors import ConfigurationError, MissingAPIKey

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping

    from dw_agents.schedule.retries import Retries
    from dw_agents.schedule.window import Limits
    from dw_agents.step import OnUnknown

__all__ = ["DEFAULT_BASE_URL", "Account", "Secret", "Settings", "check_headers", "resolve_account"]

DEFAULT_BASE_URL: Final = "https://api.doubleword.ai/v1"
KEY_VARIABLE: Final = "DOUBLEWORD_API_KEY"
URL_VARIABLES: Final = ("DOUBLEWORD_BASE_URL", "DOUBLEWORD_API_BASE")
KEY_SETTINGS: Final = "api_key=..., the environment variable DOUBLEWORD_API_KEY, or `dw login` (~/.dw/credentials.toml)"


class Secret:
    """A string that shows itself only when asked: not in reprs, logs, tracebacks or pickles.

    Args:
        value: the secret text.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def get_secret_value(self) -> str:
        """Return the text itself (the name that pydantic's ``SecretStr`` uses)."""
        return self._value

    def __repr__(self) -> str:
        return "Secret('**********')"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> Any:
        raise TypeError("a Secret is not pickled: resolve the key again where it is needed")


@dataclass(frozen=True, slots=True)
class Account:
    """Whose work it is and where it goes: equal accounts share one engine.

    Attributes:
        api_key: sent as ``Authorization: Bearer`` to ``base_url``'s host and to no other.
        base_url: absolute, without a trailing slash, ending in the version segment (``.../v1``).
    """

    api_key: Secret
    base_url: str


@dataclass(frozen=True)
class Settings:
    """What the user chose of an engine; see ``Engine`` for the meaning and the defaults."""

    on_unknown: OnUnknown
    retries: Retries | None
    headers: Mapping[str, str] = field(repr=False)
    ssl_context: ssl.SSLContext | None
    max_polls_per_second: float
    batch_limits: Limits | None
    journal: object = None
    run: str = ""
    flex_bursts: str = "responses"


def resolve_account(api_key: object = None, base_url: str | None = None, *, home: Path | None = None) -> Account:
    """Find the key and the address: argument, then environment, then ``~/.dw``.

    Args:
        api_key: a string, an object with ``get_secret_value()``, or a function that returns the string.
        base_url: for example ``"https://api.doubleword.ai/v1"``, which is also the default.
        home: the directory that holds ``.dw`` (default: the user's home).

    Raises:
        MissingAPIKey: no key anywhere.
        ConfigurationError: a value that cannot be used; names the field.
    """
    return Account(_key(api_key, home), _address(base_url))


def check_headers(headers: Mapping[str, object]) -> None:
    """Refuse headers that HTTP cannot carry.

    Raises:
        ConfigurationError: names the header.
    """
    for name, value in headers.items():
        good = isinstance(name, str) and isinstance(value, str) and name.isascii()
        if not good or not name.strip() or any(char in f"{name}{value}" for char in "\r\n\0"):
            raise ConfigurationError(
                f"headers[{name!r}] must be one line of text, with a name of plain letters.", field="headers"
            )


def _key(given: object, home: Path | None) -> Secret:
    found = _reveal(given)
    if found is None:
        found = os.environ.get(KEY_VARIABLE) or _key_from_files(home if home is not None else Path.home())
    if not found:
        raise MissingAPIKey(f"No API key: give {KEY_SETTINGS}.", field="api_key")
    found = found.strip()
    if not found or not found.isascii() or not found.isprintable() or " " in found:
        raise ConfigurationError(
            "api_key is empty or holds characters that an HTTP header cannot carry; copy it again.",
            field="api_key",
        )
    return Secret(found)


def _reveal(given: object) -> str | None:
    if given is None or isinstance(given, str):
        return given
    reveal: Callable[[], object] | None = getattr(given, "get_secret_value", None)
    if reveal is None and callable(given):
        reveal = given
    value = reveal() if reveal is not None else None
    if not isinstance(value, str):
        raise ConfigurationError(
            f"api_key must be a string, a SecretStr or a function that returns a string, not {type(given).__name__}.",
            field="api_key",
        )
    return value


def _key_from_files(home: Path) -> str | None:
    """Read what ``dw login`` wrote: ``active_account`` and ``[accounts.<name>] inference_key``."""
    folder = home / ".dw"
    config, credentials = _toml(folder / "config.toml"), _toml(folder / "credentials.toml")
    accounts = credentials.get("accounts")
    name = config.get("active_account", credentials.get("active_account"))
    if not isinstance(accounts, dict) or not isinstance(name, str):
        return None
    account = accounts.get(name)
    key = account.get("inference_key") if isinstance(account, dict) else None
    return key if isinstance(key, str) else None


def _toml(path: Path) -> dict[str, Any]:
    import tomllib

    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(
            f"~/.dw/{path.name} cannot be read ({type(error).__name__}); mend it, or give {KEY_SETTINGS}.",
            field="api_key",
        ) from None


def _address(given: str | None) -> str:
    found = given
    for variable in URL_VARIABLES:
        found = found or os.environ.get(variable)
    found = (found or DEFAULT_BASE_URL).strip().rstrip("/")
    try:
        parts = urlsplit(found)
        valid = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid:
        raise ConfigurationError(
            # Not repeated here: a key may have been put into the wrong argument.
            f"base_url is no http(s) address; for example {DEFAULT_BASE_URL!r}.",
            field="base_url",
        )
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ConfigurationError(
            "base_url must hold no user, password, query or fragment; the key goes into api_key.",
            field="base_url",
        )
    return found
