"""Signs of life while a call waits.

Owns: what is told, and to whom, while nothing else can be told. LangGraph ends a node that makes no progress
for its ``idle_timeout``; a call that waits for a deferred answer makes none that it could see. Two signs are
given: the graph's own heartbeat, which no user code sees, and, for timeouts of graphs further out, one custom
callback event (``doubleword_heartbeat``), which is neither a token nor a message. Must not import the chat
model or langgraph.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any, Final

from langchain_core.callbacks import AsyncCallbackManager, CallbackManager
from langchain_core.runnables.config import (
    ensure_config,
    get_async_callback_manager_for_config,
    get_callback_manager_for_config,
)

if TYPE_CHECKING:
    from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun

    from dw_agents import Ticket

__all__ = ["HEARTBEAT_EVENT", "abeat", "beat"]

HEARTBEAT_EVENT: Final = "doubleword_heartbeat"


def beat(ticket: Ticket, run_manager: CallbackManagerForLLMRun | None) -> None:
    """Give both signs of life, from a synchronous call.

    Args:
        ticket: the call that waits; the event's data tell its ``status``, ``response_id`` and ``waited``
            seconds.
        run_manager: the model's run; without one (LangChain gives streams none) the enclosing run is told.
    """
    _touch_graph()
    if run_manager is not None:
        manager, run_id = CallbackManager(handlers=list(run_manager.handlers)), run_manager.run_id
        manager.add_tags(run_manager.tags)
        manager.add_metadata(run_manager.metadata)
    else:
        manager = get_callback_manager_for_config(ensure_config())
        if manager.parent_run_id is None:
            return
        run_id = manager.parent_run_id
    manager.on_custom_event(HEARTBEAT_EVENT, _data(ticket), run_id=run_id)


async def abeat(ticket: Ticket, run_manager: AsyncCallbackManagerForLLMRun | None) -> None:
    """Give both signs of life, from an asynchronous call; see ``beat``."""
    _touch_graph()
    if run_manager is not None:
        manager, run_id = AsyncCallbackManager(handlers=list(run_manager.handlers)), run_manager.run_id
        manager.add_tags(run_manager.tags)
        manager.add_metadata(run_manager.metadata)
    else:
        manager = get_async_callback_manager_for_config(ensure_config())
        if manager.parent_run_id is None:
            return
        run_id = manager.parent_run_id
    await manager.on_custom_event(HEARTBEAT_EVENT, _data(ticket), run_id=run_id)


def _data(ticket: Ticket) -> dict[str, Any]:
    return {
        "status": ticket.status,
        "response_id": ticket.response_id,
        "waited": round(time.monotonic() - ticket.submitted_at, 3),
    }


def _touch_graph() -> None:
    runtime_module = sys.modules.get("langgraph.runtime")
    if runtime_module is None:
        return  # no graph can be running
    try:
        runtime = runtime_module.get_runtime()
    except (RuntimeError, KeyError):
        return  # langgraph is imported, but this call is not inside a graph
    touch = getattr(runtime, "heartbeat", None)
    if touch is not None:
        touch()
