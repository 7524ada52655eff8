#!/bin/sh
# Formats the storage at the first start, then becomes Kafka.
set -eu
settings=/etc/kafka/server.properties
if [ ! -e /var/lib/kafka/data/meta.properties ]; then
  cluster=$(head -c 16 /dev/urandom | base64 | tr '+/' '-_' | tr -d '=')
  java -XX:TieredStopAtLevel=1 -cp '/opt/kafka/*' kafka.tools.StorageTool format --cluster-id="$cluster" -c "$settings"
fi
# shellcheck disable=SC2086 # several options in one variable
exec java ${KAFKA_HEAP_OPTS:--Xms256m -Xmx512m} -XX:+UseSerialGC \
  -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -cp '/opt/kafka/*' kafka.Kafka "$settings"
