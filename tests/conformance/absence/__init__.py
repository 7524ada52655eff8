"""What is absent and what is forbidden are answered alike: the same bytes, in the same time."""
