"""Contests of OpenTSLM's stages: every method answers the same questions from the same rationales."""
