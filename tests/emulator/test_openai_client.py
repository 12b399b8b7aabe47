"""The emulator as an unmodified OpenAI client sees it."""

from __future__ import annotations

import io
import time
from typing import TYPE_CHECKING, Literal

import openai
import pytest

from dw_agents.emulator import Emulator, Fault
from tests.emulator.batch_support import encode, lines

if TYPE_CHECKING:
    from collections.abc import Iterator

    from openai.types import Batch
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


@pytest.fixture(params=["doubleword", "openai"])
def profiled(request: pytest.FixtureRequest) -> Iterator[tuple[openai.OpenAI, Emulator]]:
    """A client of an emulator, in both profiles."""
    with (
        Emulator(profile=request.param) as emulator,
        openai.OpenAI(base_url=emulator.base_url, api_key=emulator.api_key, max_retries=0) as client,
    ):
        yield client, emulator


def _create(client: openai.OpenAI, count: int) -> Batch:
    file = client.files.create(file=("in.jsonl", io.BytesIO(encode(lines(count)))), purpose="batch")
    return client.batches.create(
        input_file_id=file.id, endpoint="/v1/responses", completion_window="24h", metadata={"run": "7"}
    )


def test_a_batch_goes_from_upload_to_answers(profiled: tuple[openai.OpenAI, Emulator]) -> None:
    client, emulator = profiled
    batch = _create(client, 3)
    deadline = time.monotonic() + 10
    while batch.status != "completed":
        assert time.monotonic() < deadline
        batch = client.batches.retrieve(batch.id)
    assert batch.output_file_id is not None
    text = client.files.content(batch.output_file_id).text

    assert len(text.splitlines()) == 3
    assert batch.request_counts is not None
    assert batch.request_counts.completed == 3
    assert batch.metadata is not None
    assert batch.metadata["run"] == "7"
    assert [one.id for one in client.batches.list()] == [batch.id]
    assert emulator.counters.batch == 3


@pytest.mark.parametrize(("profile", "said"), [("doubleword", "cancelled"), ("openai", "cancelling")])
def test_a_batch_is_cancelled(profile: Literal["doubleword", "openai"], said: str) -> None:
    with (
        Emulator(profile=profile, batch_latency=60) as emulator,
        openai.OpenAI(base_url=emulator.base_url, api_key=emulator.api_key, max_retries=0) as client,
    ):
        batch = _create(client, 3)
        answered = client.batches.cancel(batch.id)
        deadline = time.monotonic() + 10
        while emulator.running_batches():
            assert time.monotonic() < deadline

        assert answered.status == said
        assert client.batches.retrieve(batch.id).status == "cancelled"


def test_files_are_listed_read_and_deleted(profiled: tuple[openai.OpenAI, Emulator]) -> None:
    client, _ = profiled
    made = [client.files.create(file=("in.jsonl", io.BytesIO(encode(lines(1)))), purpose="batch") for _ in range(25)]

    assert [file.id for file in client.files.list()] == [file.id for file in reversed(made)]
    assert client.files.retrieve(made[0].id).filename == "in.jsonl"
    assert client.files.delete(made[0].id).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(made[0].id)


def test_an_upload_that_breaks_a_rule_raises_what_the_client_raises_for_it(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.files.create(file=("in.jsonl", io.BytesIO(b"{}")), purpose="batch")

    assert caught.value.response.text.startswith("Invalid JSON on line 1")
