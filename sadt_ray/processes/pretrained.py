"""Priors in files (safetensors with the configuration in the metadata), and the priors that ship with the package."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor

from sadt_ray.processes.denoiser import DenoiserConfig, DiffKDenoiser
from sadt_ray.processes.diffusion import DiffusionProcess, SamplerConfig
from sadt_ray.processes.gaussian_forecast import ForecastConfig
from sadt_ray.processes.training_state import read_safetensors, save_atomically

FORMAT = "sadt_ray diff-k 1"
WEIGHTS = Path(__file__).resolve().parents[1] / "weights"
BACKBONE = "diff-k"


def save_prior(path: str | Path, denoiser: DiffKDenoiser, sampler: SamplerConfig) -> None:
    """Write a denoiser and its sampler, atomically."""
    config = {"denoiser": asdict(denoiser.config), "sampler": asdict(sampler)}
    save_atomically(denoiser.state_dict(), {"format": FORMAT, "config": json.dumps(config, sort_keys=True)}, Path(path))


def load_prior(path: str | Path, **process_options: Any) -> DiffusionProcess:
    """Load a frozen process from a file. ``process_options`` are options of ``DiffusionProcess``.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is not a diff-k prior.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no prior at {path}; train one with `python -m jobs.train prior`")
    tensors, metadata = read_safetensors(path)
    if metadata.get("format") != FORMAT:
        raise ValueError(f"{path} is not a diff-k prior (format {metadata.get('format')!r}); train one with jobs.train")
    config = json.loads(metadata["config"])
    denoiser = _build(config["denoiser"], tensors, path)
    process = DiffusionProcess(denoiser, SamplerConfig(**config["sampler"]), **process_options)
    denoiser.to(process.device)
    return process


def load_pretrained(backbone: str = BACKBONE, dataset: str = "ETTh1", **process_options: Any) -> DiffusionProcess:
    """Load the prior that ships with the package for a dataset.

    Args:
        backbone: ``"diff-k"``.
        dataset: name of the dataset.
        process_options: options of ``DiffusionProcess``, such as ``branch_steps="late"`` or ``device="cuda"``.

    Raises:
        ValueError: if the package has no such weights, with the command that trains them.
    """
    if backbone != BACKBONE:
        raise ValueError(f"there is no backbone {backbone!r} here; choose {BACKBONE!r}")
    path = WEIGHTS / f"diff_k_{dataset.lower()}.safetensors"
    if not path.is_file():
        shipped = ", ".join(sorted(p.stem.removeprefix("diff_k_") for p in WEIGHTS.glob("diff_k_*.safetensors")))
        raise ValueError(
            f"no {backbone} weights ship for the dataset {dataset!r} (shipped: {shipped or 'none'}). Train them: "
            f"python -m jobs.train prior --dataset {dataset} --data-file FILE.csv --out {dataset}.safetensors; then "
            f"load that file with load_prior, or search with --checkpoint {dataset}.safetensors"
        )
    return load_prior(path, **process_options)


def _build(config: dict[str, Any], tensors: dict[str, Tensor], path: Path) -> DiffKDenoiser:
    try:
        denoiser = DiffKDenoiser(DenoiserConfig(**config | {"forecast": ForecastConfig(**config["forecast"])}))
        denoiser.load_state_dict(tensors)
    except (TypeError, RuntimeError) as error:
        raise ValueError(f"{path} does not fit this version of sadt_ray ({error}); train it again") from None
    return denoiser.eval().requires_grad_(False)
