"""``POST /files``."""

from __future__ import annotations

import asyncio
import gc

import aiohttp
import pytest

from dw_agents.emulator import Account, Fault, Faults
from tests.emulator.batch_support import encode, line, lines, send_file, send_form, upload
from tests.emulator.support import MODEL, serving


async def test_an_upload_is_201_with_a_bare_uuid_and_no_nulls() -> None:
    async with serving() as api:
        answer = await send_file(api, lines(3), "mine.jsonl")
        shown = answer.json()

        assert api.emulator.counters.files == 1
        assert api.emulator.files[0].lines() == lines(3)

    assert answer.status == 201
    assert (len(shown["id"]), shown["id"].count("-")) == (36, 4)
    assert (shown["object"], shown["filename"], shown["purpose"]) == ("file", "mine.jsonl", "batch")
    assert shown["bytes"] == len(encode(lines(3)))
    assert shown["expires_at"] - shown["created_at"] == 30 * 86_400
    assert None not in shown.values()


async def test_the_form_may_name_its_expiry_and_fields_that_nobody_knows() -> None:
    async with serving() as api:
        fields = {"expires_after[anchor]": "created_at", "expires_after[seconds]": "100", "colour": "red"}
        shown = (await send_form(api, fields, encode(lines(1)))).json()

    assert shown["expires_at"] - shown["created_at"] == 100
    assert shown["purpose"] == "batch"


@pytest.mark.parametrize(
    ("fields", "content", "said"),
    [
        ({"purpose": "assistants"}, encode(lines(1)), "Invalid purpose 'assistants'. Only 'batch' is supported."),
        ({"purpose": "batch"}, None, "No file provided"),
        ({"purpose": "batch"}, b"", "File contains no valid request templates"),
        ({"purpose": "batch"}, b"\n \n", "File contains no valid request templates"),
        ({"purpose": "batch"}, b"\n{}\n", "Invalid JSON on line 1"),
    ],
)
async def test_a_form_that_breaks_a_rule_is_400_in_plain_text(
    fields: dict[str, str], content: bytes | None, said: str
) -> None:
    async with serving() as api:
        answer = await send_form(api, fields, content)

        assert api.emulator.files == []
        assert api.emulator.counters.files == 0

    assert (answer.status, answer.headers["Content-Type"]) == (400, "text/plain; charset=utf-8")
    assert said in answer.text


async def test_what_is_no_form_is_400() -> None:
    async with serving() as api:
        plain = await api("POST", "/files", {"purpose": "batch"})
        broken = await api("POST", "/files", b"--x\r\nnonsense", key=api.key)

    assert (plain.status, broken.status) == (400, 400)


async def test_a_form_that_breaks_off_is_400_and_stores_nothing() -> None:
    body = b'--x\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n' + encode(lines(1))
    async with serving() as api:
        headers = {"Authorization": f"Bearer {api.key}", "Content-Type": "multipart/form-data; boundary=x"}
        async with api.session.post(f"{api.emulator.base_url}/files", data=body, headers=headers) as reply:
            assert reply.status == 400

        assert api.emulator.files == []


async def test_the_last_line_needs_no_line_feed_and_blank_lines_do_not_count() -> None:
    content = b"\r\n".join((b"", encode(lines(1)).strip(), b"  ", encode([line("z")]).strip()))
    async with serving() as api:
        assert (await send_form(api, {"purpose": "batch"}, content)).status == 201
        assert [one["custom_id"] for one in api.emulator.files[0].lines()] == ["0", "z"]


async def test_the_first_bad_line_ends_the_upload_with_its_number() -> None:
    async with serving() as api:
        answer = await send_file(api, [line(), b"", line(custom_id="é"), {}])

    assert (answer.status, answer.text[:8]) == (400, "Line 2: ")


async def test_lines_of_many_megabytes_arrive_whole() -> None:
    requests = [line(str(number), input="x" * 300_000 + str(number)) for number in range(12)]
    async with serving() as api:
        await upload(api, requests)

        assert api.emulator.files[0].lines() == requests


async def test_mixed_models_and_paths_and_duplicates_are_allowed() -> None:
    mixed = [line("a"), line("a", model="other"), line("b", url="/v1/embeddings")]
    async with serving() as api:
        assert (await send_file(api, mixed)).status == 201


async def test_a_model_that_is_unknown_or_not_for_this_key_is_403() -> None:
    poor = Account("poor", models=frozenset({"x"}))
    async with serving(models=[MODEL], api_keys=["k", poor]) as api:
        unknown = await send_file(api, [line(), line(model="nope")])
        api.key = "poor"
        forbidden = await send_file(api, [line()])

    wanted = "Model '{}' has not been configured or is not available to user"
    assert (unknown.status, unknown.text) == (403, f"Line 2: {wanted.format('nope')}")
    assert (forbidden.status, forbidden.text) == (403, f"Line 1: {wanted.format(MODEL)}")


@pytest.mark.parametrize("key", ["wrong", None])
async def test_a_bad_key_is_401_in_plain_text(key: str | None) -> None:
    async with serving() as api:
        answer = await api("POST", "/files", b"x", key=key)

    assert (answer.status, answer.text) == (401, "Invalid API key")


async def test_a_file_over_the_limit_is_413_by_its_length_or_as_it_comes_in() -> None:
    async with serving(max_file_size=5000) as api:
        announced = await send_file(api, lines(300))
        creeping = await send_file(api, lines(60))
        fits = await send_file(api, lines(40))

        assert api.emulator.counters.files == 1

    assert len(encode(lines(60))) > 5000 >= len(encode(lines(40)))
    for answer in (announced, creeping):
        assert (answer.status, answer.text) == (413, "File exceeds the maximum allowed size of 5000 bytes")
    assert fits.status == 201


async def test_a_length_over_the_limit_is_413_before_any_of_the_body_is_sent() -> None:
    async with serving(max_file_size=5000) as api:
        host, _, port = api.emulator.base_url.split("/")[2].partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        head = f"POST /v1/files HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {api.key}\r\nContent-Length: 99999\r\n\r\n"
        writer.write(head.encode())
        async with asyncio.timeout(5):
            status = await reader.readline()
        writer.close()
        await writer.wait_closed()

    assert status.split()[1] == b"413"


async def test_too_many_lines_are_400_with_both_numbers() -> None:
    async with serving(max_requests_per_file=3) as api:
        answer = await send_file(api, lines(5))
        assert (await send_file(api, lines(3))).status == 201
    async with serving(max_requests_per_file=0) as api:
        assert (await send_file(api, lines(5))).status == 201

    assert (answer.status, answer.text) == (400, "File contains 5 requests, which exceeds the maximum of 3")


async def test_one_line_over_the_body_limit_is_400() -> None:
    async with serving(body_limit=500) as api:
        answer = await send_file(api, [line(), line(input="x" * 500)])

    assert answer.status == 400
    assert answer.text.startswith("Line 2: ")


async def test_a_client_that_asks_first_is_told_to_go_on() -> None:
    async with serving() as api:
        url, headers = f"{api.emulator.base_url}/files", {"Authorization": f"Bearer {api.key}"}
        form = aiohttp.FormData(default_to_multipart=True)
        form.add_field("file", encode(lines(1)), filename="f")
        async with api.session.post(url, data=form, headers=headers, expect100=True) as reply:
            assert reply.status == 201


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        (Fault("status", status=429, retry_after=60), 429),
        (Fault("status", status=503), 503),
        (Fault("garbage"), 200),
    ],
)
async def test_a_refused_upload_stores_nothing_and_the_next_one_is_fine(fault: Fault, status: int) -> None:
    async with serving(
        faults=Faults(Fault(fault.kind, status=fault.status, retry_after=fault.retry_after, times=1))
    ) as api:
        refused = await send_file(api, [line(input="x" * 200_000)])
        assert api.emulator.files == []
        assert (await send_file(api, lines(1))).status == 201

    assert refused.status == status
    assert refused.headers.get("Retry-After") == ("60" if fault.retry_after else None)


async def test_a_lost_request_stores_nothing_and_a_lost_reply_stores_the_file() -> None:
    faults = Faults(
        Fault("lost_request", route="POST /files", times=1), Fault("lost_reply", route="POST /files", times=1)
    )
    async with serving(faults=faults) as api:
        for stored in (0, 1):
            with pytest.raises(aiohttp.ClientConnectionError):
                await send_file(api, lines(1))
            assert api.emulator.counters.files == stored

        assert api.emulator.counters["POST /files"] == 2


async def test_a_client_that_leaves_in_mid_upload_leaves_nothing_behind() -> None:
    async with serving() as api:
        host, _, port = api.emulator.base_url.split("/")[2].partition(":")
        _, writer = await asyncio.open_connection(host, int(port))
        head = (
            f"POST /v1/files HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {api.key}\r\nContent-Length: 99999999\r\n"
            "Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n"
            'Content-Disposition: form-data; name="file"\r\n\r\n'
        )
        writer.write(head.encode() + encode(lines(40_000)))
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        assert (await api("GET", "/files")).json()["data"] == []

    # A temporary file that nobody closed would warn now, and warnings are errors.
    gc.collect()
