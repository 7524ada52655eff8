"""The window: what a user sees of the events, in the words of dCache's events API."""
