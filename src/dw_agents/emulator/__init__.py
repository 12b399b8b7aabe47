"""The emulator: a local server that behaves like the Doubleword inference API.

Owns: the public names, loaded when they are first used. Start one with ``python -m dw_agents.emulator``, with
``with Emulator() as emulator:``, or with the pytest fixture in ``dw_agents.emulator.fixtures``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dw_agents.emulator.accounts import Account
    from dw_agents.emulator.backends import make_backend
    from dw_agents.emulator.backends.base import Backend, UpstreamError
    from dw_agents.emulator.batchstore import Batch
    from dw_agents.emulator.counters import Counters, CounterSnapshot
    from dw_agents.emulator.fault import Fault
    from dw_agents.emulator.faults import Faults
    from dw_agents.emulator.filestore import StoredFile
    from dw_agents.emulator.jobs import Job
    from dw_agents.emulator.server import Emulator

__all__ = [
    "Account",
    "Backend",
    "Batch",
    "CounterSnapshot",
    "Counters",
    "Emulator",
    "Fault",
    "Faults",
    "Job",
    "StoredFile",
    "UpstreamError",
    "make_backend",
]

_HOMES = {
    "Account": "accounts",
    "Backend": "backends.base",
    "Batch": "batchstore",
    "CounterSnapshot": "counters",
    "Counters": "counters",
    "Emulator": "server",
    "Fault": "fault",
    "Faults": "faults",
    "Job": "jobs",
    "StoredFile": "filestore",
    "UpstreamError": "backends.base",
    "make_backend": "backends",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
