"""What the API knows callers, other workers and itself by: files of its settings, refused where they cannot be used.

A worker asks for all of it before it joins a group: one that then ended would have taken partitions from others.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Final

from annals.workers.api.callers.authentication import is_loopback
from annals.workers.api.callers.jwks import JwksFile
from annals.workers.api.callers.tokens import TokensFile
from annals.workers.settings import SettingsError
from annals.workers.settings.watched import Watched

if TYPE_CHECKING:
    from annals.workers.api.callers.authentication import Tokens
    from annals.workers.settings import Settings

LEAST_KEY_BYTES: Final = 32


def check_credentials(settings: Settings) -> None:
    """Refuse settings that the API could not serve by.

    Raises:
        SettingsError: it would serve strangers or ask them, or a file of the settings cannot be used.
    """
    tokens_of(settings)
    peer_key_of(settings)
    tls_of(settings)


def is_open(settings: Settings) -> bool:
    """Whether callers need no token."""
    return settings.api_tokens_file is None and settings.api_jwks_file is None


def tokens_of(settings: Settings) -> list[Tokens]:
    """Return what knows the callers' tokens; nothing where they need none.

    Raises:
        SettingsError: it would serve strangers, or a file cannot be used.
    """
    if is_open(settings) and not is_loopback(settings.api_host):
        raise SettingsError(
            f"ANNALS_API_HOST={settings.api_host} would serve anybody: set ANNALS_API_TOKENS_FILE "
            "(or ANNALS_API_JWKS_FILE), or listen on a loopback address"
        )
    sources: list[Tokens] = []
    if settings.api_tokens_file is not None:
        sources.append(TokensFile(settings.api_tokens_file))
    if settings.api_jwks_file is not None:
        sources.append(JwksFile(settings.api_jwks_file, settings.api_jwt_issuer, settings.api_jwt_audience))
    return sources


def peer_key_of(settings: Settings) -> bytes | None:
    """Return the key with which workers ask each other; None: there is none.

    Raises:
        SettingsError: it is needed, cannot be read, or is too short.
    """
    if settings.api_peer_key_file is None:
        if is_open(settings) or is_loopback(settings.api_host):
            return None
        raise SettingsError(
            f"ANNALS_API_HOST={settings.api_host} is beyond loopback: set ANNALS_API_PEER_KEY_FILE, a file of "
            f"{LEAST_KEY_BYTES} bytes or more and the same on all workers, with which they ask each other"
        )
    try:
        key = settings.api_peer_key_file.read_bytes().strip()
    except OSError as error:
        raise SettingsError(f"ANNALS_API_PEER_KEY_FILE: {error.strerror}") from None
    if len(key) < LEAST_KEY_BYTES:
        raise SettingsError(f"ANNALS_API_PEER_KEY_FILE: a key has {LEAST_KEY_BYTES} bytes or more")
    return key


def tls_of(settings: Settings) -> Watched[ssl.SSLContext] | None:
    """Return what the API is served by, which is made anew when its files change; None: without TLS.

    Raises:
        SettingsError: certificate and key cannot be used.
    """
    certificate, key = settings.api_certfile, settings.api_keyfile
    if certificate is None:
        if key is not None:
            raise SettingsError("ANNALS_API_KEYFILE needs ANNALS_API_CERTFILE")
        return None

    def context() -> ssl.SSLContext:
        made = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        made.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            made.load_cert_chain(certificate, key, password=lambda: "")
        except ssl.SSLError as error:  # an OSError, whose text has its place in OpenSSL's sources
            raise ValueError(error.reason or "they do not belong together") from None
        return made

    names = "ANNALS_API_CERTFILE and ANNALS_API_KEYFILE"
    try:
        return Watched(names, [path for path in (certificate, key) if path is not None], context)
    except (OSError, ValueError) as error:
        raise SettingsError(f"{names} cannot be used: {getattr(error, 'strerror', None) or error}") from None
