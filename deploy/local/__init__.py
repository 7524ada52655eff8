"""The whole stack as processes on this machine, without containers."""
