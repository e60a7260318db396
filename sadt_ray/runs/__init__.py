"""Run directories: what a search leaves behind, written so that nothing is half there."""
