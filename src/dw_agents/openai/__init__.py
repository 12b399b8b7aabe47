"""OpenAI clients whose calls travel on the service's tiers: change the import, keep the code.

Owns: the public names. Needs the extra ``dw-agents[openai]``; works with openai 2 and 3.
"""

try:
    import openai as _openai  # noqa: F401 - only asked whether it is there
except ImportError as _error:  # pragma: no cover - the tests have it
    raise ImportError("dw_agents.openai needs the openai package: pip install 'dw-agents[openai]'") from _error

from dw_agents.adapting.carry import DoublewordWarning
from dw_agents.openai.clients import AsyncOpenAI, OpenAI, deferred

__all__ = ["AsyncOpenAI", "DoublewordWarning", "OpenAI", "deferred"]
