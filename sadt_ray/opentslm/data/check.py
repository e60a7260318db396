"""Does a problem put the question that a published sample puts: every text to the character, every series?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from sadt_ray.interfaces import Problem


def differences(problem: Problem, sample: Mapping[str, Any], tolerance: float = 0.0) -> list[str]:
    """Where a problem's prompt differs from a sample as upstream writes it: ``pre_prompt, time_series_text,
    time_series, post_prompt``. One line each; none if it does not.
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
