"""Making it fit and making it fast."""
