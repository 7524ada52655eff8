"""Who moves the bytes: one interface, one module for each way."""
