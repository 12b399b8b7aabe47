"""The errors of ``DoublewordEmbedding``: LlamaIndex passes them on as they are, and nothing of them is lost."""

from __future__ import annotations

import inspect
import pickle
from typing import TYPE_CHECKING

import pytest
from llama_index.core import VectorStoreIndex
from llama_index.core.schema import TextNode

import dw_agents
from dw_agents import errors as core
from llama_index.embeddings.dw_agents import errors
from tests.llama_index.loops import own_loop
from tests.llama_index.vectors import Numbers, embedding_for

if TYPE_CHECKING:
    from dw_agents.emulator import Emulator
    from tests.llama_index.conftest import MakeEmulator

__all__ = ["own_loop"]

KINDS = [
    kind for _, kind in inspect.getmembers(core, inspect.isclass) if issubclass(kind, core.DwAgentsError)
]  # fmt: skip


def raised(error: BaseException) -> BaseException:
    with pytest.raises(BaseException) as caught, errors.in_llama_index_terms():
        raise error
    return caught.value


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_no_error_of_a_call_is_one_that_llama_index_takes_for_its_own(kind: type[core.DwAgentsError]) -> None:
    told = raised(kind("what happened"))
    assert not isinstance(told, ValueError | RuntimeError | TypeError)
    assert isinstance(told, dw_agents.DwAgentsError)
    assert isinstance(told, dw_agents.StepError) == issubclass(kind, dw_agents.StepError)
    assert isinstance(told, dw_agents.ServiceError) == issubclass(kind, dw_agents.ServiceError)
    assert getattr(told, "retryable", None) == getattr(kind, "retryable", None)
    assert str(told) == "what happened"


@pytest.mark.parametrize("name", [name for name in errors.__all__ if name[0].isupper()])
def test_each_twin_has_the_name_of_the_error_it_stands_for(name: str) -> None:
    assert type(raised(getattr(core, name)("what happened"))) is getattr(errors, name)


def test_what_llama_index_leaves_alone_stays_what_it_is() -> None:
    for error in (core.RateLimited("slower"), core.DeadlineExceeded("late"), KeyError("other")):
        assert raised(error) is error


def test_a_twin_keeps_the_attributes_and_survives_a_pickle(emulator: Emulator) -> None:
    emulator.faults.add("inline_error", status=400, message="too many tokens")
    with pytest.raises(errors.BadRequest) as caught:
        embedding_for(emulator).get_text_embedding_batch(["a"])
    assert caught.value.status == 400
    assert caught.value.ticket is not None
    twin = pickle.loads(pickle.dumps(caught.value))
    assert (type(twin), str(twin), twin.status) == (errors.BadRequest, str(caught.value), 400)
    with pytest.raises(errors.InvalidStep) as refused:
        embedding_for(emulator).get_text_embedding_batch(["a", None])  # type: ignore[list-item]
    assert refused.value.field == "texts[1]"


def test_a_synchronous_method_of_llama_index_that_runs_asynchronous_ones_tells_the_reason(
    make_emulator: MakeEmulator,
) -> None:
    """Its ``asyncio_run`` would call a ``RuntimeError`` nested async."""
    embedding = embedding_for(make_emulator(backend=Numbers(missing=True)))
    with pytest.raises(errors.MalformedAnswer, match="1 vectors for 2 texts"):
        VectorStoreIndex([TextNode(text="a 1"), TextNode(text="b 2")], embed_model=embedding, use_async=True)
