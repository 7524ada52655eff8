"""What the worker does with what it reads; the only code, beside transport, that knows Faust."""
