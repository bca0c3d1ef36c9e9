"""The loop and what a step does."""
