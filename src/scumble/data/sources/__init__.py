"""Which examples there are, one kind of place each."""
