"""Pictures of the model as it stands."""
