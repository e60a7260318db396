"""Which series a job works on, from its flags."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from sadt_ray.data.etth1 import DataNotFound, load_csv, load_etth1
from sadt_ray.data.synthetic import synthetic_hourly
from sadt_ray.data.windows import SeriesDataset


def load_dataset(dataset: str | None, data_file: Path | None) -> SeriesDataset:
    """A file's series, called ``dataset`` or after the file; else the built-in one of that name, ETTh1 by default.

    Raises:
        DataNotFound: if ETTh1 or the file is nowhere.
        ValueError: for a name that is not built in, or a file that does not fit.
    """
    if data_file is not None:
        return load_csv(data_file, dataset or data_file.stem)
    if dataset == "synthetic":
        return synthetic_hourly()
    if dataset not in (None, "ETTh1"):
        raise ValueError(f"the dataset {dataset!r} is not built in; give its CSV with --data-file, or use ETTh1")
    return load_etth1()


def load_dataset_or_synthetic(dataset: str | None, data_file: Path | None, console: Console) -> SeriesDataset:
    """The same, but where nothing was asked for and ETTh1 cannot be had, a synthetic series stands in, and the console
    says so."""
    try:
        return load_dataset(dataset, data_file)
    except DataNotFound as error:
        if data_file is not None or dataset is not None:
            raise
        said = f"{error}\nGoing on with the built-in synthetic hourly series."
        console.print(said, style="yellow", markup=False, highlight=False, soft_wrap=True)
        return synthetic_hourly()
