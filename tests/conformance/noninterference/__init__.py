"""What a user may not see leaves no trace in anything that user receives.

Two histories that differ only in what alice may not see are run through storage, derivation and
API; the bytes that she gets are compared.
"""
