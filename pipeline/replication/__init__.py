"""Copies of files by rule, and the catalogue that knows from events alone where every file is."""
