"""Answers in the form of a class.

Owns: the contracts of ``structured_predict``, its siblings and ``as_structured_llm``. Must not import any LLM.
"""
# ruff: noqa: S101 - these are tests, though they live in a package

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any

import pytest
from llama_index.core.callbacks import CallbackManager
from llama_index.core.prompts import ChatPromptTemplate, PromptTemplate
from pydantic import BaseModel, Field

from llama_index.llms.dw_agents.conformance.asking import Watch
from llama_index.llms.dw_agents.conformance.server import Contracts, Reply, Server, blocking, question, run

if TYPE_CHECKING:
    from llama_index.core.llms.function_calling import FunctionCallingLLM

__all__ = ["City", "StructuredContracts"]

WAYS = ("structured_predict", "astructured_predict", "stream_structured_predict", "astream_structured_predict")
PROMPT = PromptTemplate("Where is {place}?")


class City(BaseModel):
    """A city."""

    name: str = Field(description="its name")
    people: int = Field(description="how many live there")
    nickname: str | None = None


OSLO = {"name": "Oslo", "people": 717_710, "nickname": None}


def fill(llm: FunctionCallingLLM, way: str, **llm_kwargs: Any) -> list[Any]:
    """Fill a ``City`` in one of the four ways; return the object, or the stream's, as a list."""
    call = getattr(llm, way)
    if not way.startswith("a"):
        answer = call(City, PROMPT, llm_kwargs, place="Oslo")
        return list(answer) if "stream" in way else [answer]

    async def asked() -> list[Any]:
        answer = await call(City, PROMPT, llm_kwargs, place="Oslo")
        return [one async for one in answer] if isinstance(answer, AsyncGenerator) else [answer]

    return run(asked())


class StructuredContracts(Contracts):
    """Contracts of structured answers."""

    @pytest.mark.parametrize("way", WAYS)
    def test_a_class_is_filled(self, server: Server, way: str) -> None:
        """The last object of a stream is a whole one."""
        server.says(Reply(fills=OSLO))
        assert fill(server.llm(), way)[-1] == City(name="Oslo", people=717_710)

    @pytest.mark.parametrize("way", WAYS)
    def test_the_system_prompt_stands_first(self, server: Server, way: str) -> None:
        """In all four ways; the prompt's own variables are filled in."""
        server.says(Reply(fills=OSLO))
        fill(server.llm(system_prompt="Be exact."), way)
        asked = server.requests()[0]["messages"]
        assert [message["role"] for message in asked] == ["system", "user"]
        assert asked[0]["content"] == "Be exact."
        assert "Where is Oslo?" in asked[1]["content"]

    @pytest.mark.parametrize("way", WAYS)
    def test_an_answer_of_another_form_is_an_error_and_no_blank_object(self, server: Server, way: str) -> None:
        """Words where an object was asked for, or an object without what it must have."""
        for reply in (Reply("It is in Norway."), Reply(fills={"name": "Oslo"})):
            server.says(reply)
            with pytest.raises(Exception, match=r"City|people"):
                fill(server.llm(), way)

    @pytest.mark.parametrize("way", WAYS)
    def test_a_refusal_is_an_error_with_the_models_words(self, server: Server, way: str) -> None:
        """And no blank object."""
        server.says(Reply(refusal="I will not say."))
        with pytest.raises(Exception, match="I will not say"):
            fill(server.llm(), way)

    @pytest.mark.parametrize("way", WAYS)
    def test_an_answer_that_was_cut_is_an_error(self, server: Server, way: str) -> None:
        """And no object with the rest made up."""
        server.says(Reply('{"name": "Os', cut=True))
        with blocking(), pytest.raises(Exception, match="max_tokens"):
            fill(server.llm(max_tokens=5), way)

    @pytest.mark.parametrize("way", WAYS)
    def test_the_call_is_seen_by_callbacks(self, server: Server, way: str) -> None:
        """One call, one pair of events of the LLM, and one of the prediction around it."""
        server.says(Reply(fills=OSLO))
        with Watch() as watch:
            fill(server.llm(callback_manager=CallbackManager([watch])), way)
        assert len(watch.started) == len(watch.ended) == len(server.requests()) == 1
        around = [name for name in watch.events if name.startswith("LLMStructured") and "InProgress" not in name]
        assert around == ["LLMStructuredPredictStartEvent", "LLMStructuredPredictEndEvent"]

    @pytest.mark.parametrize("way", WAYS)
    def test_the_settings_of_the_llm_and_of_the_call_are_kept(self, server: Server, way: str) -> None:
        """A way of its own to the service would lose them."""
        server.says(Reply(fills=OSLO))
        llm = server.llm(max_tokens=500)
        fill(llm, way, temperature=0.25)
        asked = server.requests()[0]
        assert (asked["max_tokens"], asked["temperature"]) == (500, 0.25)

    def test_a_structured_llm_answers_in_json(self, server: Server) -> None:
        """Chat and complete, synchronously and not, with the object as ``raw``."""
        server.says(Reply(fills=OSLO))
        llm = server.llm().as_structured_llm(City)
        oslo = City(name="Oslo", people=717_710)
        for answer in (llm.chat(question()), llm.complete("Hi."), *llm.stream_chat(question())):
            assert answer.raw == oslo
        assert run(llm.achat(question())).raw == run(self.last(llm)).raw == oslo
        assert City.model_validate_json(llm.complete("Hi.").text) == oslo

    async def last(self, llm: Any) -> Any:
        """Return the last chunk of an asynchronous stream."""
        return [chunk async for chunk in await llm.astream_chat(question())][-1]

    def test_a_prompt_of_several_messages_keeps_their_roles(self, server: Server) -> None:
        """As chat prompts have them."""
        server.says(Reply(fills=OSLO))
        prompt: Any = ChatPromptTemplate.from_messages([("system", "Be {how}."), ("user", "Where?")])
        assert server.llm().structured_predict(City, prompt, how="exact").name == "Oslo"
        assert [message["role"] for message in server.requests()[0]["messages"]] == ["system", "user"]
