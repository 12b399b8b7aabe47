"""A fleet of agents reads the handbook on the flex tier, against the emulator: nothing is paid.

Run it with ``make demo`` or ``python cookbook/demo.py [--model rules|local]``. Each agent answers one question by
searching, opening what it found, and following a reference: four steps, each of which needs the one before.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import sys
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from handbook import Handbook
from langchain.agents import create_agent
from langchain_core.messages import AIMessage
from langchain_core.tools import tool

from dw_agents.emulator import Emulator
from dw_agents.progress import Progress
from langchain_dw_agents import ChatDoubleword

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.tools import BaseTool

__all__ = ["QUESTIONS", "Finding", "ask_fleet", "main"]

MODEL = "Qwen/Qwen3.5-35B-A3B-FP8"
SYSTEM_PROMPT = (
    "You answer from the handbook. Search, open the best section, follow its reference, then answer briefly."
)

QUESTIONS = (
    "How long may a flex job stay queued?",
    "What does a step cost on each tier?",
    "When is a submission safe to send again?",
    "What happens when the reply to a submission is lost?",
    "What happens to a step when its caller is cancelled?",
    "Which tier do embeddings use?",
    "Is an answer that was cut at the token limit reported?",
    "What does a receipt count?",
    "Why is an unknown tier refused?",
    "How do I find a batch again after a crash?",
    "Which fields does the Responses surface not carry?",
    "How can one agent mix several tiers?",
    "In which order do the results of a batch arrive?",
    "Why do small thread pools not limit a fleet?",
    "How does fan-out shorten a run?",
    "What are the states of a job?",
    "Where do agents spend their tokens?",
    "How do I set a deadline for a step?",
    "What do unknown prices mean in the sum?",
    "How can I test without paying?",
    "Which errors appear only after acceptance?",
    "How many requests may one batch file hold?",
    "Do framework retries multiply submissions?",
    "How are parallel tool calls useful on a slow tier?",
)


@dataclass(frozen=True)
class Finding:
    """What one agent found.

    Attributes:
        question: what it was asked.
        answer: what it said at the end.
        trail: the sections that it opened, in order.
        steps: its model calls.
    """

    question: str
    answer: str
    trail: tuple[str, ...]
    steps: int


async def ask_fleet(
    llm: ChatDoubleword, questions: Sequence[str], progress: Progress | None = None
) -> list[Finding | Exception]:
    """Let one agent per question run, all at the same time; an agent that fails is an exception in its place."""
    tools = handbook_tools(Handbook())

    async def ask(number: int, question: str) -> Finding | Exception:
        agent: Any = create_agent(llm, tools, system_prompt=SYSTEM_PROMPT, name=f"reader-{number}")
        try:
            state = await agent.ainvoke({"messages": [{"role": "user", "content": question}]})
        except Exception as error:  # noqa: BLE001 (one agent's failure is not the fleet's)
            return error
        finally:
            if progress is not None:
                progress.advance()
        return _finding(question, state["messages"])

    return await asyncio.gather(*(ask(number, question) for number, question in enumerate(questions, 1)))


def handbook_tools(handbook: Handbook) -> list[BaseTool]:
    """Wrap the handbook's methods as tools; their docstrings are the descriptions that the model reads."""
    return [tool(method) for method in (handbook.search, handbook.open_section, handbook.follow_reference)]


def _finding(question: str, messages: list[Any]) -> Finding:
    turns = [message for message in messages if isinstance(message, AIMessage)]
    arguments = [call["args"] for turn in turns for call in turn.tool_calls]
    trail = tuple(str(ident) for args in arguments for key, ident in args.items() if key.endswith("_id"))
    return Finding(question, turns[-1].text, trail, len(turns))


def show(findings: Sequence[Finding | Exception]) -> None:
    """Print each agent's question, the way it took, and its answer."""
    for number, finding in enumerate(findings, 1):
        if isinstance(finding, Exception):
            print(f"\n{number:3}. failed: {type(finding).__name__}: {finding}")
            continue
        print(f"\n{number:3}. {finding.question}")
        print(f"     {finding.steps} steps: {' -> '.join(('search', *finding.trail, 'answer'))}")
        answer = textwrap.shorten(finding.answer, width=300, placeholder=" ...")
        print(textwrap.fill(answer, width=100, initial_indent="     ", subsequent_indent="     "))


def _arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="A fleet of agents on the flex tier of a local emulator.")
    parser.add_argument(
        "--model",
        choices=("rules", "local"),
        default="rules",
        help="what answers: fixed rules, or a real small model (needs dw-agents[local])",
    )
    parser.add_argument("--agents", type=int, help="size of the fleet (default: 24; 20 for --model local)")
    parser.add_argument(
        "--speed",
        type=float,
        default=60.0,
        help="service seconds per real second, for --model rules (default: %(default)s)",
    )
    parser.add_argument("--service-tier", choices=("flex", "priority"), default="flex", help="default: %(default)s")
    return parser.parse_args(given)


def _emulator(options: argparse.Namespace) -> Emulator:
    if options.model == "local":
        return Emulator("local")
    # About what flex takes: a minute or two a step, some of them much longer.
    return Emulator("rules", latency="lognormal:median=80,sigma=0.4", visible_after=0.5, speed=options.speed)


def main(given: Sequence[str] | None = None) -> int:
    """Run the fleet and print what it found and what it cost.

    Args:
        given: the command line, without the program's name; by default the process's own.

    Returns:
        Exit status: 0, 1 when an agent failed, 130 after Ctrl-C.
    """
    options = _arguments(given)
    local = options.model == "local"
    agents = max(options.agents or (20 if local else 24), 1)
    questions = list(itertools.islice(itertools.cycle(QUESTIONS), agents))
    with _emulator(options) as emulator:
        print(f"{len(questions)} agents on the {options.service_tier} tier of a local emulator; nothing is paid.")
        print(f"What answers: {emulator.description}")
        if local:
            print("It takes about a second of two processor cores for each step: expect a minute or more.")
        else:
            print(f"Time: a service minute takes {60 / options.speed:.2g} s here.")
        llm = ChatDoubleword(
            model=MODEL,
            api_key=emulator.api_key,
            base_url=emulator.base_url,
            service_tier=options.service_tier,
            max_tokens=96 if local else None,
        )
        engine = llm.engine
        with engine:
            try:
                with Progress(engine, len(questions)) as progress:
                    findings = asyncio.run(ask_fleet(llm, questions, progress))
            except KeyboardInterrupt:
                engine.close()
                print("\nStopped: the steps in flight were cancelled at the service.")
                print(f"Still running there: {len(emulator.running())}.\n\n{engine.receipt()}")
                return 130
        show(findings)
        print(f"\nReceipt, as if {MODEL} had answered (tokens as the emulator counts them):\n{engine.receipt()}")
    return int(any(isinstance(finding, Exception) for finding in findings))


if __name__ == "__main__":
    sys.exit(main())
