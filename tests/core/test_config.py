"""Where the key and the address come from."""

from __future__ import annotations

import copy
import pickle
from typing import TYPE_CHECKING

import pytest
from pydantic import SecretStr

from dw_agents.config import DEFAULT_BASE_URL, Secret, resolve_account
from dw_agents.errors import ConfigurationError, MissingAPIKey

if TYPE_CHECKING:
    from pathlib import Path

VARIABLES = ("DOUBLEWORD_API_KEY", "DOUBLEWORD_BASE_URL", "DOUBLEWORD_API_BASE", "OPENAI_API_KEY", "OPENAI_BASE_URL")


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def key(given: object = None, *, home: Path) -> str:
    return resolve_account(given, home=home).api_key.get_secret_value()


def write_files(home: Path, config: str, credentials: str) -> None:
    (home / ".dw").mkdir()
    (home / ".dw" / "config.toml").write_text(config)
    (home / ".dw" / "credentials.toml").write_text(credentials)


@pytest.mark.parametrize("given", ["sk-1", SecretStr("sk-1"), Secret("sk-1"), lambda: "sk-1", " sk-1\n"])
def test_a_key_may_be_given_in_any_usual_form(given: object, tmp_path: Path) -> None:
    assert key(given, home=tmp_path) == "sk-1"


def test_the_argument_wins_over_the_environment_and_that_over_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_files(tmp_path, 'active_account = "me"', '[accounts.me]\ninference_key = "from-file"')
    assert key(home=tmp_path) == "from-file"
    monkeypatch.setenv("DOUBLEWORD_API_KEY", "from-environment")
    assert key(home=tmp_path) == "from-environment"
    assert key("from-argument", home=tmp_path) == "from-argument"


def test_the_active_account_of_the_files_is_used(tmp_path: Path) -> None:
    accounts = '[accounts.a]\ninference_key = "key-a"\n[accounts.b]\ninference_key = "key-b"'
    write_files(tmp_path, 'active_account = "b"', accounts)
    assert key(home=tmp_path) == "key-b"


def test_a_missing_key_names_every_place_it_may_come_from(tmp_path: Path) -> None:
    with pytest.raises(MissingAPIKey, match=r"api_key=.*DOUBLEWORD_API_KEY.*dw login") as caught:
        resolve_account(home=tmp_path)
    assert caught.value.field == "api_key"


def test_a_key_of_another_service_is_never_picked_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-openai")
    monkeypatch.setenv("OPENAI_BASE_URL", "https://elsewhere.example/v1")
    with pytest.raises(MissingAPIKey):
        resolve_account(home=tmp_path)
    assert resolve_account("sk", home=tmp_path).base_url == DEFAULT_BASE_URL


@pytest.mark.parametrize("bad", ["two words", "ключ", "line\nbreak", "", "  "])
def test_a_key_that_no_header_can_carry_is_refused(bad: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"api_key|API key"):
        resolve_account(bad, home=tmp_path)


def test_a_key_of_a_wrong_type_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="not int"):
        resolve_account(3, home=tmp_path)


def test_a_broken_credentials_file_is_named(tmp_path: Path) -> None:
    write_files(tmp_path, 'active_account = "me"', "[accounts.me\ninference_key = secret-text")
    with pytest.raises(ConfigurationError, match=r"~/\.dw/credentials\.toml") as caught:
        resolve_account(home=tmp_path)
    assert "secret-text" not in str(caught.value)


@pytest.mark.parametrize("variable", ["DOUBLEWORD_BASE_URL", "DOUBLEWORD_API_BASE"])
def test_the_address_may_come_from_either_variable(
    variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "http://127.0.0.1:1/v1/")
    assert resolve_account("sk", home=tmp_path).base_url == "http://127.0.0.1:1/v1"
    assert resolve_account("sk", "https://x.example/v1", home=tmp_path).base_url == "https://x.example/v1"


@pytest.mark.parametrize(
    "bad", ["ftp://x/v1", "api.doubleword.ai/v1", "https://", "https://u:p@x/v1", "https://x/v1?key=1", "http://[::1"]
)
def test_an_address_that_cannot_be_used_is_refused(bad: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="base_url"):
        resolve_account("sk", bad, home=tmp_path)


def test_a_secret_shows_itself_to_nobody_who_does_not_ask() -> None:
    account = resolve_account("sk-hidden")
    assert "sk-hidden" not in f"{account} {account!r} {account.api_key} {account.api_key!r}"
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(account.api_key)
    with pytest.raises(TypeError, match="not pickled"):
        copy.copy(account.api_key)


def test_equal_accounts_are_equal_and_hash_alike() -> None:
    one, same, other = resolve_account("a"), resolve_account(SecretStr("a")), resolve_account("b")
    assert one == same
    assert hash(one) == hash(same)
    assert one != other
