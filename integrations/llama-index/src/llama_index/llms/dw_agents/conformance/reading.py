"""What messages hold, on the way there and back.

Owns: the contracts of content blocks and of reasoning. Must not import any LLM.
"""
# ruff: noqa: S101 - these are tests, though they live in a package

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pytest
from llama_index.core.base.llms.types import (
    AudioBlock,
    CacheControl,
    CachePoint,
    ChatMessage,
    CitableBlock,
    CitationBlock,
    DocumentBlock,
    ImageBlock,
    MessageRole,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
    VideoBlock,
)

from llama_index.llms.dw_agents.conformance.server import Call, Contracts, Reply, Server, blocking, question, run

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["ContentContracts"]

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)
BLOCKS: dict[str, Any] = {
    "ImageBlock": lambda: ImageBlock(image=PIXEL),
    "DocumentBlock": lambda: DocumentBlock(
        data=b"Fjords are deep, cold.", document_mimetype="text/plain", title="On fjords"
    ),
    "CitableBlock": lambda: CitableBlock(title="On fjords", source="a book", content="Fjords are deep."),
    "CitationBlock": lambda: CitationBlock(
        cited_content="Fjords are deep.", source="a book", title="On fjords", additional_location_info={}
    ),
    "CachePoint": lambda: CachePoint(cache_control=CacheControl(type="ephemeral")),
    "AudioBlock": lambda: AudioBlock(audio=b"RIFF....WAVE", format="wav"),
    "VideoBlock": lambda: VideoBlock(video=b"....ftypmp42", video_mimetype="video/mp4"),
}
SHOWS = {
    "ImageBlock": base64.b64encode(PIXEL).decode(),
    "DocumentBlock": "Fjords are deep",
    "CitableBlock": "Fjords are deep",
    "CitationBlock": "Fjords are deep",
}


class ContentContracts(Contracts):
    """Contracts of content blocks."""

    @pytest.mark.parametrize("name", BLOCKS)
    def test_every_block_is_carried_or_refused_by_name(self, server: Server, name: str) -> None:
        """What the service would drop in silence is an error, before anything is sent."""
        llm = server.llm()
        message = ChatMessage(role=MessageRole.USER, blocks=[TextBlock(text="Look:"), BLOCKS[name]()])
        if name not in self.carries:
            with pytest.raises(Exception, match=name):
                llm.chat([message])
            with pytest.raises(Exception, match=name):
                run(llm.achat([message]))
            assert server.requests() == []
            return
        with blocking():  # a cache point may be dropped with a warning
            llm.chat([message])
        seen = json.dumps(server.requests()[0]["messages"])
        assert "Look:" in seen
        assert SHOWS.get(name, "") in seen

    def test_images_are_carried_by_bytes_path_and_address(self, server: Server, tmp_path: Path) -> None:
        """The address itself is passed on; nothing is downloaded here."""
        (tmp_path / "pixel.png").write_bytes(PIXEL)
        inline = f"data:image/png;base64,{SHOWS['ImageBlock']}"
        for block, url in (
            (ImageBlock(image=PIXEL), inline),
            (ImageBlock(path=tmp_path / "pixel.png"), inline),
            (ImageBlock(url="https://images.invalid/pixel.png"), "https://images.invalid/pixel.png"),
            (ImageBlock(url=inline), inline),
        ):
            server.llm().chat([ChatMessage(role=MessageRole.USER, blocks=[TextBlock(text="Look:"), block])])
            assert server.requests()[-1]["messages"][0]["content"][1]["image_url"]["url"] == url

    def test_the_roles_and_texts_of_a_conversation_are_kept(self, server: Server) -> None:
        """In their order, several texts of one message, too."""
        conversation = [
            ChatMessage(role=MessageRole.SYSTEM, content="Be brief."),
            ChatMessage(role=MessageRole.USER, blocks=[TextBlock(text="One."), TextBlock(text="Two.")]),
            ChatMessage(role=MessageRole.ASSISTANT, content="Three."),
            ChatMessage(role=MessageRole.USER, content="Four."),
        ]
        server.llm().chat(conversation)
        asked = server.requests()[0]["messages"]
        assert [message["role"] for message in asked] == ["system", "user", "assistant", "user"]
        said = json.dumps(asked)
        assert sorted(("brief", "One.", "Two.", "Three.", "Four."), key=said.index) == [
            "brief", "One.", "Two.", "Three.", "Four.",
        ]  # fmt: skip

    def test_a_messages_text_is_one_block(self, server: Server) -> None:
        """``content`` joins blocks with line breaks, which the model did not write."""
        server.says(Reply("One. Two."))
        message = server.llm().chat(question()).message
        assert [block.text for block in message.blocks if isinstance(block, TextBlock)] == ["One. Two."]

    def test_reasoning_is_kept_apart_from_the_answer(self, server: Server) -> None:
        """As a block before the text, as ``thinking_delta``, and not in the content."""
        server.says(Reply("Oslo.", thoughts="They ask for a city."))
        answer = server.llm().chat(question())
        assert answer.message.content == "Oslo."
        kinds = [type(block) for block in answer.message.blocks]
        assert kinds == [ThinkingBlock, TextBlock]
        assert isinstance(answer.message.blocks[0], ThinkingBlock)
        assert answer.message.blocks[0].content == "They ask for a city."
        assert answer.additional_kwargs["thinking_delta"] == "They ask for a city."

    def test_an_answer_can_be_sent_back(self, server: Server) -> None:
        """With its reasoning and calls, after a trip through JSON; without an error."""
        server.says(Reply("Let me see.", thoughts="Hm.", calls=[Call("double", {"number": 4}, "c1")]), Reply("8"))
        llm = server.llm()
        first = ChatMessage.model_validate(json.loads(llm.chat(question()).message.model_dump_json()))
        assert [type(block) for block in first.blocks] == [ThinkingBlock, TextBlock, ToolCallBlock]
        output = ChatMessage(role=MessageRole.TOOL, content="8", additional_kwargs={"tool_call_id": "c1"})
        llm.chat([*question(), first, output])
        asked = server.requests()[-1]["messages"]
        assert [message["role"] for message in asked] == ["user", "assistant", "tool"]
        assert asked[1]["tool_calls"][0]["id"] == "c1"
        assert ("Hm." in json.dumps(asked)) is self.replays_reasoning

    def test_a_refusal_is_not_lost(self, server: Server) -> None:
        """The model's words are the answer's text."""
        server.says(Reply(refusal="I will not say."))
        assert server.llm().chat(question()).message.content == "I will not say."
