"""They hear events, and may fail without hurting the run."""
