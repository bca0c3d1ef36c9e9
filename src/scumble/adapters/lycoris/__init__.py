"""Adapters in the forms of the LyCORIS library: what they are, how they are made, where they go."""
