"""``jobs.bench parity``: what its figures mean and where its reference comes from."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks import parity
from benchmarks.opentslm_parity.compare import Difference

pytest.importorskip("transformers")


@pytest.fixture
def two_cases(monkeypatch: pytest.MonkeyPatch) -> None:
    differences = {
        "llama-3.2-1b sp 1": Difference(logits=1e-5, spread=10.0, same=16, tokens=16),
        "gemma-3-270m sp 3 cut": Difference(logits=2e-5, spread=2.0, same=5, tokens=15),
    }
    monkeypatch.setattr(parity, "write_hub", lambda home: None)
    monkeypatch.setattr(parity, "compare", lambda home, reference: differences)


def test_figures_are_the_worst_difference_and_the_share_of_equal_tokens(
    two_cases: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(parity.PYTHON, raising=False)
    result = parity.run()
    assert result.figures == {"max_logit_difference": 2e-5, "argmax_equal": 21 / 31, "cases": 2.0}
    assert "the record in benchmarks/opentslm_parity/reference.npz" in result.notes[0]
    assert "opentslm 0.1.0" in result.notes[0]
    assert [row["checkpoint"] for row in result.rows] == ["sp", "sp (texts cut)"]


def test_an_environment_without_upstream_is_told_by_its_own_words(
    two_cases: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!{sys.executable}\nraise SystemExit('No module named opentslm')\n")
    python.chmod(0o755)
    monkeypatch.setenv(parity.PYTHON, str(python))
    with pytest.raises(SystemExit, match=r"upstream failed under .*\n.*No module named opentslm"):
        parity.run()
