"""The report of a sweep (a grid of searches): pooled figures, comparisons, charts and files."""
