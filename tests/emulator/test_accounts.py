"""Keys and accounts."""

from __future__ import annotations

import pytest

from dw_agents.emulator.accounts import Account, Accounts, bearer


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        ({"Authorization": "Bearer sk-1"}, "sk-1"),
        ({"Authorization": "Bearer "}, None),
        ({"Authorization": "Basic sk-1"}, None),
        ({}, None),
    ],
)
def test_only_a_bearer_token_is_a_key(headers: dict[str, str], key: str | None) -> None:
    assert bearer(headers) == key


def test_a_key_given_as_text_is_an_owner_of_its_own_without_the_background_role() -> None:
    account = Accounts(["sk-1"]).known("sk-1")

    assert account is not None
    assert (account.owner, account.background_role, account.may_use("any")) == ("sk-1", False, True)


def test_an_unknown_key_has_no_account() -> None:
    accounts = Accounts(["sk-1"])

    assert accounts.known("sk-2") is None
    assert accounts.known(None) is None


@pytest.mark.parametrize("keys", [[], ["sk-1", "sk-1"], ["sk-1", Account("sk-1")]])
def test_no_key_or_the_same_key_twice_is_refused(keys: list[str | Account]) -> None:
    with pytest.raises(ValueError, match="api_keys"):
        Accounts(keys)


def test_the_unverified_cap_rolls_over_an_hour() -> None:
    account = Account("sk-1", unverified_limit=2)

    assert [account.take_submission(now) for now in (0, 10, 20)] == [True, True, False]
    assert account.take_submission(3601)
    assert not account.take_submission(3602)


def test_an_owner_is_solvent_while_one_of_its_keys_has_credits() -> None:
    accounts = Accounts([Account("a", owner="org", has_credits=False), Account("b", owner="org"), Account("c")])
    poor = Accounts([Account("a", has_credits=False)])

    assert accounts.solvent("org")
    assert not poor.solvent("a")


def test_the_unverified_cap_on_batches_grows_and_rolls_with_the_window() -> None:
    account, day, hour = Account("sk-1", unverified_limit=2), 86_400.0, 3600.0

    assert [account.take_batch(lines, day, now) for lines, now in ((40, 0), (9, 1), (8, 2))] == [True, False, True]
    assert not account.take_batch(1, hour, 3)
    assert account.take_batch(2, hour, 2 + hour)
    assert account.take_batch(38, day, 1 + day)
    assert not account.take_batch(1, day, 1 + day)
    assert Account("sk-2").take_batch(10**6, hour, 0)
