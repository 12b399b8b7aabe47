"""Whether and when to try again."""

from __future__ import annotations

import email.utils

import pytest
import tenacity
from multidict import CIMultiDict

from dw_agents.schedule.retries import (
    Retries,
    RetryBudget,
    Verdict,
    judge_failed_job,
    judge_read,
    judge_submission,
    retry_after,
)

ERROR = ValueError("some failure")


@pytest.mark.parametrize(
    ("status", "body", "verdict"),
    [
        (200, b"", Verdict.ACCEPTED),
        (202, b"", Verdict.ACCEPTED),
        (302, b"", Verdict.FATAL),
        (400, b"", Verdict.FATAL),
        (401, b"", Verdict.FATAL),
        (402, b"", Verdict.FATAL),
        (403, b"", Verdict.FATAL),
        (404, b"", Verdict.FATAL),
        (408, b"", Verdict.UNKNOWN),
        (409, b"", Verdict.RETRY),
        (413, b"", Verdict.FATAL),
        (429, b"", Verdict.SLOW_DOWN),
        (500, b"", Verdict.UNKNOWN),
        (500, b'{"error":{"message":"Failed to enqueue request"}}', Verdict.RETRY),
        (502, b"", Verdict.UNKNOWN),
        (503, b"", Verdict.SLOW_DOWN),
        (504, b"", Verdict.UNKNOWN),
    ],
)
def test_a_submission_is_repeated_only_where_nothing_was_accepted(status: int, body: bytes, verdict: Verdict) -> None:
    assert judge_submission(status, body) is verdict


@pytest.mark.parametrize("status", [408, 409, 425, 500, 502, 504, 599])
def test_a_read_is_repeated_for_every_passing_cause(status: int) -> None:
    assert judge_read(status) is Verdict.RETRY


def test_a_read_that_is_pushed_back_slows_the_others_down() -> None:
    assert judge_read(429) is judge_read(503) is Verdict.SLOW_DOWN


@pytest.mark.parametrize(
    ("code", "verdict"),
    [(None, Verdict.RETRY), (400, Verdict.FATAL), (402, Verdict.FATAL), (429, Verdict.RETRY), (500, Verdict.RETRY)],
)
def test_a_failed_job_is_submitted_again_only_for_a_passing_cause(code: int | None, verdict: Verdict) -> None:
    assert judge_failed_job(code) is verdict


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "2"}, 2.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"Retry-After-Ms": "250", "Retry-After": "9"}, 0.25),
        ({"Retry-After": "-3"}, 0.0),
        ({"Retry-After": "1e9"}, 3600.0),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": email.utils.formatdate(1_000_030, usegmt=True)}, 30.0),
    ],
)
def test_retry_after_is_read_in_every_form(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(CIMultiDict(headers), now=1_000_000.0) == seconds


def test_the_default_waits_grow_to_half_a_minute_and_end_after_eight_tries() -> None:
    retries = Retries()
    waits = [retries.delay(n, 0.0, ERROR) for n in range(1, 9)]

    assert waits[-1] is None
    grown = [wait for wait in waits if wait is not None]
    assert len(grown) == 7
    assert 0.5 <= grown[0] <= 1.0
    assert all(wait <= 30.5 for wait in grown)
    assert grown[-1] > 20


def test_any_strategy_of_tenacity_may_be_given() -> None:
    retries = Retries(wait=tenacity.wait_fixed(3), stop=tenacity.stop_after_delay(10))

    assert retries.delay(5, 9.0, ERROR) == 3.0
    assert retries.delay(5, 11.0, ERROR) is None


class AsTheErrorSays(tenacity.wait.wait_base):
    def __call__(self, retry_state: tenacity.RetryCallState) -> float:
        return 7.0 if retry_state.outcome is not None and retry_state.outcome.exception() is ERROR else 0.0


def test_a_strategy_sees_the_error() -> None:
    assert Retries(wait=AsTheErrorSays()).delay(1, 0.0, ERROR) == 7.0


def test_a_steps_own_max_retries_takes_the_place_of_the_engines() -> None:
    limited = Retries().limited(2)

    assert limited.delay(2, 0.0, ERROR) is not None
    assert limited.delay(3, 0.0, ERROR) is None
    assert limited.resubmits == 2
    assert Retries().limited(0).resubmits == 0
    assert Retries().limited(0).patience == 0.0


def test_in_a_total_outage_retries_are_a_tenth_of_the_requests_after_the_first_burst() -> None:
    budget = RetryBudget(burst=100)
    sent = 0
    for request in range(10_000):
        budget.requested()
        now = 1.0 + request * 0.06  # ten minutes of outage
        while budget.spend(now) == 0.0:
            sent += 1

    trickle = 600 / 30
    assert sent <= 100 + 0.1 * 10_000 + trickle + 1


def test_success_lets_retries_flow_again() -> None:
    budget = RetryBudget(burst=2)
    assert [budget.spend(1.0), budget.spend(1.0)] == [0.0, 0.0]
    assert budget.spend(1.0) > 0.0
    budget.succeeded()
    budget.succeeded()
    assert budget.spend(1.0) == 0.0


def test_an_empty_budget_says_when_to_ask_again() -> None:
    budget = RetryBudget(burst=1)
    budget.spend(1.0)
    wait = budget.spend(1.0)
    assert 0.0 < wait <= 30.0
    assert budget.spend(1.0 + wait) == 0.0
