"""Parity with upstream's OpenTSLM: tiny checkpoints in the published format, run by upstream and by this package."""
