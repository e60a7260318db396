"""A cache of the hub with tiny checkpoints under the published names, and the models that are loaded from it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.opentslm_parity.cases import Case, question, write_hub
from benchmarks.opentslm_parity.compare import cache_in, load
from benchmarks.opentslm_parity.tiny_base import LLAMA
from sadt_ray.processes.language.model import LanguageModel
from sadt_ray.processes.language.prompt import Prompt


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hub")
    write_hub(folder)
    return folder


@pytest.fixture
def hub_cache(home: Path) -> Iterator[Path]:
    with cache_in(home):
        yield home / "hub"


@pytest.fixture(scope="session")
def flamingo(home: Path) -> LanguageModel:
    return load(home, Case(LLAMA, "flamingo", 1))


@pytest.fixture(scope="session")
def prompts() -> dict[int, Prompt]:
    """By the number of series."""
    return {n: Prompt(q.pre, q.texts, q.series, q.post) for n in (1, 3) for q in [question(n)]}
