"""Sweeps: which searches make them up, and how one of these runs as a trial."""
