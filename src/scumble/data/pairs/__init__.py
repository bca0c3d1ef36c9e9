"""Targets, their references and masks: which belong together, and whether they fit."""
