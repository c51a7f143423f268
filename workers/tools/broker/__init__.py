"""A real single-node Apache Kafka (KRaft) on this machine: no Docker, no installed Java, no Maven.

- `annals.workers.tools.broker.jars`: Kafka's jars, fetched once from Maven Central and proven whole at every start;
- `annals.workers.tools.broker.properties` and `ports`: the broker's own settings, small enough for a laptop;
- `annals.workers.tools.broker.server`: its process: start, ready, stop, kill, restart;
- `annals.workers.tools.broker.java`: the Java programs, which end with this process (`annals.workers.launcher`);
- `annals.workers.tools.broker.class_archive` and `sharing`: Kafka's classes kept ready for later starts.
"""

from annals.workers.tools.broker.errors import BrokerError
from annals.workers.tools.broker.server import Broker

__all__ = ["Broker", "BrokerError"]
