"""Files and batches as clients read them, in both dialects.

Owns: the shapes. Pure; must not import routes, the runner or the service. Doubleword leaves away what has no value;
OpenAI shows it as ``null``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dw_agents.emulator.batchstore import Batch
    from dw_agents.emulator.filestore import StoredFile

__all__ = ["analytics_object", "batch_object", "file_object"]

_STAMPS = (
    "in_progress_at",
    "finalizing_at",
    "completed_at",
    "failed_at",
    "expired_at",
    "cancelling_at",
    "cancelled_at",
)
_SOURCE = {
    "context_name": "Personal",
    "context_type": "personal",
    "created_by_email": "user@emulator.invalid",
    "request_source": "api",
}


def file_object(file: StoredFile, now: float, *, openai: bool) -> dict[str, Any]:
    """One file.

    Args:
        file: the file.
        now: service time: a file past its time shows as expired.
        openai: in OpenAI's dialect.
    """
    shown: dict[str, Any] = {
        "id": file.id,
        "object": "file",
        "bytes": file.spool.size,
        "created_at": int(file.created),
        "filename": file.filename,
        "purpose": file.purpose,
    }
    if openai:
        return {
            **shown,
            "status": "processed",
            "status_details": None,
            "expires_at": None if file.expires is None else int(file.expires),
        }
    if file.expires is not None:
        shown["expires_at"] = int(file.expires)
        if now >= file.expires:
            shown["status"] = "expired"
    return {
        **shown,
        "created_by_email": _SOURCE["created_by_email"],
        "context_name": _SOURCE["context_name"],
        "context_type": _SOURCE["context_type"],
        "source": _SOURCE["request_source"],
    }


def batch_object(batch: Batch, now: float, *, openai: bool) -> dict[str, Any]:
    """One batch.

    Args:
        batch: the batch.
        now: service time: Doubleword shows ``expired_at`` on every batch that is past its window, whatever
            became of it, and never the status ``expired``.
        openai: in OpenAI's dialect.
    """
    counts = {"total": batch.total, "completed": batch.completed, "failed": batch.failed}
    shown: dict[str, Any] = {
        "id": batch.id,
        "object": "batch",
        "endpoint": batch.endpoint,
        "input_file_id": "" if batch.input is None else batch.input.id,
        "completion_window": batch.window,
        "status": batch.state,
        "created_at": int(batch.created),
        "expires_at": int(batch.expires),
        "request_counts": counts,
    }
    if batch.problems:
        shown["errors"] = {"object": "list", "data": batch.problems}
    over = not batch.unfinished
    if not batch.hides_output and (not openai or (over and len(batch.output.spool))):
        shown["output_file_id"] = batch.output.id
    if not openai or (over and len(batch.errors.spool)):
        shown["error_file_id"] = batch.errors.id
    for name in _STAMPS:
        if name in batch.stamps:
            shown[name] = int(batch.stamps[name])
    if openai:
        nulls = dict.fromkeys(("errors", "output_file_id", "error_file_id", *_STAMPS))
        return {**nulls, **shown, "metadata": batch.metadata}
    if now >= batch.expires:
        shown["expired_at"] = int(batch.expires)
    shown["metadata"] = {**(batch.metadata or {}), **_SOURCE}
    return shown


def analytics_object(batch: Batch) -> dict[str, Any]:
    """The token counts of a batch; costs are left away: no prices are set here."""
    done = batch.completed + batch.failed
    usage = batch.usage
    shown: dict[str, Any] = {
        "total_requests": batch.total,
        "total_prompt_tokens": usage["prompt"],
        "total_completion_tokens": usage["completion"],
        "total_tokens": usage["prompt"] + usage["completion"],
    }
    if usage["reasoning"]:
        shown["total_reasoning_tokens"] = usage["reasoning"]
    if done:
        shown["avg_duration_ms"] = 1000 * batch.busy / done
    return shown
