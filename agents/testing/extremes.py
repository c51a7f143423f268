"""Values at the ends of every type: valid, and what no author of an aggregate thinks of."""

from __future__ import annotations

from typing import Any, Final

from annals.schemas.data.complaints import complaints
from annals.schemas.values import fields
from annals.schemas.values.constraints import marks_of

DAYS: Final = ("0001-01-01", "9999-12-31", "2000-02-29", "0004-02-29")
MOMENTS: Final = (
    "0001-01-01T00:00:00Z",
    "0001-06-30T23:59:60Z",
    "1972-06-30T23:59:60." + "9" * 32 + "Z",
    "9999-06-30T23:59:60Z",
    "9999-12-31T23:59:59Z",
    "9999-12-31T23:59:59." + "9" * 32 + "Z",
)
"""The ends of the calendar, and leap seconds beside them; the one after the last second is no moment of it."""

FLOATS: Final = (0.0, 5e-324, -5e-324, 2.2250738585072014e-308, 1.7976931348623157e308, -1.7976931348623157e308, 0.1)

FREE_TEXTS: Final = ("\U0010fffd", "e\u0301" * 40, "\u0000", "\u200d\ufeff", "ﷺ" * 20, "İ", "ß")
"""Astral, combining, control and joining characters, and some that grow when they are normalized or change case."""


def _long(characters: int) -> tuple[str, ...]:
    """Texts of the greatest length, of one, of two and of four bytes of UTF-8 a character."""
    return "a" * characters, "e\u0301" * (characters // 2), "\U0001f600" * characters, "ﷺ" * characters, "\u0301", "İ"


TEXTS: Final = {
    id(marks_of(annotation)[1][0]): texts
    for annotation, texts in (
        (fields.Text, _long(200)),
        (fields.LongText, _long(10_000)),
        (fields.Prompt, _long(32_000)),
        (fields.Slug, ("0", "z" * 64, "0" + "._-" * 21)),
        (fields.AggregateId, _long(256)),
        (fields.Email, ("!@a.b", f"{'a' * 64}@{'.'.join(['b' * 62] * 3)}")),
        (fields.Phone, ("+10", "+999999999999999")),
        (fields.Url, ("HTTPS://a", "https://[::]", "https://a/" + "%FF" * 2_663)),
        (fields.Language, ("x-" + "-".join(["a" * 8] * 22), "i-klingon", "QAA", "de-CH-1996")),
        (fields.License, ("LicenseRef-" + "a" * 189, "LicenseRef--")),
        (fields.MediaType, ("a/b", f"{'a' * 127}/{'b' * 127}")),
        (fields.Lei, ("5493001KJTIIGC8Y1R12",)),
        (fields.ContentCid, ("bafkqaaa",)),
    )
}
"""Of each named type of text, by its first mark."""


def full_list(item: Any, most: int | None) -> list[Any] | None:
    """Return a list of as many items as there may be, None where they cannot be counted out."""
    if most is None or marks_of(item)[0] is not str or any(complaints(item, "s0", "")):
        return None
    return [f"s{number}" for number in range(most)]


def full_map(most: int, entry: Any) -> dict[str, Any]:
    """Return a map of as many entries as there may be, all alike."""
    return {f"s{number}": entry for number in range(most)}
