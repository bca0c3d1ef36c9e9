"""The language of kohya's sd-scripts: its command line, its dataset files, its prompt files.

What an option means there was read from commit 48d368fa of kohya-ss/sd-scripts (2026-02-16).
"""
