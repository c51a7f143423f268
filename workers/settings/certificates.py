"""Whom the first fetch of Kafka trusts: `requests` is told what Python's ssl goes by."""

from __future__ import annotations

import os
import ssl
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

# `requests` has its own list of authorities and two variables of its own (the second is curl's); OpenSSL's, which
# everything else in a company's network is told by, it does not read.
FOR_REQUESTS: Final = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
FOR_OPENSSL: Final = ("SSL_CERT_FILE", "SSL_CERT_DIR")


@contextmanager
def authorities_for_requests() -> Iterator[None]:
    """Let `requests` trust whom OpenSSL is told to trust, or the system does, unless it is told something itself."""
    variables = os.environ  # noqa: TID251 - the settings are the readers, and `requests` looks nowhere else
    told = next(filter(None, map(variables.get, FOR_OPENSSL)), None) or _those_of_the_system()
    if told is None or any(map(variables.get, FOR_REQUESTS)):
        yield
        return
    name = FOR_REQUESTS[0]
    before = variables.get(name)
    variables[name] = told
    try:
        yield
    finally:
        if before is None:
            del variables[name]
        else:
            variables[name] = before


def _those_of_the_system() -> str | None:
    """Return where the machine keeps its authorities; None if it has none: then those that `requests` brings are asked.

    A company's own authority is often installed there and named by no variable.
    """
    paths = ssl.get_default_verify_paths()
    if paths.cafile and Path(paths.cafile).stat().st_size:
        return paths.cafile
    # A folder is searched by the hashes of names; an image without certificates has an empty one.
    if paths.capath and any(Path(paths.capath).glob("*.0")):
        return paths.capath
    return None
