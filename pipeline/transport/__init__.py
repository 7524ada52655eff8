"""Faust in batches: an agent is handed a list of records per partition and fetch.

Stock Faust makes two asyncio tasks for every message; here the unit of work is a `Chunk`, so its
cost no longer depends on the number of records. `leases` is the bookkeeping of offsets (pure),
`consumer` the Faust consumer and app that use it, `producer` sends whole batches and waits for
them. Ordinary per-message agents go on working beside batched ones.
"""
