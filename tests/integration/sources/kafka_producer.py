"""A process that writes records to a Kafka broker, or has a mock one of librdkafka's in itself; for tests, whose own process may fork.

Its argument is the address of a broker, or `mock`. It prints the address, then answers each line of JSON on its standard input with one.
"""

from __future__ import annotations

import base64
import json
import sys
from typing import Any

from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic


def main(address: str) -> None:
    """Serve until the input ends."""
    mock = None
    if address == "mock":
        mock = Producer({"test.mock.num.brokers": 1, "bootstrap.servers": "mock", "log_level": 0})
        address = ",".join(f"{broker.host}:{broker.port}" for broker in mock.list_topics(timeout=10).brokers.values())
    print(address, flush=True)
    producers: dict[str, Producer] = {}
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            said = {"records": _records, "make": _make, "delete": _delete}[asked.pop("do")](address, producers, **asked)
        except KafkaException as error:
            said = str(error)
        print(json.dumps(said), flush=True)


def _records(
    address: str, producers: dict[str, Producer], topic: str, records: list[dict[str, Any]], compression: str, batch: int, transaction: str
) -> str:
    kind = f"{compression} {batch} {transaction}"
    if kind not in producers:
        settings: dict[str, Any] = {
            "bootstrap.servers": address,
            "compression.type": compression,
            "batch.num.messages": batch,
            "log_level": 0,
        }
        if transaction:
            settings["transactional.id"] = "tests"
        producers[kind] = Producer(settings)
        if transaction:
            producers[kind].init_transactions(10)
    producer = producers[kind]
    if transaction:
        producer.begin_transaction()
    for record in records:
        value, key = record.get("value"), record.get("key")
        headers = [(name, text.encode()) for name, text in record.get("headers", ())]
        producer.produce(
            topic, partition=record["partition"], key=key, headers=headers, timestamp=record.get("timestamp", 0),
            value=None if value is None else base64.b64decode(value),
        )  # fmt: skip
    if transaction == "abort":
        producer.flush(10)
        producer.abort_transaction(10)
    elif transaction:
        producer.commit_transaction(10)
    return f"{producer.flush(10)} left"


def _make(address: str, producers: dict[str, Producer], topic: str, partitions: int) -> str:
    admin = AdminClient({"bootstrap.servers": address, "log_level": 0})  # it is needed until the answer is there
    admin.create_topics([NewTopic(topic, partitions, 1)])[topic].result(10)
    return "made"


def _delete(address: str, producers: dict[str, Producer], topic: str) -> str:
    admin = AdminClient({"bootstrap.servers": address, "log_level": 0})
    admin.delete_topics([topic])[topic].result(10)
    return "deleted"


if __name__ == "__main__":
    main(sys.argv[1])
