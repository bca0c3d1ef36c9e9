"""Qwen-Image: its network, its autoencoder, how it reads, its parts as files, and their names."""
