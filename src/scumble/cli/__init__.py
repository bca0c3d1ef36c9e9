"""Words in, words out; no logic."""
