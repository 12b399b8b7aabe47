"""The emulator as an unmodified OpenAI client sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import openai
import pytest

from dw_agents.emulator import Emulator, Fault

if TYPE_CHECKING:
    from collections.abc import Iterator

    from openai.types.chat import ChatCompletionMessageParam

MODEL = "test/model"


@pytest.fixture
def server() -> Iterator[Emulator]:
    with Emulator() as emulator:
        yield emulator


@pytest.fixture
def client(server: Emulator) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=server.base_url, api_key=server.api_key, max_retries=0) as client:
        yield client


def test_a_background_response_is_created_read_and_deleted(client: openai.OpenAI, server: Emulator) -> None:
    made = client.responses.create(model=MODEL, input="hello", background=True, service_tier="flex")
    while (read := client.responses.retrieve(made.id)).status != "completed":
        pass
    client.responses.delete(made.id)

    assert "hello" in read.output_text
    assert read.usage is not None
    assert read.usage.total_tokens > 0
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(made.id)
    assert server.counters.flex == 1


def test_a_realtime_response_and_its_stream_parse(client: openai.OpenAI) -> None:
    made = client.responses.create(model=MODEL, input="hello")
    with client.responses.stream(model=MODEL, input="hello") as stream:
        text = "".join(event.delta for event in stream if event.type == "response.output_text.delta")

    assert text == made.output_text != ""


def test_a_chat_completion_and_its_stream_parse(client: openai.OpenAI) -> None:
    messages: list[ChatCompletionMessageParam] = [{"role": "user", "content": "hello"}]
    made = client.chat.completions.create(model=MODEL, messages=messages)
    chunks = client.chat.completions.create(model=MODEL, messages=messages, stream=True)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)

    assert text == made.choices[0].message.content != ""


def test_embeddings_parse_in_the_clients_own_base64(client: openai.OpenAI) -> None:
    made = client.embeddings.create(model=MODEL, input=["a", "b"], dimensions=8)

    assert [len(item.embedding) for item in made.data] == [8, 8]
    assert all(isinstance(value, float) for value in made.data[0].embedding)


def test_models_parse(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()]


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (401, openai.AuthenticationError),
        (403, openai.PermissionDeniedError),
        (404, openai.NotFoundError),
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
    ],
)
def test_injected_errors_raise_what_the_client_raises_for_them(
    client: openai.OpenAI, server: Emulator, status: int, error: type[openai.APIStatusError]
) -> None:
    server.set_faults(Fault("status", status=status))
    with pytest.raises(error):
        client.responses.create(model=MODEL, input="x", background=True, service_tier="flex")


def test_a_lost_reply_raises_a_connection_error(client: openai.OpenAI, server: Emulator) -> None:
    server.set_faults(Fault("lost_reply"))
    with pytest.raises(openai.APIConnectionError):
        client.responses.create(model=MODEL, input="x", background=True, service_tier="flex")

    assert server.counters.accepted == 1
