"""The key goes to its host and nowhere else: no other host, no file, no log, no repr, no error, no dump."""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import pickle
import traceback
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.load import dumpd, dumps

from dw_agents import DwAgentsError, Engine, InvalidStep
from dw_agents.config import Settings
from dw_agents.emulator import Emulator, Fault
from dw_agents.schedule.window import Limits
from langchain_dw_agents import ChatDoubleword, DoublewordEmbeddings
from llama_index.embeddings.dw_agents import DoublewordEmbedding
from llama_index.llms.dw_agents import DoublewordLLM
from tests.core.conftest import QUICK
from tests.core.steps import eventually, step

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

KEY = "sk-THE-SECRET-0123456789abcdef"
PROMPT = "a question that is nobody's business"
SUBMIT = "POST /responses"
FORMS = {
    "the key": KEY,
    "in base64": base64.b64encode(KEY.encode()).decode().rstrip("="),
    "in hexadecimal": KEY.encode().hex(),
    "hashed": hashlib.sha256(KEY.encode()).hexdigest(),
    "its second half": KEY[len(KEY) // 2 :],
}


@pytest.fixture(autouse=True)
def every_log_at_its_loudest(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for name in ("dw_agents", "aiohttp", "aiohttp.client", "asyncio", "langchain", "openai", "httpx"):
        caplog.set_level(logging.DEBUG, name)


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator(api_keys=(KEY, "another-key")) as running:
        yield running


@pytest.fixture
def trap(monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    """Another host, to which other companies' variables point."""
    with Emulator() as running:
        for name in ("OPENAI_BASE_URL", "OPENAI_API_BASE", "AZURE_OPENAI_ENDPOINT", "ANTHROPIC_BASE_URL"):
            monkeypatch.setenv(name, running.base_url)
        yield running


def assert_clean(where: str, text: str) -> None:
    for form, secret in FORMS.items():
        assert secret not in text, f"{where} holds {form}"


def files(folder: Path) -> Iterable[tuple[str, str]]:
    for path in folder.rglob("*"):
        if path.is_file():
            yield path.name, path.read_bytes().decode("latin-1")


def misfortunes(engine: Engine, emulator: Emulator) -> list[DwAgentsError]:
    """Bring about every kind of error that a submission, a job, a batch or a read can end in."""
    found: list[DwAgentsError] = []
    for faults, settings in [
        ([Fault("status", route=SUBMIT, status=status)], {}) for status in (400, 401, 402, 403, 404, 413, 422)
    ] + [
        ([Fault("status", route=SUBMIT, status=500, message=f"Bearer of bad news for {PROMPT}")], {}),
        ([Fault("lost_reply", route=SUBMIT)], {"on_unknown": "raise"}),
        ([Fault("garbage", route=SUBMIT)], {"on_unknown": "raise"}),
        ([Fault("redirect", route=SUBMIT, location="http://127.0.0.1:9/")], {}),
        ([Fault("fail_job", code=400)], {}),
        ([Fault("cancelled")], {}),
        ([Fault("status", route="GET /responses/{id}", status=403)], {}),
        ([Fault("fail_line", code=400)], {"service_tier": "batch"}),
        ([Fault("malformed_line")], {"service_tier": "batch"}),
        ([Fault("batch_cancelled", share=0.0)], {"service_tier": "batch"}),
        ([Fault("status", route="POST /files", status=403)], {"service_tier": "batch"}),
        ([Fault("status", route=SUBMIT, status=500)], {"service_tier": "priority"}),
    ]:
        emulator.set_faults(*faults)
        try:
            engine.run(step(f"{PROMPT} {len(found)}", **settings))
        except DwAgentsError as error:
            found.append(error)
    emulator.set_faults()
    for nonsense in ({"service_tier": "express"}, {"timeout": -1}, {"body": {"stream": True}}):
        with pytest.raises(InvalidStep) as caught:
            engine.run(step(PROMPT, **nonsense))
        found.append(caught.value)
    return found


def texts_of(error: BaseException) -> Iterator[str]:
    """All that an error can show: its text, its parts, its cause, and the variables that a debugger would print."""
    yield from (str(error), repr(error), repr(error.args), repr(vars(error)))
    frames = traceback.TracebackException.from_exception(error, capture_locals=True).stack
    yield repr([frame.locals for frame in frames if frame.filename != __file__])


def test_neither_the_key_nor_a_prompt_nor_an_answer_reaches_the_disk_and_the_key_reaches_no_log_and_no_error(
    emulator: Emulator, tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "journal.db"
    with Engine(
        api_key=KEY, base_url=emulator.base_url, journal=path, run="r", retries=QUICK, batch_limits=Limits(quiet=0.02)
    ) as engine:
        answers = [engine.run(step(PROMPT, service_tier=tier)) for tier in ("flex", "batch", "priority")]
        errors = misfortunes(engine, emulator)
        assert len({type(error) for error in errors}) >= 9
        on_disk = dict(files(tmp_path))
        assert set(on_disk) >= {"journal.db", "journal.db-wal"}
        shown: list[object] = [engine, engine.account, engine._settings, engine.receipt(), engine._runtime, *answers]
        shown += [answer.ticket for answer in answers] + [answer.ticket.step for answer in answers]
    on_disk.update({f"{name} after closing": text for name, text in files(tmp_path)})
    assert "resp_" in "".join(on_disk.values()), "what is scanned is the journal"
    for name, text in on_disk.items():
        assert_clean(name, text)
        assert PROMPT not in text
        assert "Emulator" not in text
    for thing in shown:
        assert_clean(type(thing).__name__, f"{thing!r} {thing!s}")
    for error in errors:
        for text in texts_of(error):
            assert_clean(type(error).__name__, text)
    printed = capsys.readouterr()
    assert caplog.records
    assert_clean("a log", caplog.text)
    assert_clean("the output", printed.out + printed.err)


def test_settings_of_an_engine_cannot_be_pickled_with_the_key_or_shown_with_a_users_headers() -> None:
    engine = Engine(api_key=KEY, base_url="http://127.0.0.1:9/v1", headers={"X-Proxy-Key": KEY})
    assert_clean("the settings", repr(engine._settings))
    assert isinstance(engine._settings, Settings)
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(engine.account)


@pytest.mark.parametrize("route", [SUBMIT, "GET /responses/{id}", "POST /files", "POST /batches", "GET /batches/{id}"])
@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_to_another_host_is_not_followed(route: str, status: int, emulator: Emulator) -> None:
    with Emulator() as elsewhere:
        emulator.faults.add("redirect", route=route, status=status, location=f"{elsewhere.base_url}/responses")
        tier = "flex" if "responses" in route else "batch"
        with (
            Engine(api_key=KEY, base_url=emulator.base_url, retries=QUICK, batch_limits=Limits(quiet=0.01)) as engine,
            pytest.raises(DwAgentsError, match=r"sent to no other host|redirect|30\d"),
        ):
            engine.run(step(service_tier=tier))
        assert elsewhere.counters.requests == 0


def test_addresses_that_the_environment_gives_to_other_clients_get_nothing(
    trap: Emulator, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOUBLEWORD_API_KEY", KEY)
    monkeypatch.setenv("DOUBLEWORD_BASE_URL", emulator.base_url)
    with Engine.shared() as engine:
        engine.run(step())
        ChatDoubleword(model="m").invoke(PROMPT)
    assert emulator.counters.accepted == 2
    assert trap.counters.requests == 0


def test_a_netrc_of_the_user_puts_no_other_credentials_in_the_keys_place(
    emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password mine\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    with Engine(api_key=KEY, base_url=emulator.base_url) as engine:
        engine.run(step())
    assert {request.headers["Authorization"] for request in emulator.requests} == {f"Bearer {KEY}"}


def langchain_things(base_url: str) -> list[Any]:
    model = ChatDoubleword(model="m", api_key=KEY, base_url=base_url)
    return [
        model,
        model.bind(service_tier="batch"),
        model.with_structured_output({"title": "T", "type": "object", "properties": {}}),
        DoublewordEmbeddings(model="m", api_key=KEY, base_url=base_url),
    ]


def test_langchain_shows_and_dumps_no_key(emulator: Emulator) -> None:
    for thing in langchain_things(emulator.base_url):
        name = type(thing).__name__
        assert_clean(name, f"{thing!r} {thing!s}")
        assert_clean(f"dumpd({name})", json.dumps(dumpd(thing), default=repr))
        assert_clean(f"dumps({name})", dumps(thing))
        if hasattr(thing, "model_dump"):
            assert_clean(f"{name}.model_dump()", repr(thing.model_dump()))
            assert_clean(f"{name}.model_dump_json()", thing.model_dump_json(fallback=repr))
    model = langchain_things(emulator.base_url)[0]
    assert_clean("_identifying_params", repr(model._identifying_params))
    assert_clean("the tracing parameters", repr(model._get_ls_params()))


def test_llama_index_shows_and_dumps_no_key(emulator: Emulator) -> None:
    for made in (DoublewordLLM, DoublewordEmbedding):
        thing = made(model="m", api_key=KEY, base_url=emulator.base_url)
        name = made.__name__
        assert_clean(name, f"{thing!r} {thing!s}")
        assert_clean(f"{name}.to_dict()", repr(thing.to_dict()))
        assert_clean(f"{name}.to_json()", thing.to_json())
        assert_clean(f"{name}.model_dump()", repr(thing.model_dump()))


def test_a_mistake_in_a_models_settings_does_not_print_the_key() -> None:
    with pytest.raises(ValueError, match="service_tier") as caught:
        ChatDoubleword(model="m", api_key=KEY, service_tier="express")
    assert_clean("the validation error", f"{caught.value} {caught.value!r}")


def test_work_that_is_cancelled_as_the_program_ends_prints_no_key(
    emulator: Emulator, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    emulator.faults.add("stall", route="GET /responses/{id}")
    for journal in (False, tmp_path / "journal.db"):
        engine = Engine(api_key=KEY, base_url=emulator.base_url, journal=journal)
        tickets = [engine.submit(step(n)) for n in range(3)]
        assert eventually(lambda: all(ticket.accepted_at is not None for ticket in tickets))  # noqa: B023 - called now
        engine.close(timeout=0.5)
    said = capsys.readouterr().err
    assert "in flight" in said
    assert_clean("the message at the end", said)
