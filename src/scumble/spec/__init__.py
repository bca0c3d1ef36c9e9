"""What a job says. Nothing here imports torch or touches a disk."""
