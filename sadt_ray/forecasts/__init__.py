"""Forecasts that users bring: quantiles, samples or laws per time step, and the prior that they make."""
