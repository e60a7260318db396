"""Compare the prompt of a problem with a published sample: each text to the character, each series."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sadt_ray.interfaces import Problem
from sadt_ray.opentslm.data.load import load_stage


def check_sample(path: str | Path, tolerance: float = 1e-6) -> list[str]:
    """Differences between a complete sample of ECG-QA-CoT and the prompt made from its raw record."""
    sample = json.loads(Path(path).read_text(encoding="utf-8"))
    return differences(load_stage(5, "all", path)[0], sample, tolerance)


def differences(problem: Problem, sample: Mapping[str, Any], tolerance: float = 0.0) -> list[str]:
    """Differences between a prompt and a sample as upstream writes it, one line each:
    ``pre_prompt, time_series_text, time_series, post_prompt``.
    """
    prompt = problem.conditioning
    found = _texts("pre_prompt", [prompt.pre], [sample["pre_prompt"]])
    found += _texts("time_series_text", prompt.texts, sample["time_series_text"])
    found += _texts("post_prompt", [prompt.post], [sample["post_prompt"]])
    if len(prompt.series) != len(sample["time_series"]):
        return [*found, f"time_series: {len(prompt.series)} series, published {len(sample['time_series'])}"]
    for number, (ours, theirs) in enumerate(zip(prompt.series, sample["time_series"], strict=True)):
        theirs = np.asarray(theirs, np.float32)
        if ours.shape != theirs.shape:
            found.append(f"time_series[{number}]: {len(ours)} values, published {len(theirs)}")
        elif (apart := float(np.abs(ours - theirs).max())) > tolerance:
            found.append(f"time_series[{number}]: a value is {apart:.2g} from the published one")
    return found


def _texts(name: str, ours: Any, theirs: Any) -> list[str]:
    if len(ours) != len(theirs):
        return [f"{name}: {len(ours)} texts, published {len(theirs)}"]
    found = []
    for number, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        if a != b:
            at = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
            found.append(
                f"{name}[{number}] differs at character {at}: {a[at : at + 30]!r}, published {b[at : at + 30]!r}"
            )
    return found
