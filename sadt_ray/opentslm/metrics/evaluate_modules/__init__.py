"""The metrics as modules of Hugging Face's ``evaluate``, loaded from this folder and never from the hub.

Each is a folder with a module of the same name, as ``evaluate.load`` wants it. Importing ``evaluate`` takes seconds and
200 MB: nothing of this package does so before ``load_metric`` is called.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

METRICS = ("accuracy", "macro_f1", "kappa", "bleu", "rouge")


def metric_path(name: str) -> Path:
    """The folder for ``evaluate.load``. Raises ValueError listing the metrics for another name."""
    if name not in METRICS:
        raise ValueError(f"there is no metric {name!r}; choose one of {', '.join(METRICS)}")
    return Path(__file__).parent / name


def load_metric(name: str) -> Any:
    """``evaluate``'s module of a metric: ``load_metric("kappa").compute(predictions=..., references=...)``.

    Raises ModuleNotFoundError with the command to install it where ``evaluate`` is missing.
    """
    try:
        import evaluate
    except ModuleNotFoundError:
        raise ModuleNotFoundError("evaluate is needed for this: pip install 'sadt-ray[hf]'") from None
    return evaluate.load(str(metric_path(name)), keep_in_memory=True)
