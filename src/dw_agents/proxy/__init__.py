"""A local OpenAI-compatible proxy: programs in any language use the tiers by changing a base URL.

Owns: the public names. The command is `dw-agents serve`; a Python program that wants the proxy inside itself enters
``Proxy``. Nothing of the core imports this package.
"""

from __future__ import annotations

from dw_agents.proxy.server import Proxy
from dw_agents.proxy.settings import Settings

__all__ = ["Proxy", "Settings"]
