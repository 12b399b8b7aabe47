"""Run LLM agents on cheaper asynchronous inference.

Owns: the public names. Importing this is light: what they stand for is imported when first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__version__ = "0.1.0"

__all__ = [
    "Amount",
    "Answer",
    "AuthenticationFailed",
    "BadRequest",
    "ConfigurationError",
    "DeadlineExceeded",
    "DwAgentsError",
    "Engine",
    "EngineClosed",
    "EngineError",
    "EngineForked",
    "EngineLoopError",
    "InsufficientCredits",
    "InvalidStep",
    "JournalError",
    "Limits",
    "MalformedAnswer",
    "MissingAPIKey",
    "NotFound",
    "PermissionDenied",
    "Price",
    "Prices",
    "RateLimited",
    "Receipt",
    "Retries",
    "ServiceError",
    "ServiceFailed",
    "ServiceUnreachable",
    "Step",
    "StepCancelled",
    "StepError",
    "StepExpired",
    "StepLost",
    "StepNotRecorded",
    "SubmissionUnknown",
    "Ticket",
    "__version__",
]

_HOMES = {
    "Amount": "receipt",
    "Answer": "ticket",
    "Engine": "engine",
    "Limits": "schedule.window",
    "Price": "prices",
    "Prices": "prices",
    "Receipt": "receipt",
    "Retries": "schedule.retries",
    "Step": "step",
    "Ticket": "ticket",
}

if TYPE_CHECKING:
    from dw_agents.engine import Engine
    from dw_agents.errors import (
        AuthenticationFailed,
        BadRequest,
        ConfigurationError,
        DeadlineExceeded,
        DwAgentsError,
        EngineClosed,
        EngineError,
        EngineForked,
        EngineLoopError,
        InsufficientCredits,
        InvalidStep,
        JournalError,
        MalformedAnswer,
        MissingAPIKey,
        NotFound,
        PermissionDenied,
        RateLimited,
        ServiceError,
        ServiceFailed,
        ServiceUnreachable,
        StepCancelled,
        StepError,
        StepExpired,
        StepLost,
        StepNotRecorded,
        SubmissionUnknown,
    )
    from dw_agents.prices import Price, Prices
    from dw_agents.receipt import Amount, Receipt
    from dw_agents.schedule.retries import Retries
    from dw_agents.schedule.window import Limits
    from dw_agents.step import Step
    from dw_agents.ticket import Answer, Ticket


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    value: object = getattr(importlib.import_module(f"{__name__}.{_HOMES.get(name, 'errors')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
