"""The doors: how users reach the storage."""
