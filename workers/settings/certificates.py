"""Whom the first fetch of Kafka trusts: `requests` is told what the environment tells Python's ssl."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

# `requests` has its own list of authorities and two variables of its own (the second is curl's); OpenSSL's, which
# everything else in a company's network is told by, it does not read.
FOR_REQUESTS: Final = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
FOR_OPENSSL: Final = ("SSL_CERT_FILE", "SSL_CERT_DIR")


@contextmanager
def authorities_for_requests() -> Iterator[None]:
    """Let `requests` trust what OpenSSL is told to trust, unless it is told something else itself."""
    variables = os.environ  # noqa: TID251 - the settings are the readers, and `requests` looks nowhere else
    told = next(filter(None, map(variables.get, FOR_OPENSSL)), None)
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
