"""The networks of OpenTSLM (https://github.com/StanfordBDHG/OpenTSLM), and its checkpoints, without its packages."""
