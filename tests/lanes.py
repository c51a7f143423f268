"""Which process of a test run takes which file: long ones first, and one process computes while the others wait.

Tests that start brokers and workers leave a fifth of two cores idle. The last process takes the files that only
compute, at a lower priority: it has what the others leave, and hardly disturbs what they wait for. Each file is run by
one process, as with xdist's own `--dist loadfile`.
"""

from typing import Final

from xdist.scheduler import LoadFileScheduling
from xdist.workermanage import WorkerController

COMPUTING: Final = ("tests/unit/", "tests/properties/", "tests/simulation/")
FEWEST_FOR_LANES: Final = 3
NICENESS: Final = 5
# What takes about a minute or more: begun last, it would keep one process busy when the others have nothing left.
LONGEST: Final = (
    "tests/functional/test_bench.py",
    "tests/chaos/test_lost_ends.py",
    "tests/chaos/test_measures.py",
    "tests/chaos/test_wire.py",
    "tests/functional/test_demo.py",
    "tests/integration/workers/publishing/test_parked_through_kills.py",
    "tests/simulation/test_restore_points.py",
    "tests/simulation/test_histories.py",
    "tests/properties/test_aggregate_laws.py",
    "tests/simulation/test_measures_of_histories.py",
    "tests/integration/workers/publishing/test_two_administrators.py",
    "tests/chaos/test_read_models.py",
    "tests/functional/test_scaffold.py",
    "tests/chaos/test_felt_quotas.py",
    "tests/chaos/test_kept_state.py",
    "tests/integration/workers/writing/test_standby_workers.py",
    "tests/integration/workers/publishing/test_rights_of_readers.py",
    "tests/integration/workers/publishing/test_head_starts_on_the_broker.py",
    "tests/chaos/test_quotas_of_readers.py",
    "tests/integration/workers/reacting/test_foreign_journals.py",
    "tests/chaos/test_lost_ends_of_readers.py",
    "tests/functional/test_add_an_aggregate.py",
    "tests/integration/workers/projections/test_projections_that_fail.py",
    "tests/integration/workers/reading/test_two_readers.py",
    "tests/integration/workers/kafka/test_forgotten_ids.py",
    "tests/integration/workers/rekeying/test_rekeyed_rows_of_workers.py",
    "tests/chaos/test_lost_ends_of_progress.py",
    "tests/integration/workers/tools/test_broker_process.py",
    "tests/integration/workers/kafka/test_membership_lasts.py",
    "tests/chaos/test_stops.py",
    "tests/chaos/test_three_brokers.py",
    "tests/chaos/test_handles.py",
    "tests/functional/test_answering_subscribers.py",
)
RANKS: Final = {file: rank for rank, file in enumerate(LONGEST)}


def computes(process: str, processes: int) -> bool:
    """Whether a process, by xdist's name of it, is the one that computes."""
    return processes >= FEWEST_FOR_LANES and process == f"gw{processes - 1}"


class Lanes(LoadFileScheduling):
    """Hands out whole files. Who computes ends when no such file is left: at its priority brokers would be too slow."""

    def _next_for(self, node: WorkerController) -> str:
        computing = computes(node.gateway.id, self.numnodes)
        return min(
            self.workqueue, key=lambda file: (file.startswith(COMPUTING) != computing, RANKS.get(file, len(RANKS)))
        )

    def _assign_work_unit(self, node: WorkerController) -> None:
        self.workqueue.move_to_end(self._next_for(node), last=False)
        super()._assign_work_unit(node)

    def _reschedule(self, node: WorkerController) -> None:
        is_done = computes(node.gateway.id, self.numnodes) and not any(
            file.startswith(COMPUTING) for file in self.workqueue
        )
        if is_done and self.workqueue and not node.shutting_down:
            node.shutdown()
            return
        super()._reschedule(node)
