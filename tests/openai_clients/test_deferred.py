"""``deferred`` turns a client that the user has, of whatever class, into one whose calls travel on a tier."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import openai
import pytest

from dw_agents.errors import ConfigurationError, InvalidStep, MissingAPIKey
from dw_agents.openai import deferred
from dw_agents.openai.family import family
from tests.openai_clients.support import EMBEDDING_MODEL, HELLO, KINDS, MODEL, Kind, collect, lines, result

if TYPE_CHECKING:
    from dw_agents import Engine
    from dw_agents.emulator import Emulator
    from tests.openai_clients.conftest import MakeClient


@pytest.mark.parametrize("kind", KINDS)
async def test_a_plain_client_travels_on_flex_and_itself_stays_as_it_is(
    emulator: Emulator, theirs: MakeClient, kind: Kind
) -> None:
    client = theirs(kind, default_headers={"X-Team": "fjords"})
    ours = deferred(client)
    assert type(ours) is type(client)
    answer = await result(ours.chat.completions.create(model=MODEL, messages=HELLO))
    assert answer.service_tier == "flex"
    assert (emulator.counters.flex, emulator.counters.realtime) == (1, 0)
    await result(client.chat.completions.create(model=MODEL, messages=HELLO))
    assert (emulator.counters.flex, emulator.counters.realtime) == (1, 1)
    assert {request.headers.get("X-Team") for request in emulator.requests} == {"fjords"}


@pytest.mark.parametrize("kind", KINDS)
async def test_settings_streams_and_copies_work_as_on_our_own_clients(
    emulator: Emulator, theirs: MakeClient, quick: Engine, kind: Kind
) -> None:
    ours = deferred(theirs(kind), service_tier="batch", completion_window="1h", engine=quick)
    chunks = await collect(ours.chat.completions.create(model=MODEL, messages=HELLO, stream=True))
    assert chunks[-1].choices[0].finish_reason == "stop"
    await result(ours.with_options(timeout=30).responses.create(model=MODEL, input="hello", service_tier="flex"))
    assert (emulator.counters.batch, emulator.counters.flex) == (1, 1)
    assert emulator.batches[0].window == "1h"
    assert quick.receipt().steps == 2
    assert (await result(ours.models.list())).data


@pytest.mark.parametrize("kind", KINDS)
async def test_a_client_of_ours_takes_other_settings(emulator: Emulator, ours: MakeClient, kind: Kind) -> None:
    client = ours(kind, service_tier="batch")
    again = deferred(client, service_tier="flex", run="nightly")
    assert (again.travel.service_tier, again.travel.run) == ("flex", "nightly")
    await result(again.chat.completions.create(model=MODEL, messages=HELLO))
    assert emulator.counters.flex == 1


@pytest.mark.parametrize("kind", KINDS)
async def test_an_azure_client_goes_where_it_is_told_with_the_key_for_there(
    emulator: Emulator, closing: list[Any], kind: Kind
) -> None:
    made = openai.AzureOpenAI if kind == "sync" else openai.AsyncAzureOpenAI
    azure: Any = made(azure_endpoint="http://127.0.0.1:9", api_key="of-azure", api_version="2026-01-01")
    closing.append(azure)
    ours = deferred(azure, api_key=emulator.api_key, base_url=emulator.base_url)
    assert type(ours) is type(azure)
    chat = await result(ours.chat.completions.create(model=MODEL, messages=HELLO))
    response = await result(ours.responses.create(model=MODEL, input="hello"))
    await result(ours.embeddings.create(model=EMBEDDING_MODEL, input="hello"))
    with pytest.warns(UserWarning, match="seed"):
        held = await result(ours.chat.completions.create(model=MODEL, messages=HELLO, seed=3))
    assert chat.choices[0].message.content == response.output_text == held.choices[0].message.content
    assert (emulator.counters.flex, emulator.counters.lines, emulator.counters.realtime) == (3, 1, 0)
    assert not [value for request in emulator.requests for value in request.headers.values() if "of-azure" in value]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_realtime_stream_of_an_azure_client_goes_where_it_is_told_too(
    emulator: Emulator, closing: list[Any], kind: Kind
) -> None:
    made = openai.AzureOpenAI if kind == "sync" else openai.AsyncAzureOpenAI
    azure: Any = made(azure_endpoint="http://127.0.0.1:9", api_key="of-azure", api_version="2026-01-01", max_retries=0)
    closing.append(azure)
    ours = deferred(azure, api_key=emulator.api_key, base_url=emulator.base_url, service_tier="priority")
    asked: dict[str, Any] = {"model": MODEL, "messages": HELLO}
    chunks = await collect(ours.chat.completions.create(**asked, stream=True, extra_query={"a": "b"}))
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert emulator.requests[-1].path.endswith("/v1/chat/completions?a=b")
    assert not [value for value in emulator.requests[-1].headers.values() if "of-azure" in value]
    with pytest.raises(InvalidStep) as caught:  # it would be polled where it is not
        await result(ours.responses.create(model=MODEL, input="hello", background=True))
    assert (caught.value.field, len(emulator.requests)) == ("background", 1)


@pytest.mark.parametrize("kind", KINDS)
async def test_an_azure_client_without_other_orders_goes_to_its_own_address_with_its_own_key(
    emulator: Emulator, closing: list[Any], kind: Kind
) -> None:
    made = openai.AzureOpenAI if kind == "sync" else openai.AsyncAzureOpenAI
    azure: Any = made(base_url=emulator.base_url, api_key=emulator.api_key, api_version="2026-01-01")
    closing.append(azure)
    ours = deferred(azure)
    assert (await result(ours.chat.completions.create(model=MODEL, messages=HELLO))).service_tier == "flex"
    assert (await result(ours.responses.create(model=MODEL, input="hello"))).service_tier == "flex"
    assert emulator.counters.flex == 2


def test_a_client_without_a_key_that_can_be_used_is_told_so(emulator: Emulator, theirs: MakeClient) -> None:
    with theirs() as plain:
        ours = deferred(plain, http_client=None)
        with pytest.raises(openai.AuthenticationError, match=r"deferred\(client, api_key=") as caught:
            ours.responses.create(model=MODEL, input="hello", extra_headers={"Authorization": openai.Omit()})
    assert isinstance(caught.value, MissingAPIKey)
    assert emulator.counters.requests == 0


async def test_an_http_client_may_be_given_for_what_is_passed_on(emulator: Emulator, theirs: MakeClient) -> None:
    seen: list[str] = []
    own = family().Client(event_hooks={"request": [lambda request: seen.append(request.url.path)]})
    ours = deferred(theirs(), http_client=own)
    ours.models.list()
    ours.responses.create(model=MODEL, input="hello")
    assert seen == ["/v1/models"]
    own.close()


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"service_tier": "cheap"}, "service_tier"),
        ({"completion_window": "1h"}, "completion_window"),
        ({"base_url": "nowhere"}, "base_url"),
    ],
)
def test_settings_that_cannot_hold_are_refused_by_name(
    theirs: MakeClient, settings: dict[str, Any], field: str
) -> None:
    with pytest.raises(openai.OpenAIError) as caught:
        deferred(theirs(), **settings)
    assert isinstance(caught.value, ConfigurationError)
    assert caught.value.field == field


async def test_several_clients_fill_one_batch(emulator: Emulator, theirs: MakeClient) -> None:
    import asyncio

    clients = [deferred(theirs("async"), service_tier="batch") for _ in range(3)]
    await asyncio.gather(*[client.chat.completions.create(model=MODEL, messages=HELLO) for client in clients])
    assert emulator.counters.batches == 1
    assert len(lines(emulator)) == 3
