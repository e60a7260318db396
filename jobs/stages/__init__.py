"""The command ``python -m jobs.search --stage N``: its flags and its run."""
