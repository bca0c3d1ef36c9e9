"""What can be known before a weight is loaded: files, counts, sizes, disk and time."""
