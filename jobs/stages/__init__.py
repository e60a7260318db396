"""``python -m jobs.search --stage N``: the five stages of OpenTSLM under the same tree."""
