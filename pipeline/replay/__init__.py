"""The past: a bounded log of derived messages, kept so that a reader asks only for its own."""
