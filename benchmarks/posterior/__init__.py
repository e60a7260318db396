"""The exact posterior of forecasting problems (gold samples), and comparisons of methods against it."""
