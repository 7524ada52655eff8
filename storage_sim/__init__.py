"""The source: a storage system that behaves, and bills."""
