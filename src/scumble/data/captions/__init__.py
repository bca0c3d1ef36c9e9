"""What is said of a picture: which texts there are, and what becomes of them each time."""
