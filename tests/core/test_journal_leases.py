"""Who is alive, by the locks that the operating system keeps."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import TYPE_CHECKING

from dw_agents.journal.leases import Lease, is_held

if TYPE_CHECKING:
    from pathlib import Path

HOLDER = """
import sys, time
from pathlib import Path
from dw_agents.journal.leases import Lease
print(Lease(Path(sys.argv[1])).name, flush=True)
time.sleep(60)
"""


def holder(folder: Path) -> tuple[subprocess.Popen[str], str]:
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def test_a_lease_is_held_until_it_is_released(tmp_path: Path) -> None:
    lease = Lease(tmp_path / "leases")
    assert is_held(tmp_path / "leases", lease.name)
    lease.release()
    assert not is_held(tmp_path / "leases", lease.name)
    lease.release()


def test_a_process_that_is_killed_holds_nothing_any_more_and_its_file_is_swept(tmp_path: Path) -> None:
    process, name = holder(tmp_path)
    with process:
        assert is_held(tmp_path, name)
        process.send_signal(signal.SIGKILL)
    assert not is_held(tmp_path, name)
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_is_stopped_for_a_while_is_alive(tmp_path: Path) -> None:
    process, name = holder(tmp_path)
    with process:
        process.send_signal(signal.SIGSTOP)
        assert is_held(tmp_path, name)
        process.send_signal(signal.SIGKILL)


def test_a_forked_child_does_not_keep_its_parents_lease_alive(tmp_path: Path) -> None:
    program = f"""
import os, sys, time
from pathlib import Path
from dw_agents.journal.leases import Lease
lease = Lease(Path({str(tmp_path)!r}))
if os.fork():
    print(lease.name, flush=True)
    os._exit(0)
sys.stdout.close()
time.sleep(1)
"""
    parent = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, check=True)
    assert not is_held(tmp_path, parent.stdout.strip())


def test_a_forked_child_that_ends_leaves_its_parents_lease_in_place(tmp_path: Path) -> None:
    program = f"""
import os, sys
from pathlib import Path
from dw_agents.journal.leases import Lease, is_held
folder = Path({str(tmp_path)!r})
lease = Lease(folder)
child = os.fork()
if not child:
    lease.release()
    os._exit(0)
os.waitpid(child, 0)
print(is_held(folder, lease.name), (folder / lease.name).exists())
"""
    ran = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, check=True)
    assert ran.stdout.split() == ["True", "True"]


def test_leases_can_be_read_by_their_owner_alone(tmp_path: Path) -> None:
    lease = Lease(tmp_path / "leases")
    try:
        modes = [path.stat().st_mode & 0o777 for path in (tmp_path / "leases", tmp_path / "leases" / lease.name)]
        assert modes == [0o700, 0o600]
    finally:
        lease.release()
