"""What LlamaIndex's agents, query engines and stores rely on in an LLM, as tests.

Owns: the suite that any LLM integration can run. None of it knows ``DoublewordLLM``; the server behind the LLM is
whatever the integration's tests provide. Needs pytest, and nothing else that LlamaIndex does not.

    pytest.register_assert_rewrite("llama_index.llms.dw_agents.conformance")   # in conftest.py: fuller messages

    class TestMyLLM(LLMConformance):
        @pytest.fixture
        def server(self) -> Iterator[Server]:
            with my_fake_server() as server:
                yield server
"""

from __future__ import annotations

from llama_index.llms.dw_agents.conformance.agents import AgentContracts
from llama_index.llms.dw_agents.conformance.asking import AskingContracts
from llama_index.llms.dw_agents.conformance.contexts import ContextContracts
from llama_index.llms.dw_agents.conformance.failing import FailureContracts
from llama_index.llms.dw_agents.conformance.filling import StructuredContracts
from llama_index.llms.dw_agents.conformance.keeping import KeepingContracts
from llama_index.llms.dw_agents.conformance.reading import ContentContracts
from llama_index.llms.dw_agents.conformance.server import Call, Reply, Server
from llama_index.llms.dw_agents.conformance.tooling import ToolContracts

__all__ = ["Call", "LLMConformance", "Reply", "Server"]


class LLMConformance(
    AskingContracts,
    ToolContracts,
    StructuredContracts,
    ContentContracts,
    FailureContracts,
    AgentContracts,
    ContextContracts,
    KeepingContracts,
):
    """All contracts; subclass it as ``Test...`` and provide the fixture ``server``.

    Attributes:
        carries: names of the content block classes that the LLM sends on, of ``ImageBlock``, ``DocumentBlock`` (text),
            ``CitableBlock``, ``CitationBlock``, ``CachePoint``, ``AudioBlock`` and ``VideoBlock``; the others it must
            refuse by name, before anything is sent.
        replays_reasoning: whether the server is shown the model's earlier reasoning.
    """
