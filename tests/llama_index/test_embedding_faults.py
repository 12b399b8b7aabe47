"""Faults of the service, through the embedding model: every vector or an error, and as few batches as there can be."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from dw_agents import InsufficientCredits, NotFound, PermissionDenied, ServiceError
from dw_agents.emulator import Fault
from llama_index.embeddings.dw_agents.errors import BadRequest, StepExpired
from tests.llama_index.vectors import EMBEDDING_MODEL, TEXTS, embedding_for, expected
from tests.llama_index.wire import nothing_runs, run_program

if TYPE_CHECKING:
    from dw_agents.emulator import Emulator
    from tests.llama_index.conftest import MakeEmulator

UPLOAD, CREATE, POLL, FETCH = "POST /files", "POST /batches", "GET /batches/{id}", "GET /files/{id}/content"


@pytest.mark.parametrize(
    "fault",
    [
        Fault("status", route=UPLOAD, status=503, times=1, retry_after=0.05),
        Fault("lost_reply", route=UPLOAD, times=1),
        Fault("status", route=CREATE, status=429, times=1, retry_after=0.05),
        Fault("lost_reply", route=CREATE, times=1),
        Fault("reset_body", route=CREATE, times=1),
        Fault("status", route=POLL, status=500, times=1),
        Fault("garbage", route=POLL, times=1),
        Fault("lost_reply", route=FETCH, times=1),
    ],
    ids=lambda fault: f"{fault.kind}-{fault.status}-{fault.route}",
)
async def test_whatever_passes_is_waited_for_and_paid_once(fault: Fault, emulator: Emulator) -> None:
    emulator.set_faults(fault)
    embedding = embedding_for(emulator, dimensions=8, on_unknown="raise")
    assert await embedding.aget_text_embedding_batch(TEXTS) == [expected(text) for text in TEXTS]
    assert emulator.counters.batches == 1


@pytest.mark.parametrize(
    ("status", "error"),
    [(400, BadRequest), (402, InsufficientCredits), (403, PermissionDenied), (404, NotFound)],
)
async def test_a_refusal_that_stays_is_raised_with_the_services_words(
    status: int, error: type[ServiceError], emulator: Emulator
) -> None:
    """Of a query, too, which is realtime."""
    emulator.faults.add("status", route=CREATE, status=status, message="because of reasons")
    emulator.faults.add("status", route="POST /embeddings", status=status, message="because of reasons")
    embedding = embedding_for(emulator)
    with pytest.raises(error, match="because of reasons"):
        await embedding.aget_text_embedding_batch(TEXTS)
    with pytest.raises(error, match="because of reasons"):
        await embedding.aget_query_embedding("deep water")


async def test_an_expired_batch_is_an_error(make_emulator: MakeEmulator) -> None:
    emulator = make_emulator(profile="openai")  # there a batch may expire
    emulator.faults.add("batch_expired", share=0.0)
    with pytest.raises(StepExpired):
        await embedding_for(emulator, max_retries=0).aget_text_embedding_batch(TEXTS)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_child_has_batches_of_its_own_and_both_exit(emulator: Emulator) -> None:
    program = f"""
        import os
        from llama_index.embeddings.dw_agents import DoublewordEmbedding

        embedding = DoublewordEmbedding({EMBEDDING_MODEL!r})
        assert len(embedding.get_text_embedding_batch(["a", "b"])) == 2
        child = os.fork()
        assert len(embedding.get_text_embedding_batch(["c", "d", str(child)])) == 3
        if child:
            assert os.waitpid(child, 0)[1] == 0
    """
    process = run_program(program, emulator)
    _, trouble = process.communicate(timeout=30)
    assert process.returncode == 0, trouble.decode()
    assert emulator.counters.batches == 3
    assert nothing_runs(emulator)
