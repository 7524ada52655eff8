"""The words: what is said on each Kafka topic, how it is written, and which errors there are."""
