"""How fast it is: each benchmark beside its baseline, in the same run."""
