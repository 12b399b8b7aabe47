"""A stand-in for what answers: told what to say to which prompt, and otherwise the emulator's rules."""

from __future__ import annotations

import json
from typing import Any

from dw_agents.emulator.backends.completion import Answer, completion
from dw_agents.emulator.backends.rules import RulesBackend

__all__ = ["Replies"]


class Replies(RulesBackend):
    """Answers prompts that hold one of the given texts as told, in the order given, and the others by rules.

    Args:
        replies: what to say, by a text that the prompt holds; or, as a dictionary, what to call the only tool with.
    """

    name = "replies"
    description = "Fixed replies answer, and fixed rules where there is none."

    def __init__(self, replies: dict[str, str | dict[str, Any]]) -> None:
        self.replies = replies
        self.prompts: list[str] = []

    async def chat(self, request: dict[str, Any]) -> dict[str, Any]:
        """Answer one chat request."""
        prompt = "\n".join(str(message.get("content")) for message in request["messages"])
        self.prompts.append(prompt)
        for text, reply in self.replies.items():
            if text in prompt and isinstance(reply, str):
                return completion(request, Answer(text=reply))
            if text in prompt:
                (tool,) = request["tools"]
                return completion(request, Answer(calls=((tool["function"]["name"], json.dumps(reply)),)))
        return await super().chat(request)
