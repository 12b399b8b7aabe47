"""An answer's JSON, with the look of the SDK's objects that LangChain's converter reads.

Owns: attributes and ``model_dump`` over plain dicts. Building the SDK's own types costs ten times as much as all the
rest of the conversion, and they are thrown away at once. Pure; must not know what the fields mean.
"""

from __future__ import annotations

from typing import Any

__all__ = ["View"]


class View:
    """A JSON object that is read like one of the SDK's models.

    Args:
        fields: the object; not copied.
        optional: fields that read as None where they are missing, as a model's optional ones do.
    """

    __slots__ = ("_fields", "_optional")

    def __init__(self, fields: dict[str, Any], optional: frozenset[str] = frozenset()) -> None:
        self._fields = fields
        self._optional = optional

    def __getattr__(self, name: str) -> Any:
        try:
            value = self._fields[name]
        except KeyError:
            if name in self._optional:
                return None
            raise AttributeError(f"the answer has no field {name!r}") from None
        return _view(value)

    def model_dump(self, *, exclude_none: bool = False, **_: Any) -> dict[str, Any]:
        """Return the object as plain JSON, of its own.

        Args:
            exclude_none: whether to leave out what is null, on every level.
        """
        dumped: dict[str, Any] = _copy(self._fields, exclude_none=exclude_none)
        return dumped


def _view(value: Any) -> Any:
    if isinstance(value, dict):
        return View(value)
    if isinstance(value, list):
        return [_view(each) for each in value]
    return value


def _copy(value: Any, *, exclude_none: bool) -> Any:
    if isinstance(value, dict):
        return {
            key: _copy(each, exclude_none=exclude_none)
            for key, each in value.items()
            if each is not None or not exclude_none
        }
    if isinstance(value, list):
        return [_copy(each, exclude_none=exclude_none) for each in value]
    return value
