"""Makes load.csv: made-up quantiles of the hourly load of a town over two days. Both files are CC0 (public domain).

python examples/data/make_load.py
"""

from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import norm

LEVELS = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)

hours = pd.date_range("2026-01-03", periods=48, freq="h")
of_day = hours.hour.to_numpy()
median = 1000 + 180 * np.exp(-((of_day - 18.5) ** 2) / 14) + 90 * np.exp(-((of_day - 9) ** 2) / 10)
median = median - 130 * np.exp(-((of_day - 3.5) ** 2) / 12)
sd = 35 + 0.6 * np.arange(48)
table = pd.DataFrame({"item_id": "town", "timestamp": hours})
for level in LEVELS:
    table[str(level)] = np.round(median * np.exp(norm.ppf(level) * sd / median), 1)
table.to_csv(Path(__file__).with_name("load.csv"), index=False)
