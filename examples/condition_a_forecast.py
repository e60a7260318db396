"""Scenarios of a load forecast in which a high evening is followed by a low day, and how probable that is.

What is learned: a condition is written in the units and dates of the file; its probability comes with an interval;
scenarios count alike and all satisfy it.

    python examples/condition_a_forecast.py
"""

from pathlib import Path

from sadt_ray import condition, read_forecast

forecast = read_forecast(Path(__file__).parent / "data/load.csv", unit="MW", correlation=0.95)
found = condition(forecast, "max[day 1, 18:00..22:00] > 1300 and mean[day 2] < 1030", num_scenarios=50)
scenarios = found.scenarios()
evening = scenarios.loc["2026-01-03 18:00":"2026-01-03 22:00"].max()
day = scenarios.loc["2026-01-04"].mean()

print(f"P = {found.probability_text()}")
print(f"lowest evening {evening.min():.2f} MW, highest day {day.max():.2f} MW, in {scenarios.shape[1]} scenarios")
print(
    f"median at 19:00 of day 1: {found.before[0.5].iloc[19]:.1f} MW before, {found.quantiles()[0.5].iloc[19]:.1f} after"
)
