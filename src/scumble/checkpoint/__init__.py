"""The state of a run on disk, and the file it delivers."""
