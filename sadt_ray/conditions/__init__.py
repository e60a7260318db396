"""Conditions: what must hold of a sample, in the units and dates of the data."""
