"""What all commands have in common: help, wrong input, journals and keys that are not there."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import dw_agents
from dw_agents.cli import main
from dw_agents.emulator import Emulator
from tests.core.commandline import Office
from tests.core.steps import step

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ACTIONS = ("list", "show", "wait", "cancel", "adopt", "reconcile", "prune")


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    """A service whose jobs take for ever."""
    with Emulator(latency=3600.0, batch_latency=3600.0) as running:
        yield running


@pytest.fixture
def office(
    emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Office:
    journal = tmp_path / "journal.db"
    monkeypatch.setenv("DW_AGENTS_JOURNAL", str(journal))
    monkeypatch.setenv("DOUBLEWORD_API_KEY", emulator.api_key)
    monkeypatch.setenv("DOUBLEWORD_BASE_URL", emulator.base_url)
    monkeypatch.setenv("HOME", str(tmp_path))
    return Office(emulator, journal, capsys)


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["jobs", "--help"]) == 0

    text = capsys.readouterr().out
    assert {line.split()[0] for line in text.splitlines() if line.startswith("    ")} >= set(ACTIONS)


@pytest.mark.parametrize("action", ACTIONS)
def test_every_command_explains_itself(action: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["jobs", action, "--help"]) == 0
    assert "--journal PATH" in capsys.readouterr().out


def test_the_module_runs_as_a_program_and_starts_without_heavy_imports() -> None:
    version = subprocess.run(
        [sys.executable, "-m", "dw_agents", "--version"], capture_output=True, text=True, check=True
    )
    assert version.stdout == f"dw-agents {dw_agents.__version__}\n"

    watched = "import sys; from dw_agents.cli import main; main(['jobs', '--help']); print('aiohttp' in sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", watched], capture_output=True, text=True, check=True)
    assert loaded.stdout.endswith("False\n")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "COMMAND"),
        (["jobs"], "COMMAND"),
        (["jobs", "sing"], "sing"),
        (["jobs", "list", "--older", "soon"], "no length of time"),
        (["jobs", "list", "--newer", "-2h"], "--newer"),
        (["jobs", "list", "--state", "running"], "is no state"),
        (["jobs", "list", "--limit", "few"], "no number"),
        (["jobs", "prune"], "--older"),
        (["jobs", "adopt", "1-0"], "RESPONSE_ID"),
        (["jobs", "cancel"], "Say what to cancel"),
        (["jobs", "cancel", "1-0", "--all"], "not by both"),
        (["jobs", "show", "9-9"], "no step '9-9'"),
        (["jobs", "cancel", "resp_nothing"], "no step 'resp_nothing'"),
        (["jobs", "list", "--base-url", "ftp://somewhere"], "base_url"),
    ],
)
def test_wrong_input_is_explained_on_stderr_and_ends_with_2(office: Office, arguments: list[str], words: str) -> None:
    office.leave(step())
    office.capsys.readouterr()

    assert main(arguments) == 2

    out, err = office.capsys.readouterr()
    assert words in err
    assert not out
    assert "Traceback" not in err


@pytest.mark.parametrize(
    "arguments", [["list"], ["wait"], ["cancel", "--all"], ["reconcile"], ["prune", "--older", "1d"]]
)
def test_without_a_journal_there_is_nothing_to_do_and_none_is_made(office: Office, arguments: list[str]) -> None:
    said = office.jobs(*arguments, "--json")

    assert (said.status, said.out) == (0, "")
    assert f"no journal at {office.journal}" in said.err
    assert not office.journal.exists()


def test_a_step_named_where_there_is_no_journal_is_wrong_input(office: Office) -> None:
    assert office.jobs("show", "1-0").status == 2
    assert office.jobs("cancel", "1-0").status == 2


def test_a_journal_that_is_off_is_said_to_be_off(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DW_AGENTS_JOURNAL", "off")

    said = office.jobs("list")

    assert said.status == 0
    assert "turned off" in said.err


def test_a_file_that_is_no_journal_is_wrong_input(office: Office, tmp_path: Path) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text("This is no database, and long enough to be seen to be none. " * 20)

    for path in (notes, tmp_path):
        said = office.jobs("list", "--journal", path)
        assert said.status == 2
        assert str(path) in said.err


def test_trouble_with_files_that_the_environment_names_is_told_without_a_traceback(
    office: Office, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    office.leave(step())
    monkeypatch.setenv("DOUBLEWORD_BASE_URL", "https://127.0.0.1:9/v1")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "nowhere.pem"))

    said = office.jobs("reconcile")

    assert said.status == 1
    assert "No such file" in said.err


def test_without_a_key_steps_can_be_looked_at_and_nothing_else(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    office.leave(step())
    monkeypatch.delenv("DOUBLEWORD_API_KEY")

    assert office.states() == ["accepted"]
    shown = office.jobs("show", "1-0")
    assert shown.status == 0
    assert "not asked" in shown.out
    for arguments in (["wait"], ["cancel", "--all"], ["reconcile"], ["prune", "--older", "0s", "--lost"]):
        refused = office.jobs(*arguments)
        assert refused.status == 2
        assert "DOUBLEWORD_API_KEY" in refused.err
    assert office.states() == ["accepted"]


def test_steps_of_other_accounts_are_counted_and_left_alone(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    office.leave(step("mine"))
    monkeypatch.setenv("DOUBLEWORD_API_KEY", "another-key")

    assert office.listed() == []
    cancelled = office.jobs("cancel", "--all")
    pruned = office.jobs("prune", "--older", "0s", "--lost")

    assert "1 open step of other accounts" in cancelled.err
    assert "1 open step of other accounts" in pruned.err
    assert len(office.emulator.running()) == 1
    assert [entry["state"] for entry in office.listed("--all-accounts")] == ["accepted"]


def test_no_command_shows_the_key(office: Office) -> None:
    office.leave(step())
    office.leave_unknown(step("unknown"))

    for arguments in (["list"], ["list", "--json"], ["show", "1-0"], ["reconcile", "--json"], ["cancel", "--all"]):
        said = office.jobs(*arguments)
        assert office.emulator.api_key not in said.out + said.err


def test_a_reader_who_leaves_early_is_no_error(office: Office) -> None:
    office.leave(*[step(number, label="x" * 30) for number in range(400)])
    script = f"{sys.executable} -m dw_agents jobs list --json | head -n 1"

    ended = subprocess.run(script, shell=True, capture_output=True, text=True, check=True, env=os.environ)

    assert len(ended.stdout.splitlines()) == 1
    assert not ended.stderr
