"""The distribution, as LlamaIndex's own are made, and installable beside everything else."""

from __future__ import annotations

import tomllib
from importlib import import_module
from importlib.metadata import requires
from pathlib import Path
from typing import Any

import pytest
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.llms import CustomLLM
from llama_index.core.llms.function_calling import FunctionCallingLLM

from llama_index.embeddings.dw_agents import DoublewordEmbedding
from llama_index.llms.dw_agents import DoublewordLLM

HOME = Path(__file__).parents[2] / "integrations" / "llama-index"


def project() -> dict[str, Any]:
    return tomllib.loads((HOME / "pyproject.toml").read_text(encoding="utf-8"))


def test_the_namespaces_belong_to_nobody() -> None:
    """An ``__init__.py`` in one of them would hide LlamaIndex's core and all other integrations."""
    for namespace in ("llama_index", "llama_index/llms", "llama_index/embeddings"):
        assert not (HOME / "src" / namespace / "__init__.py").exists()
        assert (HOME / "src" / namespace).is_dir()


def test_llamahub_finds_the_classes_where_they_are_said_to_be() -> None:
    hub = project()["tool"]["llamahub"]
    assert hub["contains_example"] is False
    assert hub["import_path"] == DoublewordLLM.__module__.rpartition(".")[0]
    assert set(hub["class_authors"]) == {"DoublewordLLM", "DoublewordEmbedding"}


def test_nothing_that_is_needed_holds_openai_back() -> None:
    """``llama-index-llms-openai`` pins ``openai<3``; a resolver would go back years to satisfy both."""
    needed = [line.split(";")[0] for line in requires("llama-index-dw-agents") or [] if "extra ==" not in line]
    assert any(line.startswith("llama-index-core") for line in needed)
    assert not [line for line in needed if "openai" in line or "tiktoken" in line]


@pytest.mark.parametrize("module", ["llama_index.llms.dw_agents", "llama_index.embeddings.dw_agents"])
def test_every_public_name_is_there(module: str) -> None:
    package = import_module(module)
    assert package.__all__ == sorted(package.__all__)
    assert all(hasattr(package, name) for name in package.__all__)


def test_the_bases_are_those_whose_asynchronous_methods_are_asynchronous() -> None:
    """``CustomLLM`` answers them by its synchronous ones."""
    assert issubclass(DoublewordLLM, FunctionCallingLLM)
    assert not issubclass(DoublewordLLM, CustomLLM)
    assert issubclass(DoublewordEmbedding, BaseEmbedding)
