"""Which size a picture is trained at, and what is cut off for it: arithmetic, no files, no torch.

Sizes are (height, width), as arrays have them; only arguments named so come as width, height.
"""
