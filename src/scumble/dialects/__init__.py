"""Other tools' configurations, read as jobs. Text work only: no torch, nothing is trained here."""
