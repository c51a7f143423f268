"""A projection as a follower: rows and their index entries, changed together in the batch of their position.

Keys below `P`: name, version and the row's key. Below `I`: name, version, index, value and the row's key. A version may
have several sets of rows (`annals.agents.reading.projecting.builds`): behind the first, the version has the set's
number, as `1.2`. A text ends with two zero bytes, and a zero byte within it is followed by 255: no text's key is the
prefix of another's.

A row's value begins with a byte that tells whether it is shown, and goes on as a map by column: a release that does not
have a version any more can still answer with its rows.
"""

from __future__ import annotations

from functools import cache
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, TypeVar

import msgspec

from annals.agents.projections.projection import Happened, Projection, Row
from annals.agents.reading.keeping.layout import after
from annals.agents.reading.keeping.messages import message_of
from annals.agents.reading.keeping.remembered import Remembered

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from annals.agents.deciding.decider import Decider
    from annals.agents.projections.projection import RowKey
    from annals.agents.reading.ports import Rows
    from annals.schemas.journal_reader import Counted

R = TypeVar("R", bound=Row)
Indexes = dict[str, list[str]]
Put = tuple[bytes, Indexes, int]  # a row's value and its indexes as they were put, and about their bytes
_encode: Final = msgspec.msgpack.Encoder().encode

ROWS: Final = b"P\0\0"
INDEXES: Final = b"I\0\0"
END: Final = b"\0\0"
MOST_ROW_BYTES: Final = 4 << 20  # as an event has at most: a page of rows is held whole by who answers and who asks
LISTED: Final = b"\x01"
HIDDEN: Final = b"\x00"
TEXT_BYTES: Final = 60  # measured: a text beside its characters, and its place in a list


class RowTooLargeError(ValueError):
    """A fold puts a row that is larger than a row may be."""


def key_of(*texts: str) -> bytes:
    """Return a key, or the prefix of keys, of texts."""
    if len(texts) == 1:  # of most rows
        return _key_of(texts[0])
    return b"".join(map(_key_of, texts))


def _key_of(text: str) -> bytes:
    encoded = text.encode()
    return encoded + END if b"\0" not in encoded else encoded.replace(b"\0", b"\0\xff") + END


def texts_of(key: bytes) -> tuple[str, ...]:
    """Return the texts of a whole key. A zero byte within a text is never followed by another one."""
    return tuple(text.replace(b"\0\xff", b"\0").decode() for text in key.split(END)[:-1])


class RowSet(NamedTuple):
    """One set of the rows of a version. number: 0 for the first, each later one has another."""

    name: str
    version: int
    number: int = 0

    @property
    def title(self) -> str:
        """What messages call the version."""
        return follower_name(self.name, self.version)

    @property
    def follower(self) -> str:
        """The name of the follower that folds it: each set has a position of its own, so that several can be there."""
        return follower_name(self.name, self.version, self.number)

    @property
    def rows(self) -> bytes:
        """The prefix of its rows."""
        return ROWS + key_of(self.name, self._text)

    @property
    def spaces(self) -> tuple[bytes, bytes]:
        """The prefixes of everything that it has in a store but positions: of its rows and of their index entries."""
        return _spaces_of(self)

    def entries(self, *texts: str) -> bytes:
        """Return the prefix of all index entries, of those of one index, or of a value in that."""
        return INDEXES + key_of(self.name, self._text, *texts)

    @property
    def _text(self) -> str:
        return _numbered(self.version, self.number)


@cache
def _spaces_of(rows: RowSet) -> tuple[bytes, bytes]:
    """Return the prefixes of a set of rows: to make them takes a tenth of the folding of an event that comes alone."""
    return rows.rows, rows.entries()


def row_key(projection: Projection[Any], key: RowKey) -> bytes:
    """Return where a row of the first set is."""
    return RowSet(projection.name, projection.version).rows + key_of(*key)


def index_key(projection: Projection[Any], index: str, value: str) -> bytes:
    """Return the prefix of all index entries of a value in the first set."""
    return RowSet(projection.name, projection.version).entries(index, value)


def follower_name(name: str, version: int, number: int = 0) -> str:
    """Return the name of the follower that folds a set of rows of a version."""
    return f"{name}/{_numbered(version, number)}"


def row_set_of(follower: str) -> RowSet | None:
    """Return the set of rows of a follower's name; None for a follower that is no projection."""
    name, slash, text = follower.rpartition("/")
    version, dot, number = text.partition(".")
    if not slash or "/" in name or not version.isdecimal() or (dot and not number.isdecimal()):
        return None
    return RowSet(name, int(version), int(number or 0))


def version_in(follower: str) -> tuple[str, int] | None:
    """Return the projection and the version of a follower's name; None for a follower that is no projection."""
    found = row_set_of(follower)
    return None if found is None else (found.name, found.version)


def title_of(follower: str) -> str:
    """Return what messages call a follower: sets of rows of one version have one title."""
    found = row_set_of(follower)
    return follower if found is None else found.title


def aggregates_name(title: str, number: int | None = None) -> str:
    """Return the name of the rebuilds of single aggregates of a version, or of one by its number."""
    return f"{title}/aggregates" if number is None else f"{title}/aggregates/{number}"


def _numbered(version: int, number: int) -> str:
    return f"{version}.{number}" if number else str(version)


def remove_rows_of(aggregate_id: str, spaces: Sequence[bytes], rows: Rows) -> None:
    """Remove an aggregate's rows, listed or not, and their index entries."""
    row_prefix, index_prefix = spaces
    keys = []
    for key, value in rows.range(row_prefix, after(row_prefix)):
        if msgspec.msgpack.decode(memoryview(value)[1:], type=_Whose).aggregate_id == aggregate_id:
            rows.delete(key)
            keys.append(key[len(row_prefix) :])
    gone = tuple(keys)
    for key, _ in rows.range(index_prefix, after(index_prefix)) if gone else ():
        if key.endswith(gone) and key_behind_value(key[len(index_prefix) :]) in gone:
            rows.delete(key)


def key_behind_value(entry: bytes) -> bytes:
    """Return the row's key of an index entry: what stands behind the index and the value."""
    return entry.split(END, 2)[2]


class _Whose(msgspec.Struct):
    """Of a row, the aggregate that it tells of."""

    aggregate_id: str


@cache
def _decoder(row: type[R]) -> msgspec.msgpack.Decoder[R]:
    """Return what decodes a projection's rows: to make one takes as long as folding an event."""
    return msgspec.msgpack.Decoder(row)


class KeptRows(Generic[R]):
    """The rows of one projection in a batch; index entries change with them.

    A row is written when it is asked for, or at the end, by `write`: an event of a policy puts a row for each of its
    targets, all of which the next event puts again.
    """

    def __init__(
        self,
        projection: Projection[R],
        rows: Rows,
        number: int = 0,
        lately: Remembered[Put] | None = None,
    ) -> None:
        """Take the rows of all sets; number: of the set that is changed.

        lately: rows by place as they were put, whose indexes are believed of that value alone; None: of none.
        """
        self._lately = lately
        self._projection = projection
        self._rows = rows
        self._decode = _decoder(projection.row).decode
        self._row_prefix, self._index_prefix = RowSet(projection.name, projection.version, number).spaces
        self._index_prefixes: dict[str, bytes] = {}
        self._known: dict[bytes, Indexes] = {}  # indexes of this batch's rows: they are not read again
        self._unwritten: dict[bytes, R] = {}  # by encoded key

    def get(self, *key: str) -> R | None:
        """Return a row; None if there is none."""
        encoded = key_of(*key)
        if (unwritten := self._unwritten.pop(encoded, None)) is not None:
            self._write(unwritten, encoded)
        place = self._row_prefix + encoded
        value = self._rows.get(place)
        row = self._row(value)
        if place not in self._known:
            self._known[place] = self._indexes_there(place, value, row)
        return row

    def put(self, row: R, *key: str) -> None:
        """Set a row and its index entries; entries that no longer hold go."""
        self._unwritten[key_of(*key)] = row

    def write(self) -> None:
        """Write the rows that were put."""
        for encoded, row in self._unwritten.items():
            self._write(row, encoded)
        self._unwritten.clear()

    def delete(self, *key: str) -> None:
        """Remove a row and its index entries."""
        encoded = key_of(*key)
        self._unwritten.pop(encoded, None)
        place = self._row_prefix + encoded
        for entry in self._entries(self._known_indexes(place), {}, encoded):
            self._rows.delete(entry)
        self._known[place] = {}
        self._rows.delete(place)

    def _write(self, row: R, encoded: bytes) -> None:
        place = self._row_prefix + encoded
        old, new = self._known_indexes(place), self._indexes(row)
        if old != new:
            for entry in self._entries(old, new, encoded):
                self._rows.delete(entry)
            for entry in self._entries(new, old, encoded):
                self._rows.put(entry, b"")
        self._known[place] = new
        flag = LISTED if self._projection.is_listed(row) else HIDDEN
        value = flag + _encode(row)
        if len(value) > MOST_ROW_BYTES:
            raise RowTooLargeError(f"a row of {len(value):,} bytes, and it may have {MOST_ROW_BYTES:,}")
        self._rows.put(place, value)
        if self._lately is not None:
            # The row's memory has the value too: its length stands for the characters of the texts here.
            size = len(value) + TEXT_BYTES * sum(map(len, new.values()))
            self._lately.keep(place, (value, new, size))

    def _row(self, value: bytes | None) -> R | None:
        return None if value is None else self._decode(memoryview(value)[1:])

    def _known_indexes(self, place: bytes) -> Indexes:
        known = self._known.get(place)
        if known is None:
            value = self._rows.get(place)
            known = self._indexes_there(place, value, self._row(value))
        return known

    def _indexes_there(self, place: bytes, value: bytes | None, row: R | None) -> Indexes:
        """Return the indexes of a row that is there."""
        lately = None if self._lately is None else self._lately.get(place, None)
        return self._indexes(row) if lately is None or lately[0] != value else lately[1]

    def _indexes(self, row: R | None) -> Indexes:
        """Return the values of each index; most changes of a row leave them all as they are."""
        if row is None:
            return {}
        found = {index: list(values) for index, values in self._projection.indexes(row).items()}
        for index in self._projection.ranges:  # it is found below a value by its least one, and once
            found[index] = sorted(found.get(index, ()))[:1]
        return found

    def _entries(
        self, indexes: Mapping[str, Sequence[str]], others: Mapping[str, Sequence[str]], key: bytes
    ) -> list[bytes]:
        """Return the entries of a row's indexes that are not among its others; some perhaps twice."""
        entries: list[bytes] = []
        for index, values in indexes.items():
            kept = others.get(index, ())
            if values != kept:
                prefix = self._index_prefixes.get(index)
                if prefix is None:
                    prefix = self._index_prefixes[index] = self._index_prefix + key_of(index)
                held = frozenset(kept)  # a document may be shared with hundreds, and each more is an event
                entries += [prefix + _key_of(value) + key for value in values if value not in held]
        return entries


class ProjectionFollower(Generic[R]):
    """Folds the events that a projection wants; passes by all others (the `Follower` port)."""

    def __init__(
        self, projection: Projection[R], deciders: Mapping[str, Decider[Any]], rebuilds: int | None = 0, number: int = 0
    ) -> None:
        """Take the projection, who reads its kinds' events, and which set of rows of its version is folded.

        rebuilds: how often the rows had been asked to be built anew when this set was begun; None: not known yet.
        """
        self.projection: Final = projection
        self.rebuilds: Final = rebuilds
        self.set: Final = RowSet(projection.name, projection.version, number)
        self.name: Final = (
            self.set.follower
        )  # of its position; made for each batch it would take a tenth of a small one
        self._deciders = deciders
        self._stream = projection.stream
        self._lately: Remembered[Put] = Remembered(itemgetter(2))
        self._types = {
            kind: frozenset(message.__name__ for message in wanted) for kind, wanted in projection.wanted.items()
        }

    @property
    def version(self) -> int:
        """What is kept with its position."""
        return self.rebuilds or 0

    @property
    def spaces(self) -> tuple[bytes, bytes]:
        """The prefixes of its rows and of their index entries."""
        return self.set.spaces

    def of_set(self, number: int, rebuilds: int) -> ProjectionFollower[R]:
        """Return the follower that folds another set of rows."""
        return ProjectionFollower(self.projection, self._deciders, rebuilds, number)

    def fold(self, events: Sequence[Counted[Any]], partition: int, rows: Rows) -> None:  # noqa: ARG002 - of the port
        """Change rows by the wanted ones of the events, in their order."""
        kept = KeptRows(self.projection, rows, self.set.number, self._lately)
        for happened in self._wanted(events):
            self.projection.fold(happened, kept)
        kept.write()

    def _wanted(self, events: Sequence[Counted[Any]]) -> Iterator[Happened]:
        for counted in events:
            event = counted.event
            kind, name = event["kind"], event["type"]
            if name not in self._types.get(kind, ()):
                continue
            key = "" if self._stream is None else self._stream.key_of(event)
            if key is None:
                continue
            message = message_of(self._deciders[kind], counted)
            yield Happened(kind, event["aggregate_id"], event["version"], event["recorded_at"], message, key)
