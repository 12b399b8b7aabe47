"""``GET /files/{id}/content``, oddities included."""

from __future__ import annotations

import aiohttp
import pytest

from dw_agents.emulator import Fault, Faults
from tests.emulator.batch_support import GatedBackend, content, encode, line, lines, look, named, run, start, upload
from tests.emulator.support import Api, serving, until

DONE = [str(number) for number in range(250)]


async def _output(api: Api, count: int = 250) -> str:
    return str((await run(api, lines(count)))["output_file_id"])


async def test_without_a_limit_everything_comes_at_once() -> None:
    async with serving() as api:
        answer = await api("GET", f"/files/{await _output(api)}/content")

    assert answer.body.count(b"\n") == 250
    assert answer.headers["Content-Type"] == "application/x-ndjson"
    assert (answer.headers["X-Incomplete"], answer.headers["X-Last-Line"]) == ("false", "250")


async def test_offset_is_ignored_and_skip_is_not() -> None:
    async with serving() as api:
        file = await _output(api)
        offset = await named(api, file, "?offset=200")
        skipped = await named(api, file, "?skip=200")
        both = await named(api, file, "?skip=200&offset=200")

    assert offset == DONE
    assert skipped == both == DONE[200:]


@pytest.mark.parametrize(
    ("query", "wanted", "last", "incomplete"),
    [
        ("limit=50", DONE[:50], "50", "true"),
        ("limit=50&skip=200", DONE[200:], "250", "false"),
        ("limit=50&skip=220", DONE[220:], "250", "false"),
        ("limit=1000", DONE[:101], "101", "true"),
        ("limit=0", DONE[:1], "1", "true"),
        ("limit=10&skip=999", [], "999", "false"),
    ],
)
async def test_a_page_is_clamped_and_tells_where_it_ends(
    query: str, wanted: list[str], last: str, incomplete: str
) -> None:
    async with serving() as api:
        file = await _output(api)
        answer = await api("GET", f"/files/{file}/content?{query}")
        found = await named(api, file, f"?{query}")

    assert found == wanted
    assert (answer.headers["X-Last-Line"], answer.headers["X-Incomplete"]) == (last, incomplete)


async def test_search_looks_into_custom_ids_and_counts_its_own_lines() -> None:
    requests = [line(f"Case-{number}") for number in range(30)]
    async with serving() as api:
        file = (await run(api, requests))["output_file_id"]
        found = await named(api, file, "?search=CASE-2")
        rest = await named(api, file, "?search=case-2&skip=9&limit=5")
        answer = await api("GET", f"/files/{file}/content?search=case-2")

    assert len(found) == 11
    assert rest == found[9:]
    assert "X-Last-Line" not in answer.headers


async def test_an_input_file_reads_back_without_line_numbers() -> None:
    async with serving() as api:
        answer = await api("GET", f"/files/{await upload(api, lines(3))}/content")

    assert answer.body == encode(lines(3))
    assert answer.headers["X-Incomplete"] == "false"
    assert "X-Last-Line" not in answer.headers


@pytest.mark.parametrize("query", ["skip=-1", "skip=x", "limit=x"])
async def test_a_query_that_does_not_parse_is_400(query: str) -> None:
    async with serving() as api:
        assert (await api("GET", f"/files/{await upload(api, lines(1))}/content?{query}")).status == 400


async def test_results_can_be_read_while_the_batch_runs() -> None:
    backend = GatedBackend()
    async with serving(backend) as api:
        ident = await start(api, lines(6))
        backend.allowed = 2
        await until(lambda: api.emulator.batch(ident).completed == 2)
        shown = await look(api, ident)
        partial = await api("GET", f"/files/{shown['output_file_id']}/content")
        failures = await api("GET", f"/files/{shown['error_file_id']}/content")
        backend.allowed = 9
        await until(lambda: not api.emulator.running())
        rest = await named(api, shown["output_file_id"], "?skip=2")

    assert shown["status"] == "in_progress"
    assert shown["request_counts"] == {"total": 6, "completed": 2, "failed": 0}
    assert partial.body.count(b"\n") == 2
    assert (partial.headers["X-Incomplete"], partial.headers["X-Last-Line"]) == ("true", "2")
    assert (failures.status, failures.body) == (200, b"")
    assert len(rest) == 4


async def test_results_come_in_the_order_of_completion_not_of_the_input() -> None:
    async with serving(line_latency=(0, 0.05), seed=4) as api:
        found = await named(api, await _output(api, 40))

    assert sorted(found, key=int) == DONE[:40] != found


async def test_failures_are_in_the_error_file_only_and_cancelled_lines_in_neither() -> None:
    faults = Faults(Fault("fail_job", code=400, match='"custom_id":"1"'), Fault("cancelled", match='"custom_id":"2"'))
    async with serving(faults=faults) as api:
        shown = await run(api, lines(4))
        done = await named(api, shown["output_file_id"])
        failed = await content(api, shown["error_file_id"])

    assert done == ["0", "3"]
    assert [one["custom_id"] for one in failed] == ["1"]
    assert failed[0]["response"] is None
    assert shown["request_counts"] == {"total": 4, "completed": 2, "failed": 1}
    assert shown["status"] == "completed"


async def test_a_download_is_cut_in_the_middle_of_a_line() -> None:
    async with serving() as api:
        file = await _output(api)
        api.emulator.faults.add("reset_body", route="GET /files/{id}/content")
        url, headers = f"{api.emulator.base_url}/files/{file}/content", {"Authorization": f"Bearer {api.key}"}
        received = bytearray()

        async def read(reply: aiohttp.ClientResponse) -> None:
            async for chunk in reply.content.iter_any():
                received.extend(chunk)

        async with api.session.get(url, headers=headers) as reply:
            with pytest.raises(aiohttp.ClientError):
                await read(reply)

    assert reply.status == 200
    assert received.count(b"\n") > 10
    assert not received.endswith(b"\n")


async def test_a_fault_pages_a_download_that_nobody_asked_to_page() -> None:
    async with serving(faults=Faults(Fault("paged_download", page=100))) as api:
        file = await _output(api)
        first = await api("GET", f"/files/{file}/content")
        last = await api("GET", f"/files/{file}/content?skip=200")
        assert api.emulator.counters.faults == {"paged_download": 2}

    assert (first.body.count(b"\n"), last.body.count(b"\n")) == (100, 50)
    assert (first.headers["X-Incomplete"], first.headers["X-Last-Line"]) == ("true", "100")
    assert (last.headers["X-Incomplete"], last.headers["X-Last-Line"]) == ("false", "250")
