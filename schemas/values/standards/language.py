"""Language tags (BCP 47, RFC 5646): well-formed by its grammar, valid by the IANA language subtag registry."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from annals.schemas.values.standards.languages import (
    EXTENDED,
    GRANDFATHERED,
    LANGUAGE_REGIONS,
    LANGUAGES,
    SCRIPTS,
    VARIANTS,
)

_TAG: Final = re.compile(
    r"(?P<language>[a-z]{2,3})(?:-(?P<extended>[a-z]{3}))?(?:-(?P<script>[a-z]{4}))?(?:-(?P<region>[a-z]{2}|[0-9]{3}))?"
    r"(?P<variants>(?:-(?:[a-z0-9]{5,8}|[0-9][a-z0-9]{3}))*)"
    r"(?P<extensions>(?:-[0-9a-wyz](?:-[a-z0-9]{2,8})+)*)(?:-x(?:-[a-z0-9]{1,8})+)?"
)
_PRIVATE: Final = re.compile(r"x(?:-[a-z0-9]{1,8})+")
# Private use ranges of the registry: qaa..qtz, Qaaa..Qabx, QM..QZ and XA..XZ.
_PRIVATE_LANGUAGE: Final = re.compile(r"q[a-t][a-z]")
_PRIVATE_SCRIPT: Final = re.compile(r"qa(?:a[a-z]|b[a-x])")
_KNOWN: Final = 4_096  # the tags in use are few, and the grammar takes microseconds
_LONGEST_KNOWN: Final = 200  # characters of one that is remembered: no longer one is taken, and anything can come
_PRIVATE_REGION: Final = re.compile(r"q[m-z]|x[a-z]")


def language_problem(text: str) -> str | None:
    """What is wrong with a language tag; its case plays no part (RFC 5646, section 2.1.1)."""
    return _known_problem(text) if len(text) <= _LONGEST_KNOWN else _problem(text)


def _problem(text: str) -> str | None:
    tag = text.lower()
    if tag in LANGUAGES or tag in GRANDFATHERED or _PRIVATE.fullmatch(tag):
        return None
    found = _TAG.fullmatch(tag)
    if found is None:
        return "is no language tag (BCP 47)"
    language, extended, script, region = found.group("language", "extended", "script", "region")
    variants = found["variants"].split("-")[1:]
    singletons = re.findall(r"-([0-9a-wyz])(?=-)", found["extensions"])
    if language not in LANGUAGES and not _PRIVATE_LANGUAGE.fullmatch(language):
        return f"names no language: {language} is not in the IANA registry"
    if extended and f"{language}-{extended}" not in EXTENDED:
        return f"names no language: {extended} does not extend {language} in the IANA registry"
    if script and script not in SCRIPTS and not _PRIVATE_SCRIPT.fullmatch(script):
        return f"names no script: {script} is not in the IANA registry"
    if region and region not in LANGUAGE_REGIONS and not _PRIVATE_REGION.fullmatch(region):
        return f"names no region: {region} is not in the IANA registry"
    for variant in variants:
        if variant not in VARIANTS:
            return f"names no variant: {variant} is not in the IANA registry"
    if len(set(variants)) < len(variants) or len(set(singletons)) < len(singletons):
        return "repeats a variant or an extension (RFC 5646, section 2.2.9)"
    return None


_known_problem: Final = lru_cache(_KNOWN)(_problem)
