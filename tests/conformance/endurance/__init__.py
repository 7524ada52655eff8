"""The worker and the replay log, for long and while things go wrong: nothing lost, nothing twice.

Whole worker processes on a real Kafka and Redis work off hundreds of thousands of records; what
comes out is compared, record for record, with what an undisturbed worker makes of the same.
"""
