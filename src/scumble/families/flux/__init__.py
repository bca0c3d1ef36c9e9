"""FLUX.1: its network, its parts as files, and the names of its layers."""
