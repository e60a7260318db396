"""A verifier as one safetensors file: weights as tensors, names and facts as JSON, nothing pickled."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from sadt_ray.opentslm.rewards.cross_fit import CrossFitted
from sadt_ray.opentslm.rewards.logistic import LogisticHead
from sadt_ray.opentslm.rewards.verifier import Verifier

FORMAT = "sadt-ray verifier 1"
VERIFIER, TEMPLATES = "verifier.safetensors", "templates.safetensors"
"""Files in the directory of a trained verifier."""
_COLUMNS = ("mean", "scale", "weights", "bias")


def save_verifier(verifier: Verifier, path: Path) -> None:
    """Write a verifier. A reader finds the old file or the new one, never a part."""
    heads = (*verifier.heads.fits, verifier.heads.full)  # the one of everything is last
    arrays = {name: np.stack([np.asarray(getattr(head, name), float) for head in heads]) for name in _COLUMNS}
    about = {
        "names": verifier.names,
        "claims": verifier.claims,
        "kind": verifier.kind,
        "fold_of": dict(verifier.heads.fold_of),
        "facts": dict(verifier.facts),
    }
    partial = path.with_name(f"{path.name}.writing")
    save_file(arrays, partial, {"format": FORMAT, "about": json.dumps(about)})
    os.replace(partial, path)


def load_verifier(path: Path) -> Verifier:
    """Read a verifier. Raises ValueError for a file that holds none."""
    try:
        with safe_open(path, "np") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise ValueError(f"{path} says {metadata.get('format', 'nothing')!r}, not {FORMAT!r}")
            mean, scale, weights, bias = (file.get_tensor(name) for name in _COLUMNS)
    except SafetensorError as error:
        raise ValueError(f"{path} holds no verifier: {error}") from None
    about = json.loads(metadata["about"])
    heads = [LogisticHead(mean[k], scale[k], weights[k], float(bias[k])) for k in range(len(bias))]
    crossed = CrossFitted(about["fold_of"], tuple(heads[:-1]), heads[-1])
    return Verifier(tuple(about["names"]), tuple(about["claims"]), crossed, about["kind"], about["facts"])
