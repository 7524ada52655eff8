"""The derivation: billing records to the events a user may see, and their replay."""
