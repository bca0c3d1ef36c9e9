"""Frozen linear layers in fewer bits: what there is, the numbers, the layer."""
