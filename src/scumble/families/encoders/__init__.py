"""Text encoders and autoencoders that families share."""
