"""What does not travel on a tier is the service's own, sent as the SDK (or the user's HTTP client) sends it."""

from __future__ import annotations

import io
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Any

import openai
import pytest

from dw_agents.openai.family import family
from tests.openai_clients.support import EMBEDDING_MODEL, HELLO, KINDS, MODEL, Kind, collect, posts, result

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dw_agents.emulator import Emulator
    from tests.openai_clients.conftest import MakeClient


@pytest.mark.parametrize("kind", KINDS)
async def test_files_batches_and_models_work_as_ever(emulator: Emulator, ours: MakeClient, kind: Kind) -> None:
    client = ours(kind)
    text = b'{"custom_id":"a","method":"POST","url":"/v1/responses","body":{"model":"m","input":"x"}}\n'
    file = await result(client.files.create(file=("in.jsonl", io.BytesIO(text)), purpose="batch"))
    batch = await result(
        client.batches.create(input_file_id=file.id, endpoint="/v1/responses", completion_window="24h")
    )
    assert (await result(client.batches.retrieve(batch.id))).input_file_id == file.id
    assert (await result(client.files.content(file.id))).text.startswith('{"custom_id"')
    assert [model.id for model in await collect(client.models.list())]
    assert emulator.counters.flex == 0


@pytest.mark.parametrize("kind", KINDS)
async def test_a_background_response_of_the_users_own_is_theirs_to_poll(
    emulator: Emulator, ours: MakeClient, kind: Kind
) -> None:
    client = ours(kind)
    made = await result(client.responses.create(model=MODEL, input="hello", background=True))
    assert made.status == "queued"
    until = time.monotonic() + 10
    while (read := await result(client.responses.retrieve(made.id))).status != "completed":
        assert time.monotonic() < until
    assert "hello" in read.output_text
    await result(client.responses.delete(made.id))
    assert (emulator.counters.flex, emulator.counters.realtime) == (1, 0)
    assert posts(emulator)[0]["service_tier"] == "flex"


async def test_a_background_response_cannot_be_polled_in_a_batch(emulator: Emulator, ours: MakeClient) -> None:
    with pytest.raises(openai.BadRequestError, match="background=True") as caught:
        ours(service_tier="batch").responses.create(model=MODEL, input="hello", background=True)
    assert caught.value.param == "background"
    assert emulator.counters.requests == 0


@pytest.mark.parametrize("kind", KINDS)
async def test_a_background_stream_is_the_answer_as_events(emulator: Emulator, ours: MakeClient, kind: Kind) -> None:
    events = await collect(ours(kind).responses.create(model=MODEL, input="hello", background=True, stream=True))
    assert events[-1].type == "response.completed"
    assert emulator.counters.flex == 1


@pytest.mark.parametrize("kind", KINDS)
async def test_a_realtime_stream_is_the_services_own(emulator: Emulator, ours: MakeClient, kind: Kind) -> None:
    client = ours(kind, service_tier="priority")
    chunks = await collect(client.chat.completions.create(model=MODEL, messages=HELLO, stream=True))
    events = await collect(client.responses.create(model=MODEL, input="hello", stream=True))
    words = [event for event in events if event.type == "response.output_text.delta"]
    assert len(chunks) > 8
    assert len(words) > 5
    assert [body["service_tier"] for body in posts(emulator)] == ["priority", "priority"]
    assert emulator.counters.realtime == 2


@pytest.mark.parametrize("kind", KINDS)
async def test_what_only_realtime_can_do_is_done_at_realtime(emulator: Emulator, ours: MakeClient, kind: Kind) -> None:
    client = ours(kind, service_tier="priority")
    answer = await result(
        client.chat.completions.create(
            model=MODEL, messages=HELLO, n=2, logprobs=True, top_logprobs=2, extra_query={"colour": "red"}
        )
    )
    assert answer.choices
    sent = posts(emulator, "?colour=red")[0]
    assert (sent["n"], sent["logprobs"], sent["top_logprobs"]) == (2, True, 2)
    await result(client.embeddings.create(model=EMBEDDING_MODEL, input="a", extra_query={"colour": "red"}))
    assert "service_tier" not in posts(emulator, "?colour=red")[1]


@pytest.mark.parametrize("kind", KINDS)
async def test_an_http_client_of_the_users_own_sends_what_is_passed_on(
    emulator: Emulator, ours: MakeClient, kind: Kind
) -> None:
    seen: list[str] = []

    def note(request: Any) -> None:
        seen.append(request.url.path)

    async def note_later(request: Any) -> None:
        seen.append(request.url.path)

    hx = family()
    made = hx.Client if kind == "sync" else hx.AsyncClient
    own = made(
        headers={"X-Own": "yes"},
        cookies={"flavour": "oat"},
        timeout=33.0,
        event_hooks={"request": [note if kind == "sync" else note_later]},
    )
    client = ours(kind, http_client=own)
    await result(client.models.list())
    await result(client.with_options(max_retries=1).models.list())
    await result(client.responses.create(model=MODEL, input="hello"))
    assert seen == ["/v1/models"] * 2
    assert emulator.requests[0].headers["Cookie"] == "flavour=oat"
    assert {request.headers.get("X-Own") for request in emulator.requests} == {"yes"}
    assert client.timeout.read == 33.0
    assert emulator.counters.flex == 1
    client.engine.close()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("package", ["httpx", "httpx2"])
async def test_an_http_client_of_either_package_will_do(
    emulator: Emulator, ours: MakeClient, kind: Kind, package: str
) -> None:
    hx = pytest.importorskip(package)
    http_client = (hx.Client if kind == "sync" else hx.AsyncClient)()
    try:
        (openai.OpenAI if kind == "sync" else openai.AsyncOpenAI)(api_key="sk", http_client=http_client)
    except TypeError:
        pytest.skip(f"openai {openai.VERSION} itself takes no client of {package}")
    client = ours(kind, http_client=http_client)
    assert (await result(client.chat.completions.create(model=MODEL, messages=HELLO))).choices
    raw = await result(client.responses.with_raw_response.create(model=MODEL, input="hello"))
    assert type(raw.http_response).__module__.partition(".")[0] == package
    assert (await result(client.models.list())).data
    emulator.faults.add("status", route="POST /responses", status=400)
    with pytest.raises(openai.BadRequestError):
        await result(client.responses.create(model=MODEL, input="hello"))


def test_what_is_no_http_client_is_refused(ours: MakeClient) -> None:
    with pytest.raises(TypeError, match="httpx"):
        ours(http_client=object())


@pytest.mark.parametrize("kind", KINDS)
async def test_the_sdk_retries_what_is_passed_on_as_ever(emulator: Emulator, ours: MakeClient, kind: Kind) -> None:
    emulator.faults.add("status", route="GET /models", status=500, times=2, retry_after=0)
    assert (await result(ours(kind).models.list())).data
    assert emulator.counters["GET /models"] == 3


@pytest.mark.parametrize("kind", KINDS)
async def test_a_body_that_is_no_object_is_the_services_to_judge(
    emulator: Emulator, ours: MakeClient, kind: Kind
) -> None:
    with pytest.raises(openai.BadRequestError):
        await result(ours(kind).post("/responses", cast_to=object, body=["no object"]))
    assert emulator.counters["POST /responses"] == 1


class _Elsewhere(BaseHTTPRequestHandler):
    """A host that a redirect leads to; it notes what it is told."""

    told: list[Any]

    def do_GET(self) -> None:
        self.told.append(dict(self.headers))
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(b'{"object":"list","data":[]}')

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def elsewhere() -> Iterator[tuple[str, list[Any]]]:
    _Elsewhere.told = []
    with HTTPServer(("127.0.0.1", 0), _Elsewhere) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://localhost:{server.server_port}/", _Elsewhere.told
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("kind", KINDS)
async def test_a_redirect_to_another_host_is_followed_without_the_key(
    emulator: Emulator, ours: MakeClient, elsewhere: tuple[str, list[Any]], kind: Kind
) -> None:
    address, told = elsewhere
    emulator.faults.add("redirect", route="GET /models", location=address)
    assert (await result(ours(kind).models.list())).data == []
    assert [name for headers in told for name in headers if name.lower() == "authorization"] == []
    assert len(told) == 1


@pytest.mark.parametrize("kind", KINDS)
async def test_closing_a_client_closes_what_it_sent_with(emulator: Emulator, ours: MakeClient, kind: Kind) -> None:
    hx = family()
    own = hx.Client() if kind == "sync" else hx.AsyncClient()
    client = ours(kind, http_client=own)
    await result(client.models.list())
    await result(client.close())
    assert own.is_closed
    assert client.is_closed()
