"""How a call travels can be said to the client, to a copy of it, and to the call."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import openai
import pytest

from dw_agents import Engine, MissingAPIKey
from dw_agents.adapting import carry
from dw_agents.errors import ConfigurationError, InvalidStep
from dw_agents.openai import DoublewordWarning, OpenAI
from dw_agents.translate.travel import Travel
from tests.openai_clients.support import EMBEDDING_MODEL, HELLO, KINDS, MODEL, Kind, lines, posts, result

if TYPE_CHECKING:
    from pathlib import Path

    from dw_agents import Answer, Step
    from dw_agents.emulator import Emulator
    from tests.openai_clients.conftest import MakeClient


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("settings", "counted"),
    [
        ({}, "flex"),
        ({"service_tier": "flex"}, "flex"),
        ({"service_tier": "batch"}, "batch"),
        ({"service_tier": "priority"}, "realtime"),
    ],
)
async def test_the_clients_tier_is_taken_by_both_endpoints_and_named_in_the_answers(
    emulator: Emulator, ours: MakeClient, kind: Kind, settings: dict[str, Any], counted: str
) -> None:
    client = ours(kind, **settings)
    chat = await result(client.chat.completions.create(model=MODEL, messages=HELLO))
    response = await result(client.responses.create(model=MODEL, input="hello"))
    counts = emulator.counters.snapshot()
    assert getattr(counts, counted) == counts.flex + counts.batch + counts.realtime == 2
    assert chat.service_tier == response.service_tier == settings.get("service_tier", "flex")
    assert chat.id
    assert chat.choices[0].message.content == response.output_text


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "said",
    [
        {"service_tier": "batch", "extra_body": {"completion_window": "1h"}},
        {"extra_body": {"service_tier": "batch", "completion_window": "1h"}},
        {"extra_headers": {"X-DW-Agents-Service-Tier": "batch", "x-dw-agents-completion-window": "1h"}},
        {"service_tier": "batch", "extra_headers": {"X-DW-Agents-Completion-Window": "1h"}},
    ],
)
async def test_a_single_call_may_travel_otherwise(
    emulator: Emulator, ours: MakeClient, kind: Kind, said: dict[str, Any]
) -> None:
    client = ours(kind)
    await result(client.chat.completions.create(model=MODEL, messages=HELLO, **said))
    await result(client.chat.completions.create(model=MODEL, messages=HELLO))
    assert (emulator.counters.batch, emulator.counters.flex) == (1, 1)
    assert emulator.batches[0].window == "1h"
    assert lines(emulator)[0]["url"] == "/v1/chat/completions"
    assert set(lines(emulator)[0]["body"]) == {"model", "messages"}


@pytest.mark.parametrize("kind", KINDS)
async def test_copies_keep_the_settings_that_they_are_not_given(
    emulator: Emulator, ours: MakeClient, kind: Kind
) -> None:
    client = ours(kind, service_tier="batch", completion_window="1h", run="nightly")
    for copy in (client.with_options(timeout=30), client.copy(), client.with_options(label="a").copy(max_retries=1)):
        assert (copy.travel.service_tier, copy.travel.completion_window, copy.travel.run) == ("batch", "1h", "nightly")
        assert type(copy) is type(client)
    flex = client.with_options(service_tier="flex")
    assert (flex.travel.service_tier, flex.travel.completion_window, flex.travel.run) == ("flex", None, "nightly")
    await result(flex.chat.completions.create(model=MODEL, messages=HELLO))
    await result(client.with_options(timeout=30).chat.completions.create(model=MODEL, messages=HELLO))
    assert (emulator.counters.batch, emulator.counters.flex) == (1, 1)


async def test_auto_leaves_the_tier_to_the_client(emulator: Emulator, ours: MakeClient) -> None:
    answer = ours(service_tier="batch").chat.completions.create(model=MODEL, messages=HELLO, service_tier="auto")
    assert answer.service_tier == "batch"
    assert emulator.counters.batch == 1


@pytest.mark.parametrize(
    ("settings", "window"),
    [
        ({}, "1h"),
        ({"service_tier": "background"}, "24h"),
        ({"service_tier": "batch"}, "24h"),
        ({"service_tier": "batch", "completion_window": "1h"}, "1h"),
    ],
)
async def test_embeddings_go_by_batch_with_the_window_of_the_tiers_price(
    emulator: Emulator, ours: MakeClient, settings: dict[str, Any], window: str
) -> None:
    ours(**settings).embeddings.create(model=EMBEDDING_MODEL, input="a fjord")
    assert emulator.batches[0].window == window
    assert emulator.counters.realtime == 0


async def test_embeddings_of_a_call_may_take_another_window_or_be_realtime(
    emulator: Emulator, ours: MakeClient
) -> None:
    client = ours()
    client.embeddings.create(model=EMBEDDING_MODEL, input="a", extra_body={"completion_window": "24h"})
    client.embeddings.create(model=EMBEDDING_MODEL, input="b", extra_body={"service_tier": "priority"})
    assert emulator.batches[0].window == "24h"
    assert (emulator.counters.lines, emulator.counters.realtime) == (1, 1)


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ({"service_tier": "cheap"}, "service_tier"),
        ({"service_tier": "default"}, "service_tier"),
        ({"extra_body": {"completion_window": "1h"}}, "completion_window"),
        ({"extra_body": {"on_unknown": "guess"}}, "on_unknown"),
        ({"extra_body": {"run": 7}}, "run"),
        ({"extra_query": {"colour": "red"}}, "extra_query"),
        ({"timeout": -1}, "timeout"),
        ({"model": ""}, "model"),
    ],
)
async def test_a_setting_of_a_call_that_cannot_hold_is_refused_by_name_before_it_is_paid(
    emulator: Emulator, ours: MakeClient, said: dict[str, Any], field: str
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        ours().chat.completions.create(**{"model": MODEL, "messages": HELLO, **said})
    assert isinstance(caught.value, InvalidStep)
    assert (caught.value.field, caught.value.param) == (field, field)
    assert emulator.counters.requests == 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"service_tier": "cheap"}, "service_tier"),
        ({"completion_window": "1h"}, "completion_window"),
        ({"on_unknown": "guess"}, "on_unknown"),
        ({"base_url": "nowhere"}, "base_url"),
        ({"api_key": "two words"}, "api_key"),
    ],
)
def test_a_setting_of_the_client_that_cannot_hold_is_refused_by_name(
    emulator: Emulator, ours: MakeClient, kind: Kind, settings: dict[str, Any], field: str
) -> None:
    with pytest.raises(openai.OpenAIError) as caught:
        ours(kind, **settings)
    assert isinstance(caught.value, ConfigurationError)
    assert caught.value.field == field


def test_key_and_address_come_from_our_variables_and_never_from_openais(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_ADMIN_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.setenv(name, "sk-of-another-company")
    with pytest.raises(MissingAPIKey, match="DOUBLEWORD_API_KEY"):
        OpenAI()
    monkeypatch.setenv("DOUBLEWORD_API_KEY", emulator.api_key)
    monkeypatch.setenv("DOUBLEWORD_BASE_URL", emulator.base_url)
    with OpenAI() as client, client.with_options(timeout=5) as copy:
        for one in (client, copy):
            assert one.models.list().data
            one.chat.completions.create(model=MODEL, messages=HELLO)
    assert {value for request in emulator.requests for value in request.headers.values()}.isdisjoint(
        {"sk-of-another-company", "Bearer sk-of-another-company"}
    )


@pytest.mark.parametrize("kind", KINDS)
async def test_a_function_may_give_the_key(emulator: Emulator, ours: MakeClient, kind: Kind) -> None:
    async def later() -> str:
        return emulator.api_key

    client = ours(kind, api_key=(lambda: emulator.api_key) if kind == "sync" else later)
    assert (await result(client.chat.completions.create(model=MODEL, messages=HELLO))).choices
    assert (await result(client.models.list())).data


async def test_steps_of_one_account_share_an_engine_with_everything_else(emulator: Emulator, ours: MakeClient) -> None:
    client = ours()
    client.chat.completions.create(model=MODEL, messages=HELLO)
    engine = Engine.shared(api_key=emulator.api_key, base_url=emulator.base_url)
    assert client.engine is engine
    assert engine.receipt().steps == 1


async def test_an_engine_of_the_users_own_takes_the_calls(emulator: Emulator, ours: MakeClient, quick: Engine) -> None:
    client = ours(engine=quick)
    client.with_options(timeout=30).responses.create(model=MODEL, input="hello")
    assert client.engine is quick
    assert quick.receipt().steps == 1


async def test_default_headers_reach_the_service_on_every_route(emulator: Emulator, ours: MakeClient) -> None:
    client = ours(default_headers={"X-Team": "fjords"})
    client.chat.completions.create(model=MODEL, messages=HELLO)
    client.models.list()
    assert {request.headers.get("X-Team") for request in emulator.requests} == {"fjords"}
    client.engine.close()


async def test_a_header_of_a_single_call_that_does_not_arrive_is_said_once(
    emulator: Emulator, ours: MakeClient
) -> None:
    client = ours()
    with pytest.warns(DoublewordWarning, match="'x-team'.*default_headers"):
        client.chat.completions.create(model=MODEL, messages=HELLO, extra_headers={"x-team": "fjords"})
    client.chat.completions.create(model=MODEL, messages=HELLO, extra_headers={"x-team": "fjords"})
    assert emulator.counters.flex == 2


@pytest.mark.parametrize("kind", KINDS)
async def test_a_header_that_a_call_or_a_given_engine_has_otherwise_is_said_too(
    emulator: Emulator, ours: MakeClient, quick: Engine, kind: Kind
) -> None:
    asked: dict[str, Any] = {"model": MODEL, "input": "hello"}
    client = ours(kind, default_headers={"X-Team": "fjords"})
    await result(client.responses.create(**asked))  # as the engine sends it: warnings are errors here
    with pytest.warns(DoublewordWarning, match="'x-team'"):
        await result(client.responses.create(**asked, extra_headers={"X-Team": "lakes"}))
    carry.forget_warnings()
    with pytest.warns(DoublewordWarning, match="'x-team'.*engine of your own"):
        await result(client.with_options(engine=quick).responses.create(**asked))
    client.engine.close()


@pytest.mark.parametrize("kind", KINDS)
async def test_a_key_in_the_default_headers_is_the_one_that_is_used_and_whose_receipt_is_shown(
    emulator: Emulator, ours: MakeClient, kind: Kind
) -> None:
    headers = {"Authorization": f"Bearer {emulator.api_key}"}
    client = ours(kind, api_key="of-nobody", default_headers=headers)
    await result(client.responses.create(model=MODEL, input="hello"))
    assert client.engine.receipt().steps == 1


async def test_how_a_call_travels_never_reaches_the_service(emulator: Emulator, ours: MakeClient) -> None:
    client = ours()
    said: dict[str, Any] = {"run": "nightly", "scope": "a", "label": "b", "on_unknown": "raise"}
    headers = {"X-DW-Agents-Run": "nightly"}
    client.responses.create(model=MODEL, input="hello", extra_body=said, extra_headers=headers)
    client.chat.completions.create(model=MODEL, messages=HELLO, service_tier="batch", extra_body=said)
    list(
        client.chat.completions.create(
            model=MODEL, messages=HELLO, service_tier="priority", stream=True, extra_body=said, extra_headers=headers
        )
    )
    client.models.list(extra_headers=headers)
    sent = posts(emulator, "/responses") + posts(emulator, "/chat/completions")
    assert len(sent) == 2
    assert all(said.keys().isdisjoint(body) for body in (*sent, lines(emulator)[0]["body"]))
    assert not [name for request in emulator.requests for name in request.headers if "dw-agents-" in name.lower()]


@pytest.mark.parametrize("tier", ["flex", "batch"])
async def test_a_call_of_a_named_run_is_not_paid_twice(
    emulator: Emulator, ours: MakeClient, tmp_path: Path, tier: str
) -> None:
    where: dict[str, Any] = {"api_key": emulator.api_key, "base_url": emulator.base_url}
    answers = []
    for _ in range(2):  # two programs, one after the other
        with Engine(**where, journal=tmp_path / "journal.db") as engine:
            client = ours(engine=engine, service_tier=tier, run="nightly")
            answers.append(client.chat.completions.create(model=MODEL, messages=HELLO))
    assert answers[0].choices == answers[1].choices
    assert emulator.counters.flex + emulator.counters.batch == 1


async def test_the_sdks_default_timeout_is_no_limit_and_the_users_own_is(
    emulator: Emulator, ours: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits: list[float | None] = []
    client = ours()
    run = client.engine.run

    def noted(step: Step) -> Answer:
        limits.append(step.timeout)
        answer: Answer = run(step)
        return answer

    monkeypatch.setattr(client.engine, "run", noted)
    asked: dict[str, Any] = {"model": MODEL, "input": "hello"}
    client.responses.create(**asked)
    client.responses.create(**asked, timeout=30)
    client.responses.create(**asked, timeout=None)
    client.responses.create(**asked, timeout=openai.Timeout(600, connect=2, read=7200))
    client.with_options(timeout=40).responses.create(**asked)
    ours(timeout=50).responses.create(**asked)
    assert limits == [None, 30, None, 7200, 40, 50]


async def test_max_retries_bounds_the_engine_where_it_is_not_the_sdks_default(ours: MakeClient) -> None:
    assert ours().travel.max_retries is None
    assert ours(max_retries=0).travel.max_retries == 0
    assert ours(max_retries=0).with_options(max_retries=5).travel.max_retries == 5


def test_what_the_call_says_wins_over_the_header_and_the_header_over_the_client() -> None:
    client = Travel(service_tier="batch", label="client", scope="client", run="client")
    headers = {"x-dw-agents-label": "header", "x-dw-agents-scope": "header"}
    travel, asked = client.for_call("/responses", headers, {"label": "body", "model": "m"}, timeout=3.0)
    assert (travel.label, travel.scope, travel.run, travel.timeout) == ("body", "header", "client", 3.0)
    assert asked == {"model": "m"}


def test_without_openai_the_import_says_what_to_install() -> None:
    program = "import sys; sys.modules['openai'] = None; import dw_agents.openai"
    done = subprocess.run([sys.executable, "-c", program], env=dict(os.environ), check=False, capture_output=True)
    assert b"pip install 'dw-agents[openai]'" in done.stderr


def test_importing_the_package_does_not_import_openai() -> None:
    program = "import sys, dw_agents, dw_agents.translate.call; sys.exit('openai' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], env=dict(os.environ), check=False).returncode == 0
