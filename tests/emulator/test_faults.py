"""The fault rules, as pure decisions."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from dw_agents.emulator.fault import (
    ARRIVAL_KINDS,
    BATCH_KINDS,
    DOWNLOAD_KINDS,
    EARLY_ENDS,
    JOB_KINDS,
    LINE_KINDS,
    REPLY_KINDS,
    Fault,
)
from dw_agents.emulator.faults import Faults

POST = "POST /responses"


def kinds(faults: Faults, count: int, *, route: str = POST, body: bytes = b"", now: float = 0) -> list[list[str]]:
    return [[f.kind for f in faults.for_request(route, "/v1/x", body, now)] for _ in range(count)]


def test_a_fault_fires_as_often_as_it_says_and_no_more() -> None:
    assert kinds(Faults(Fault("lost_reply", times=2)), 4) == [["lost_reply"], ["lost_reply"], [], []]


def test_a_fault_lets_the_first_requests_pass() -> None:
    assert kinds(Faults(Fault("stall", after=2, times=1)), 4) == [[], [], ["stall"], []]


@pytest.mark.parametrize(
    ("rule", "route", "hit"),
    [
        (None, "GET /models", True),
        ("GET", "GET /models", True),
        ("GET /models", "GET /models", True),
        ("POST", "GET /models", False),
        ("GET /mod", "GET /models", False),
    ],
)
def test_a_fault_strikes_its_route_or_its_method_only(rule: str | None, route: str, hit: bool) -> None:
    assert kinds(Faults(Fault("stall", route=rule)), 1, route=route) == [["stall"] if hit else []]


def test_a_fault_can_look_for_text_in_the_path_or_the_body() -> None:
    faults = Faults(Fault("stall", match="needle"))

    assert kinds(faults, 1, body=b"hay") == [[]]
    assert kinds(faults, 1, body=b"a needle") == [["stall"]]
    assert faults.for_request(POST, "/v1/needle", b"", 0)


def test_a_fault_can_ask_a_function() -> None:
    assert kinds(Faults(Fault("stall", match=lambda path, body: len(body) > 3)), 1, body=b"1234") == [["stall"]]


def test_the_same_seed_and_order_give_the_same_faults() -> None:
    def run(seed: int) -> list[list[str]]:
        return kinds(Faults(Fault("slow", rate=0.5), Fault("lost_reply", rate=0.5), seed=seed), 64)

    assert run(1) == run(1) != run(2)


def test_a_rate_is_roughly_kept() -> None:
    struck = kinds(Faults(Fault("stall", rate=0.25), seed=3), 2000)

    assert 400 < sum(map(len, struck)) < 600


def test_two_rules_of_one_kind_draw_their_chances_apart() -> None:
    faults = Faults(Fault("slow", rate=0.5), Fault("slow", rate=0.5))
    sizes = {len(struck) for struck in kinds(faults, 64)}

    assert sizes == {0, 1, 2}


def test_a_fault_that_ends_the_handling_keeps_later_rules_from_firing() -> None:
    faults = Faults(Fault("slow"), Fault("status"), Fault("lost_reply"))

    assert kinds(faults, 1) == [["slow", "status"]]
    assert faults.hits == {"slow": 1, "status": 1, "lost_reply": 0}


def test_job_faults_do_not_strike_requests_nor_the_other_way_round() -> None:
    faults = Faults(Fault("truncate"), Fault("stall"))

    assert kinds(faults, 1) == [["stall"]]
    assert [f.kind for f in faults.for_job(POST, "/v1/responses", b"", 0)] == ["truncate"]


def test_a_rate_limit_refuses_what_comes_faster() -> None:
    faults = Faults()
    faults.rate_limit(2)

    refused = [bool(kinds(faults, 1, now=now)[0]) for now in (0, 0, 0, 0.5, 0.5, 10, 10, 10)]
    assert refused == [False, False, True, False, True, False, False, True]


def test_a_rate_limit_has_its_own_burst() -> None:
    faults = Faults()
    faults.rate_limit(1, burst=3)

    assert [len(struck) for struck in kinds(faults, 5)] == [0, 0, 0, 1, 1]


def test_rules_can_be_added_replaced_and_cleared_while_running() -> None:
    faults = Faults(Fault("stall", times=1))
    kinds(faults, 1)
    faults.add("lost_reply")
    assert kinds(faults, 1) == [["lost_reply"]]
    faults.replace(Fault("stall", times=1))
    assert kinds(faults, 2) == [["stall"], []]
    faults.clear()
    assert not faults


def test_the_emulators_seed_counts_only_where_none_was_given() -> None:
    own, lent = Faults(Fault("stall", rate=0.5), seed=5), Faults(Fault("stall", rate=0.5))
    reference = kinds(Faults(Fault("stall", rate=0.5), seed=5), 32)
    own.seed_if_unset(99)
    lent.seed_if_unset(5)

    assert kinds(own, 32) == kinds(lent, 32) == reference


@pytest.mark.parametrize(
    ("kind", "rule", "said"),
    [
        ("typo", {}, "unknown kind"),
        ("stall", {"rate": 1.5}, "rate"),
        ("rate_limit", {}, "per_second"),
        ("redirect", {}, "location"),
        ("batch_failed", {"share": 2}, "share"),
        ("paged_download", {"page": 0}, "page"),
    ],
)
def test_a_rule_that_cannot_be_is_refused(kind: str, rule: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Fault(kind, **rule)


def test_a_rule_is_read_from_a_command_line() -> None:
    text = "status:route=POST /responses,status=429,retry_after=1.5,times=3,rate=0.5,message=slow down"

    assert Fault.parse(text) == Fault(
        "status", route=POST, status=429, retry_after=1.5, times=3, rate=0.5, message="slow down"
    )
    assert Fault.parse("fail_job:code=none") == Fault("fail_job", code=None)
    assert Fault.parse("stall") == Fault("stall")


@pytest.mark.parametrize("text", ["status:colour=red", "status:status", "nonsense", "status:status=many"])
def test_a_rule_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        Fault.parse(text)


def test_every_field_of_a_rule_can_be_written_on_a_command_line() -> None:
    for field in dataclasses.fields(Fault):
        if field.name != "kind":
            value = "GET" if field.type == "str" else "1"
            kind = {"per_second": "rate_limit", "burst": "rate_limit", "location": "redirect"}.get(field.name, "stall")
            extra = ",per_second=1" if kind == "rate_limit" and field.name != "per_second" else ""
            Fault.parse(f"{kind}:{field.name}={value}{extra}")


def test_the_kinds_fall_into_groups_that_do_not_overlap() -> None:
    groups = (ARRIVAL_KINDS, REPLY_KINDS, JOB_KINDS, LINE_KINDS, BATCH_KINDS, DOWNLOAD_KINDS)

    assert sum(map(len, groups)) == len(frozenset().union(*groups))
    assert EARLY_ENDS < BATCH_KINDS


def test_lines_batches_and_downloads_meet_the_faults_of_their_own_kind() -> None:
    faults = Faults(
        *(Fault(kind) for kind in ("fail_line", "fail_job", "batch_failed", "paged_download", "lost_reply"))
    )
    route, path = "POST /batches", "/v1/batches"

    assert [fault.kind for fault in faults.for_line(route, "/v1/responses", b"", 0)] == ["fail_line", "fail_job"]
    assert [fault.kind for fault in faults.for_batch(route, path, b"", 0)] == ["batch_failed"]
    assert [fault.kind for fault in faults.for_download("GET /files/{id}/content", path, 0)] == ["paged_download"]
    assert [fault.kind for fault in faults.for_request(route, path, b"", 0)] == ["lost_reply"]


def test_a_line_is_picked_by_its_path_or_its_text() -> None:
    faults = Faults(Fault("fail_line", match="/v1/embeddings"), Fault("missing_line", match='"x"'))

    assert [fault.kind for fault in faults.for_line("POST /batches", "/v1/embeddings", b"", 0)] == ["fail_line"]
    assert [fault.kind for fault in faults.for_line("POST /batches", "/v1/responses", b'"x"', 0)] == ["missing_line"]


@pytest.mark.parametrize(("kind", "status"), [("status", 500), ("inline_error", 400), ("redirect", 302)])
def test_each_kind_has_its_usual_status(kind: str, status: int) -> None:
    assert Fault(kind, location="http://x.invalid").status == status
    assert Fault(kind, location="http://x.invalid", status=307).status == 307
