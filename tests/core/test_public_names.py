"""The public face of the package."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

import dw_agents
from dw_agents import errors

MODULES = [
    "dw_agents",
    "dw_agents.config",
    "dw_agents.engine",
    "dw_agents.errors",
    "dw_agents.prices",
    "dw_agents.receipt",
    "dw_agents.routes.base",
    "dw_agents.routes.cancel",
    "dw_agents.routes.flex",
    "dw_agents.routes.poller",
    "dw_agents.routes.realtime",
    "dw_agents.routes.recall",
    "dw_agents.routes.submitter",
    "dw_agents.runtime",
    "dw_agents.schedule.latency",
    "dw_agents.schedule.pace",
    "dw_agents.schedule.polling",
    "dw_agents.schedule.retries",
    "dw_agents.step",
    "dw_agents.ticket",
    "dw_agents.wire.http",
    "dw_agents.wire.responses",
]


def constants_then_classes(name: str) -> tuple[int, str]:
    return (0 if name.isupper() else 1 if name[0].isupper() else 2), name


@pytest.mark.parametrize("name", MODULES)
def test_every_name_in_all_is_there_and_they_are_sorted(name: str) -> None:
    module = importlib.import_module(name)

    assert module.__all__ == sorted(module.__all__, key=constants_then_classes)
    assert all(getattr(module, public, None) is not None for public in module.__all__)


def test_every_error_is_public() -> None:
    assert set(errors.__all__) <= set(dw_agents.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = dw_agents.nothing


@pytest.mark.parametrize("statement", ["import dw_agents", "from dw_agents import Engine, Step, StepError"])
def test_importing_does_not_load_what_only_a_running_engine_needs(statement: str) -> None:
    heavy = {"aiohttp", "anyio", "asyncio", "msgspec", "openai", "pydantic", "tenacity", "uvloop"}
    program = f"{statement}\nimport sys\nprint(*sorted({heavy!r} & set(sys.modules)))"

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout.split() == []


def test_the_error_tree_in_the_docstring_is_the_real_one() -> None:
    drawn = errors.__doc__ or ""
    depth_of = {}
    for line in drawn.splitlines():
        words = line.replace("│", " ").replace("├──", "   ").replace("└──", "   ")
        name = words.split()[0] if words.split() else ""
        if name in errors.__all__:
            depth_of[name] = len(words) - len(words.lstrip())

    assert set(depth_of) == set(errors.__all__)
    stack: list[str] = []
    for name, depth in depth_of.items():
        while stack and depth_of[stack[-1]] >= depth:
            stack.pop()
        if stack:
            assert issubclass(getattr(errors, name), getattr(errors, stack[-1]))
            assert getattr(errors, name).__mro__[1] is getattr(errors, stack[-1])
        stack.append(name)
