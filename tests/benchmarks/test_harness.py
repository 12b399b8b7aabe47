"""Running clients against emulators in processes of their own."""

from __future__ import annotations

import sys

import pytest
from benchmarks.figures import derive
from benchmarks.harness import DidNotEnd, run_client, serving


def test_a_client_and_a_server_of_their_own_agree_on_what_was_done() -> None:
    with serving({"latency": 0.2}) as server:
        asked = {"via": "engine", "calls": 20, "uvloop": False}
        reported = run_client("clients.ours_flex", asked, python=sys.executable, server=server, limit=30)
        stats = server.stats()
    figures = derive(reported, stats, 0.2)
    assert figures["calls"] == stats["jobs"] == 20
    assert 0.0 < figures["extra"] < 5.0, "both read the same clock"
    assert figures["first"] >= 0.2


def test_a_client_that_fails_says_why() -> None:
    asked = {"statement": "import nothing_of_that_name"}
    with pytest.raises(DidNotEnd, match="nothing_of_that_name"):
        run_client("clients.imports", asked, python=sys.executable, server=None, limit=30)


def test_a_client_that_hangs_is_stopped() -> None:
    asked = {"statement": "import time; time.sleep(60)"}
    with pytest.raises(DidNotEnd, match="stopped after 1 s"):
        run_client("clients.imports", asked, python=sys.executable, server=None, limit=1)
