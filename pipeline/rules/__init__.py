"""What rules of every kind are made of: the file and its lines, selections, patterns, storages."""
