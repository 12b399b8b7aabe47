"""What observers are told of a call: LlamaIndex's events, and a progress bar.

Owns: one start and one end for each slice of a call, in the callbacks and in the instrumentation, whatever becomes of
the call. Must not import the embedding model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from llama_index.core.callbacks.schema import CBEventType, EventPayload
from llama_index.core.instrumentation import get_dispatcher  # type: ignore[attr-defined]  # re-exported without a word
from llama_index.core.instrumentation.events.embedding import EmbeddingEndEvent, EmbeddingStartEvent
from tqdm.auto import tqdm  # type: ignore[import-untyped]  # it ships no types

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from llama_index.core.callbacks import CallbackManager

    from dw_agents import Answer
    from llama_index.embeddings.dw_agents.calls import Call, Slice

__all__ = ["Telling"]

_dispatcher = get_dispatcher(__name__)


class Telling:
    """Tells of a call from the beginning to the end of a ``with`` block.

    Args:
        call: whose slices are told of.
        callback_manager: the model's.
        model: what may be known of the model; see ``BaseEmbedding.to_payload``.
        show_progress: draw a bar, which grows as vectors arrive.
    """

    def __init__(
        self, call: Call, callback_manager: CallbackManager, model: dict[str, Any], *, show_progress: bool
    ) -> None:
        self._call, self._callbacks, self._model = call, callback_manager, model
        self._open: dict[str, Slice] = {}
        self._bar = tqdm(total=len(call), desc="Generating embeddings", disable=not show_progress)

    def __enter__(self) -> Self:
        for part in self._call.slices:
            _dispatcher.event(EmbeddingStartEvent(model_dict=self._model))
            event_id = self._callbacks.on_event_start(
                CBEventType.EMBEDDING, payload={EventPayload.SERIALIZED.value: self._model}
            )
            self._open[event_id] = part
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()
        payload = {EventPayload.EXCEPTION.value: error} if isinstance(error, Exception) else None
        for event_id in self._open:  # those that nothing came of
            self._callbacks.on_event_end(CBEventType.EMBEDDING, payload=payload, event_id=event_id)
        if payload is not None:
            error.event_added = True  # type: ignore[union-attr]  # LlamaIndex's mark: events around this one keep quiet

    def read(self, answer: Answer) -> None:
        """Let the call read an answer, and move the bar."""
        self._bar.update(self._call.read(answer))

    def recall(self, place: int, kept: dict[str, Any] | None) -> None:
        """Take what the user's cache has for a text: a record of one vector, or nothing."""
        if kept:
            self._call.keep(place, next(iter(kept.values())))
            self._bar.update(1)

    def ends(self) -> Iterator[Slice]:
        """Tell the ends of all slices, one after the other; every text must have its vector."""
        while self._open:
            event_id, part = next(iter(self._open.items()))
            vectors = self._call.vectors(part)
            _dispatcher.event(EmbeddingEndEvent(chunks=part.texts, embeddings=vectors))
            payload = {EventPayload.CHUNKS.value: part.texts, EventPayload.EMBEDDINGS.value: vectors}
            del self._open[event_id]
            self._callbacks.on_event_end(CBEventType.EMBEDDING, payload=payload, event_id=event_id)
            yield part
