"""The recipe for a run that is killed and run again."""

from __future__ import annotations

import re
import subprocess
import sys

import crash_and_resume
import pytest

from dw_agents.emulator import Emulator


@pytest.mark.timeout(150)
def test_a_hundred_agents_survive_a_kill_and_every_step_is_paid_once() -> None:
    command = [sys.executable, crash_and_resume.__file__]
    done = subprocess.run(command, capture_output=True, text=True, timeout=140, check=False)
    assert done.returncode == 0, done.stderr
    assert "100 agents are done." in done.stdout

    def number(pattern: str) -> int:
        found = re.search(pattern, done.stdout)
        return int(found[1]) if found else 0

    before = number(r"kill -9, after (\d+) of 300")
    duplicates = number(r"possible duplicates: (\d+)")
    assert 200 <= before < 300
    # On a busy machine a submission may be under way at the quietest moment; then it is said.
    assert duplicates <= 10
    submitted, steps = number(r"(\d+) submissions of 300 steps"), number(r"flex +(\d+) ")
    assert 300 <= submitted <= 300 + duplicates
    assert steps + number(r"replayed: (\d+)") == 300, "the second life has every answer"
    assert number(r"re-attached: (\d+)") + number(r"replayed: (\d+)") == before - duplicates


def test_the_worker_alone_does_the_work_and_does_it_once_however_often_it_is_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DW_AGENTS_JOURNAL", str(tmp_path_factory.mktemp("state") / "journal.db"))
    with Emulator() as emulator:
        monkeypatch.setenv("DOUBLEWORD_API_KEY", emulator.api_key)
        monkeypatch.setenv("DOUBLEWORD_BASE_URL", emulator.base_url)
        for _ in range(3):
            assert crash_and_resume.main(["--worker", "--agents", "4"]) == 0
        assert emulator.counters.accepted == 4 * crash_and_resume.STEPS
    assert "replayed: 12" in capsys.readouterr().out
