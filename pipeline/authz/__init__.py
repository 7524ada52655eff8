"""The one permission model, pure, shared by storage and API."""
