"""Data is processed on ingest: a finished upload that a rule names starts a function.

`agent` reads `billing`, and for each upload and rule publishes a CloudEvent with named URLs, each
with a short-lived macaroon of its own. `executor` reads those and has a `runners.Runner` do the
work: the local one here, other back ends by the same interface.
"""
