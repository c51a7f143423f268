"""A list that is of no use is passed over, whatever it is that makes it so."""

import pytest

from annals.agents.folding.restore_points import PartitionId, read_list
from annals.agents.ports import DamagedBatchError
from annals.schemas.restore_point import RestorePointError
from chained import chain
from following import Journal
from head_starts import Point

PLACE = PartitionId("person", 0, 1)


class Damaged(Point):
    """The batch of its last event is damaged, and the event itself."""

    async def event_at(self, offset, cid=b""):
        del cid
        raise DamagedBatchError(f"the record batch at offset {offset} is damaged")


async def test_one_whose_event_is_damaged_is_of_no_use():
    """Goes red when that ends the attempt: no restore point would be made while the damage lasts."""
    point = Damaged(Journal(chain("p-1", 3)).records, 3)
    with pytest.raises(RestorePointError, match="its event cannot be read: the record batch at offset 2 is damaged"):
        await read_list(point, PLACE, None, point.cid, 3)
