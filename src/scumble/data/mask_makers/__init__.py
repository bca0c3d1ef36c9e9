"""Masks made from the pictures themselves: by words, transparency, background or a guess.

Every maker gives grey of the size of the upright picture: white is what is kept.
"""
