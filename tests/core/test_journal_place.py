"""Where the journal is, and what happens where it cannot be."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from dw_agents.errors import ConfigurationError, JournalError
from dw_agents.journal import place
from dw_agents.journal.place import default_place, find_place, open_journal
from tests.faults.rows import query


@pytest.fixture(autouse=True)
def no_warning_said_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(place, "_warned", False)


@pytest.mark.parametrize(
    ("platform", "environment", "expected"),
    [
        ("linux", {"HOME": "/home/me"}, "/home/me/.local/state/dw-agents/journal.db"),
        ("linux", {"HOME": "/home/me", "XDG_STATE_HOME": "/state"}, "/state/dw-agents/journal.db"),
        ("darwin", {"HOME": "/Users/me"}, "/Users/me/Library/Application Support/dw-agents/journal.db"),
        ("win32", {"USERPROFILE": "/u", "LOCALAPPDATA": "/local"}, "/local/dw-agents/journal.db"),
        ("win32", {"USERPROFILE": "/u"}, "/u/AppData/Local/dw-agents/journal.db"),
    ],
)
def test_the_default_is_the_state_directory_of_the_platform(
    platform: str, environment: dict[str, str], expected: str
) -> None:
    assert default_place(environment, platform) == Path(expected)


@pytest.mark.parametrize("word", ["off", "OFF", "0", "false", "no", "none"])
def test_the_environment_can_turn_it_off(word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DW_AGENTS_JOURNAL", word)
    assert find_place() == find_place(journal=True) == (None, True)


def test_an_argument_goes_before_the_environment_and_that_before_the_default(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DW_AGENTS_JOURNAL", str(tmp_path / "environment.db"))
    assert find_place(tmp_path / "argument.db") == (tmp_path / "argument.db", True)
    assert find_place(journal=False) == (None, True)
    assert find_place() == (tmp_path / "environment.db", True)
    monkeypatch.delenv("DW_AGENTS_JOURNAL")
    assert find_place() == (default_place(), False)


def test_a_home_directory_is_written_as_users_write_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find_place("~/mine.db") == (tmp_path / "mine.db", True)


@pytest.mark.parametrize("nonsense", [5, "", b"x", object()])
def test_what_is_no_place_is_refused_by_the_name_of_the_setting(nonsense: object) -> None:
    with pytest.raises(ConfigurationError, match="journal=") as caught:
        find_place(nonsense)
    assert caught.value.field == "journal"


def test_a_default_place_that_cannot_be_written_is_done_without_after_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "state").write_text("a file where a directory should be")
    unusable = tmp_path / "state" / "journal.db"
    with caplog.at_level(logging.WARNING, "dw_agents"):
        assert open_journal(unusable, chosen=False) is None
        assert open_journal(unusable, chosen=False) is None
    (record,) = caplog.records
    assert str(unusable) in record.getMessage()
    assert "Going on without a journal" in record.getMessage()


def test_a_chosen_place_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match=str(tmp_path)):
        open_journal(tmp_path, chosen=True)


def test_engines_of_one_process_share_the_thread_that_writes_a_file(tmp_path: Path) -> None:
    first, second = (open_journal(tmp_path / "j.db", chosen=True) for _ in range(2))
    other = open_journal(tmp_path / "other.db", chosen=True)
    assert first is not None
    assert other is not None
    assert first is second
    assert other is not first
    first.close()
    assert first.open(), "the second engine still uses it"
    for _ in range(2):
        first.close()
    other.close()
    assert not first.open(), "the last has closed it"
    third = open_journal(tmp_path / "j.db", chosen=True)
    assert third is not None
    assert third is not first
    third.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_writes_with_a_thread_of_its_own(tmp_path: Path) -> None:
    program = f"""
import os
from pathlib import Path
from dw_agents.journal.place import open_journal
mine = open_journal(Path({str(tmp_path)!r}) / "j.db", chosen=True)
child = os.fork()
theirs = open_journal(Path({str(tmp_path)!r}) / "j.db", chosen=True)
if not child:
    assert theirs is not mine
    theirs.close()
    os._exit(0)
assert theirs is mine
assert os.waitpid(child, 0)[1] == 0
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=20)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_what_a_forked_child_writes_stays_in_the_file_when_its_parent_closes_it(tmp_path: Path) -> None:
    program = f"""
import asyncio, os, signal
from pathlib import Path
from dw_agents.journal.place import open_journal
from tests.core.test_journal_writer import put
from tests.faults.rows import ask
path = Path({str(tmp_path)!r}) / "j.db"
mine = open_journal(path, chosen=True)
asyncio.run(put(mine, "asks", ask("of the parent")))
ready, closed = os.pipe(), os.pipe()
child = os.fork()
if not child:
    theirs = open_journal(path, chosen=True)
    asyncio.run(put(theirs, "asks", ask("of the child, before")))
    os.write(ready[1], b".")
    os.read(closed[0], 1)
    asyncio.run(put(theirs, "asks", ask("of the child, after")))
    os.kill(os.getpid(), signal.SIGKILL)
os.read(ready[0], 1)
mine.close()
os.write(closed[1], b".")
os.waitpid(child, 0)
"""
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", program], check=True, timeout=20, cwd=root)
    keys = query(tmp_path / "j.db", "SELECT key FROM steps ORDER BY id")
    assert keys == [("of the child, before",), ("of the child, after",)]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_waits_for_the_transaction_under_way(tmp_path: Path) -> None:
    writer = open_journal(tmp_path / "j.db", chosen=True)
    assert writer is not None
    assert writer.rest(1.0), "nothing is being written"
    threading.Timer(0.2, writer.go_on).start()
    began = time.monotonic()
    child = os.fork()
    if not child:
        os._exit(0)
    assert time.monotonic() - began > 0.15
    assert os.waitpid(child, 0)[1] == 0
    assert writer.rest(5.0), "the parent goes on"
    writer.go_on()
    writer.close()
