"""Three brokers that are one cluster: each holds a copy of everything, and any two go on without the third."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, Self

from chaos_proxy import HOST

from annals.workers.tools.broker import Broker
from annals.workers.tools.broker.java import new_cluster_id
from processes import BACK_SOON, free_port

NODES: Final = (1, 2, 3)
HEAP_MB: Final = 256
COPIES: Final = str(len(NODES))
IN_SYNC: Final = str(len(NODES) - 1)


class Cluster:
    """Its nodes are brokers and controllers at once, on ports of their own that stay the same."""

    def __init__(self, folder: Path, cache_dir: Path | None) -> None:
        cluster_id = new_cluster_id()
        ports = {node: (free_port(), free_port(), free_port()) for node in NODES}
        voters = ",".join(f"{node}@{HOST}:{controller}" for node, (_, _, controller) in ports.items())
        self.nodes = {
            node: Broker(
                folder / f"node-{node}",
                client,
                cache_dir=cache_dir,
                heap_mb=HEAP_MB,
                cluster_id=cluster_id,
                properties=_properties(node, client, internal, controller) | {"controller.quorum.voters": voters},
            )
            for node, (client, internal, controller) in ports.items()
        }
        self.bootstrap = ",".join(f"{HOST}:{client}" for client, _, _ in ports.values())

    def __enter__(self) -> Self:
        try:
            self._all(Broker.start)  # at once: none is ready before two are there
        except BaseException:
            self._all(Broker.kill)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._all(Broker.kill)  # nobody needs what it holds; to stop in order takes a majority until the end

    def _all(self, do) -> None:
        with ThreadPoolExecutor(len(NODES)) as pool:
            list(pool.map(do, self.nodes.values()))


def _properties(node: int, client: int, internal: int, controller: int) -> dict[str, str]:
    listeners = f"CLIENT://{HOST}:{client},INTERNAL://{HOST}:{internal}"
    return {
        **BACK_SOON,
        "node.id": str(node),
        "listeners": f"{listeners},CONTROLLER://{HOST}:{controller}",
        "advertised.listeners": f"{listeners},CONTROLLER://{HOST}:{controller}",
        "offsets.topic.replication.factor": COPIES,
        "transaction.state.log.replication.factor": COPIES,
        "transaction.state.log.min.isr": IN_SYNC,
        "share.coordinator.state.topic.replication.factor": COPIES,
        "share.coordinator.state.topic.min.isr": IN_SYNC,
        # a dead worker's partitions move sooner than any real deployment allows
        "group.min.session.timeout.ms": "1000",
    }
