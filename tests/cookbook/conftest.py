"""The programs in ``cookbook/`` are run by path, so their folder is put where imports are looked for."""

from __future__ import annotations

import sys
from pathlib import Path

COOKBOOK = Path(__file__).parents[2] / "cookbook"
sys.path.insert(0, str(COOKBOOK))
