"""A real single-node Apache Kafka (KRaft) on this machine: no Docker, no installed Java, no Maven.

- `workers.broker.jars`: Kafka's jars, fetched once from Maven Central and proven whole at every start;
- `workers.broker.properties` and `ports`: the broker's own settings, small enough for a laptop;
- `workers.broker.server`: its process: start, ready, stop, kill, restart;
- `workers.broker.java` and `launcher`: the Java programs, and what makes the process end with the one that started it.
"""

from workers.broker.errors import BrokerError
from workers.broker.server import Broker

__all__ = ["Broker", "BrokerError"]
