"""Does OpenTSLM compute the same here as in its own package? Tiny checkpoints in the published format, run by both."""

from __future__ import annotations

import os
import subprocess
import tempfile
from importlib.util import find_spec
from pathlib import Path

from benchmarks import BenchResult
from benchmarks.opentslm_parity.cases import TOKENS, Decoded, load_record, write_hub
from benchmarks.opentslm_parity.compare import Difference, compare

QUESTION = "Does OpenTSLM compute the same here as in its own package?"
PYTHON = "OPENTSLM_PYTHON"  # names the interpreter of an environment with upstream in it
RECORD = Path(__file__).parent / "opentslm_parity" / "reference.npz"
_ROOT = Path(__file__).parents[1]


def run(quick: bool = False) -> BenchResult:
    """Every case in float32, against upstream itself if ``OPENTSLM_PYTHON`` names it, else against its record."""
    if find_spec("transformers") is None:
        raise SystemExit("jobs.bench parity: transformers is not installed. pip install -e '.[hf]'")
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        reference, versions, source = _reference(home)
        write_hub(home)
        differences = compare(home, reference)
    figures = {
        "max_logit_difference": max(d.logits for d in differences.values()),
        "argmax_equal": sum(d.same for d in differences.values()) / sum(d.tokens for d in differences.values()),
        "cases": float(len(differences)),
    }
    return BenchResult([_row(name, d) for name, d in differences.items()], figures, _notes(source, versions))


def _reference(home: Path) -> tuple[dict[str, Decoded], str, str]:
    """Upstream's decodes, the versions of its environment, and where they come from."""
    python = os.environ.get(PYTHON)
    if not python:
        return *load_record(RECORD), f"the record in {RECORD.relative_to(_ROOT)} ({PYTHON} names no interpreter)"
    out = home / "upstream.npz"
    command = [python, "-m", "benchmarks.opentslm_parity.run_upstream", str(out)]
    done = subprocess.run(
        command, cwd=_ROOT, env=os.environ | {"PYTHONPATH": str(_ROOT)}, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(f"jobs.bench parity: upstream failed under {python}:\n{done.stderr[-2000:]}")
    return *load_record(out), f"upstream itself, run just now by {python}"


def _row(name: str, difference: Difference) -> dict[str, object]:
    family, kind, count, *cut = name.split()
    return {
        "base": family,
        "checkpoint": kind + (" (texts cut)" if cut else ""),
        "series": int(count),
        "max |logit difference|": difference.logits,
        "spread of logits": difference.spread,
        "equal tokens": f"{difference.same} of {difference.tokens}",
    }


def _notes(source: str, versions: str) -> list[str]:
    return [
        f"Reference: {source}. {versions}.",
        f"Random weights (hidden 64, 3 layers), published names and file layout, the real loading path offline. Greedy "
        f"decodes of {TOKENS} tokens in float32 from weights that are exact in bfloat16; soft prompts begin with BOS, "
        f"as answers were trained.",
        "Texts cut: Gemma's tokenizer pads on the left, with which upstream loses the ends of a soft prompt's texts, "
        "and asks for the first token (BOS, forced) at a masked place: its logits are not compared. The other rows of "
        "Gemma's soft prompts pad on the right on both sides. 24 series are longer than Gemma's window of 512 tokens.",
    ]
