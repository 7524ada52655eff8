"""Access that ends while events stream: what is told last, and when the stream closes.

Real processes: a storage, a worker, three API nodes, Kafka and Redis; a writer goes on below a
directory while its readers, one on each node, lose it.
"""
