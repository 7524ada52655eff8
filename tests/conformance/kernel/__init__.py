"""The oracle: the same random operations on a directory watched by Linux and on the storage."""
