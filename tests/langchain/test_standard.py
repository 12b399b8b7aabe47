"""LangChain's own standard suites, unit and integration, over real HTTP against the emulator.

Skipped, and why (each as a test id of the suites):

==============================  =========================================================================
test_pdf_inputs                 the service accepts files and then leaves them out; they are refused here
test_pdf_tool_message           the same
test_audio_inputs               the service takes no audio
test_anthropic_inputs           those messages carry ``cache_control``, which is refused (it would be lost)
test_serdes                     LangChain loads classes of its own packages only
test_stream_time                needs cassettes recorded against one fixed host
==============================  =========================================================================

The image tests download a picture; here ``httpx.get`` hands them one.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, ClassVar

import httpx
import pytest
from langchain_tests.integration_tests import ChatModelIntegrationTests
from langchain_tests.unit_tests import ChatModelUnitTests

from dw_agents import Engine
from dw_agents.emulator import Emulator
from langchain_dw_agents import ChatDoubleword

if TYPE_CHECKING:
    from collections.abc import Iterator

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)

# HumanMessage(name=) is one of the suite's cases; that it warns is tested in test_fidelity.
pytestmark = [
    pytest.mark.filterwarnings("ignore::langchain_dw_agents.DoublewordWarning"),
    pytest.mark.filterwarnings("ignore:.*v3.*:langchain_core._api.beta_decorator.LangChainBetaWarning"),
]


class Settings:
    """What both suites need to know of the model."""

    output_version: ClassVar[str | None] = None

    @property
    def chat_model_class(self) -> type[ChatDoubleword]:
        return ChatDoubleword

    @property
    def supports_json_mode(self) -> bool:
        return True

    @property
    def supports_image_inputs(self) -> bool:
        return True

    @property
    def supports_image_urls(self) -> bool:
        return True

    @property
    def supports_image_tool_message(self) -> bool:
        return True


class TestUnit(Settings, ChatModelUnitTests):
    """The suite that needs no service."""

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": "Qwen/Qwen3.5-9B", "api_key": "a key", "output_version": self.output_version}

    @property
    def init_from_env_params(self) -> tuple[dict[str, str], dict[str, Any], dict[str, Any]]:
        return (
            {"DOUBLEWORD_API_KEY": "from env", "DOUBLEWORD_BASE_URL": "http://127.0.0.1:1/v1"},
            {"model": "Qwen/Qwen3.5-9B"},
            {"openai_api_key": "from env", "openai_api_base": "http://127.0.0.1:1/v1"},
        )


class TestUnitV1(TestUnit):
    """The same with LangChain's own content blocks stored in messages."""

    output_version = "v1"


class TestIntegration(Settings, ChatModelIntegrationTests):
    """The suite that talks to the service, on flex."""

    emulator: ClassVar[Emulator]

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def running_emulator(cls) -> Iterator[None]:
        with Emulator() as cls.emulator:
            yield
            counts = cls.emulator.counters.snapshot()
            Engine.shared(api_key=cls.emulator.api_key, base_url=cls.emulator.base_url).close()
        assert counts.flex > 0
        assert counts.realtime == 0

    @pytest.fixture(autouse=True)
    def picture_at_hand(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def get(url: str, **_: Any) -> httpx.Response:
            return httpx.Response(200, content=PIXEL, request=httpx.Request("GET", url))

        monkeypatch.setattr(httpx, "get", get)

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {
            "model": "Qwen/Qwen3.5-9B",
            "api_key": self.emulator.api_key,
            "base_url": self.emulator.base_url,
            "output_version": self.output_version,
        }

    @property
    def model_override_value(self) -> str:
        return "Qwen/Qwen3.5-35B-A3B-FP8"


class TestIntegrationV1(TestIntegration):
    """The same with LangChain's own content blocks stored in messages."""

    output_version = "v1"
