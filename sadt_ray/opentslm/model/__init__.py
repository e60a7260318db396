"""OpenTSLM (https://github.com/StanfordBDHG/OpenTSLM): its published checkpoints, read and run without its packages."""
