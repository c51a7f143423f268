"""The numbers of open files: what shards need, what is raised, and what is said where it is too little."""

import resource

import pytest

from annals.workers import open_files
from annals.workers.open_files import (
    LEAST_CONNECTIONS,
    LEAST_TABLES,
    MOST_TABLES,
    connections,
    most_shards,
    needed,
    raise_limit,
    tables,
    too_few,
)


@pytest.fixture
def limits(monkeypatch):
    """The process's soft and hard limit, as a list that can be set."""
    now = [1_024, 20_000]
    monkeypatch.setattr(open_files.resource, "getrlimit", lambda _: tuple(now))
    monkeypatch.setattr(open_files.resource, "setrlimit", lambda _, pair: now.__setitem__(slice(None), pair))
    return now


def test_what_is_needed_is_what_so_many_shards_can_work_with():
    for shards in (1, 28, 224):
        assert most_shards(needed(shards)) == shards
        assert most_shards(needed(shards) - 1) == shards - 1
    assert most_shards(10) == 0


def test_the_soft_limit_is_raised_to_what_is_used_and_no_further(limits):
    assert raise_limit(28) == limits[0] < 20_000
    assert tables(limits[0], 28) == MOST_TABLES
    assert limits[1] == 20_000


def test_it_is_raised_to_the_hard_limit_at_most_and_tables_share_what_is_there(limits):
    assert raise_limit(224) == limits[0] == 20_000
    assert LEAST_TABLES < tables(20_000, 224) < MOST_TABLES
    assert too_few(20_000, 224) is None


def test_a_higher_limit_stays_as_it_is(limits):
    limits[:] = [100_000, 200_000]
    assert raise_limit(28) == 100_000
    assert limits == [100_000, 200_000]


@pytest.mark.parametrize("soft", [1_024, resource.RLIM_INFINITY])
def test_no_limit_is_as_much_as_is_used(limits, soft):
    limits[:] = [soft, resource.RLIM_INFINITY]
    assert tables(raise_limit(500), 500) == MOST_TABLES


def test_the_usual_limit_of_1024_is_enough_for_twelve_partitions_of_each_kind():
    assert too_few(1_024, 7 * 12) is None
    assert too_few(1_024, 7 * 32) is not None


def test_too_few_are_named_by_number(limits):
    limits[:] = [512, 1_024]
    assert raise_limit(224) == 1_024
    assert tables(1_024, 224) == LEAST_TABLES
    said = too_few(1_024, 224)
    assert said is not None
    assert all(f"{number}" in said for number in (224, needed(224), 1_024, most_shards(1_024)))


def test_clients_have_files_beside_those_of_the_stores_and_leave_the_shards_theirs(limits):
    """Goes red where a thousand connections may be open in a process that may have 1,024 files."""
    limits[:] = [1_024, 1_024]
    most = connections(raise_limit(28, 1_000), 28, 1_000)
    assert LEAST_CONNECTIONS < most < 1_024 - needed(28)
    assert connections(needed(28), 28, 1_000) == LEAST_CONNECTIONS
    limits[:] = [1_024, 20_000]
    files = raise_limit(28, 1_000)
    assert connections(files, 28, 1_000) == 1_000
    assert tables(files - 1_000, 28) == MOST_TABLES
