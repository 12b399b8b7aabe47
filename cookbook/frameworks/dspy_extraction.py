"""DSPy on flex: a signature with typed fields reads letters, all of them at once.

Run it with ``python cookbook/frameworks/dspy_extraction.py``: the emulator answers and nothing is paid. With
``--live`` the real service does; that needs ``DOUBLEWORD_API_KEY``. Needs ``dspy>=3,<3.5``.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import dspy  # type: ignore[import-not-found]  # not among the development tools: see the note above
from pydantic import BaseModel

from dw_agents.openai import OpenAI

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MODEL = "Qwen/Qwen3.5-35B-A3B-FP8"


class Complaint(BaseModel):
    """What one letter says."""

    order: int
    days_late: int


def facts(number: int) -> Complaint:
    """Return what letter ``number`` is to say."""
    return Complaint(order=40_000 + number, days_late=1 + number * 11 % 9)


def letter(number: int) -> str:
    """Write letter ``number``."""
    told = facts(number)
    return f"I write about order: {told.order}. What I bought came late; days_late: {told.days_late}. I want it mended."


class FlexLM(dspy.BaseLM):  # type: ignore[misc]  # DSPy is not there when this is type-checked
    """A language model for DSPy that asks through an OpenAI client, of whatever tier.

    Args:
        model: its name.
        client: asks.
    """

    supports_response_schema = True
    supported_params = frozenset({"response_format"})

    def __init__(self, model: str, client: OpenAI) -> None:
        super().__init__(model=model, cache=False)
        self.client = client

    def forward(self, prompt: str | None = None, messages: Any = None, **kwargs: Any) -> Any:
        """Ask once."""
        asked = {name: value for name, value in {**self.kwargs, **kwargs}.items() if value is not None}
        create = self.client.chat.completions.create
        if isinstance(asked.get("response_format"), type):
            create = self.client.chat.completions.parse  # type: ignore[assignment]  # it takes a class, too
        return create(model=self.model, messages=messages or [{"role": "user", "content": prompt}], **asked)


class Form(dspy.Signature):  # type: ignore[misc]  # as above
    """Fill in the form from the letter."""

    letter: str = dspy.InputField()
    order: int = dspy.OutputField()
    days_late: int = dspy.OutputField()


def read(client: OpenAI, letters: int) -> list[Complaint]:
    """Read all letters at the same time: each thread waits for its own answer."""
    with dspy.context(lm=FlexLM(MODEL, client), adapter=dspy.JSONAdapter()):
        reader = dspy.Predict(Form)
        asked = [(reader, {"letter": letter(number)}) for number in range(letters)]
        # Without its time limit: DSPy asks once more what takes two minutes, and it would be paid once more.
        found = dspy.Parallel(num_threads=max(2, letters), disable_progress_bar=True, timeout=0)(asked)
    return [Complaint(order=form.order, days_late=form.days_late) for form in found]


@contextmanager
def service(*, live: bool) -> Iterator[OpenAI]:
    """Give a client on flex, in front of the real service or of an emulator."""
    if live:
        with OpenAI() as client:
            yield client
        return
    from dw_agents.emulator import Emulator

    with (
        Emulator(latency="lognormal:median=30,sigma=0.3", speed=60) as emulator,
        OpenAI(api_key=emulator.api_key, base_url=emulator.base_url) as client,
    ):
        print(f"A local emulator stands in for the service. {emulator.description}")
        yield client


def run(letters: int, *, live: bool) -> None:
    """Read the letters and say what they say."""
    with service(live=live) as client:
        complaints = read(client, letters)
        for complaint in complaints:
            print(f"order {complaint.order}: {complaint.days_late} days late")
        right = sum(complaint == facts(number) for number, complaint in enumerate(complaints))
        print(f"\n{right} of {letters} letters read as they were meant.\n\n{client.engine.receipt()}")


def main(given: Sequence[str] | None = None) -> int:
    """Read the letters and print the receipt."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--letters", type=int, default=12, help="how many (default: %(default)s)")
    parser.add_argument("--live", action="store_true", help="ask the real service (needs DOUBLEWORD_API_KEY)")
    options = parser.parse_args(given)
    run(options.letters, live=options.live)
    return 0


if __name__ == "__main__":
    sys.exit(main())
