"""``python -m dw_agents``: the command `dw-agents`."""

from __future__ import annotations

import sys

from dw_agents.cli import main

__all__: list[str] = []

if __name__ == "__main__":
    sys.exit(main())
