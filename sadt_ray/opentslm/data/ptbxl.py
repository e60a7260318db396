"""Records of PTB-XL (12 leads, ten seconds) in millivolts: from a parquet, from WFDB files, or from PhysioNet."""

from __future__ import annotations

from functools import cache, lru_cache
from pathlib import Path

import numpy as np
from jaxtyping import Float

from sadt_ray.opentslm.data.places import fetched, find_data
from sadt_ray.opentslm.data.tables import read_table
from sadt_ray.opentslm.stage_spec import LEADS

ADDRESS = "https://physionet-open.s3.amazonaws.com/ptb-xl/1.0.3"
_COLLECTION = "ecg/ptbxl_records_100hz.parquet"


@lru_cache(maxsize=256)
def load_record(ecg_id: int) -> Float[np.ndarray, "12 T"]:
    """A record by its number, at 100 or 500 Hz, whichever is available. Raises DataNotFound if none is."""
    if ecg_id in _collection():
        return _collection()[ecg_id]
    name = f"records500/{ecg_id // 1000 * 1000:05d}/{ecg_id:05d}_hr"
    header, _ = (fetched(f"{ADDRESS}/{name}{ending}", f"ptbxl/{name}{ending}") for ending in (".hea", ".dat"))
    return read_wfdb(header)


def read_wfdb(header: Path) -> Float[np.ndarray, "leads T"]:
    """Read a WFDB record of format 16 from its ``.hea`` and the ``.dat`` beside it: (adc - baseline) / gain, in the
    units of the header. Raises ValueError naming the file for another format or a truncated record.
    """
    lines = [line.split() for line in header.read_text().splitlines() if line and not line.startswith("#")]
    leads, samples = int(lines[0][1]), int(lines[0][3])
    signals = lines[1 : 1 + leads]
    if {signal[1] for signal in signals} != {"16"} or len({signal[0] for signal in signals}) != 1:
        raise ValueError(f"{header}: only records of format 16 in one .dat file can be read")
    adc = np.fromfile(header.with_name(signals[0][0]), "<i2")
    if adc.size != leads * samples:
        raise ValueError(f"{header}: {leads} leads of {samples} samples announced, the .dat file holds {adc.size}")
    scale = [_gain_and_baseline(signal[2], signal[4]) for signal in signals]
    gain, baseline = np.array(scale, np.float64).T
    return (adc.reshape(samples, leads).T - baseline[:, None]) / gain[:, None]


def rounded_to_microvolts(leads: Float[np.ndarray, "12 T"]) -> Float[np.ndarray, "12 T"]:
    """Round to whole microvolts, as PTB-XL stores them; this undoes the rounding of float32 or of a z-score."""
    return np.round(np.asarray(leads, np.float64), 3)


def _gain_and_baseline(field: str, adc_zero: str) -> tuple[float, float]:
    """Gain and baseline in a field such as ``1000.0(0)/mV``; the baseline is the ADC zero if there are no brackets."""
    gain, _, baseline = field.partition("/")[0].partition("(")
    return float(gain), float(baseline.rstrip(")") or adc_zero)


@cache
def _collection() -> dict[int, Float[np.ndarray, "12 T"]]:
    path = find_data(_COLLECTION)
    rows = read_table(path) if path else []
    return {row["ecg_id"]: rounded_to_microvolts(np.array([row[lead] for lead in LEADS])) for row in rows}
