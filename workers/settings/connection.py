"""What a Kafka client needs of the settings, and what in them contradicts itself."""

from __future__ import annotations

import ipaddress
import ssl
from typing import TYPE_CHECKING, Any, Self

from annals.workers.settings.model import READ, Settings, SettingsError
from annals.workers.settings.watched import Watched

if TYPE_CHECKING:
    from collections.abc import Iterator


def client_options(settings: Settings) -> dict[str, Any]:
    """Return the keyword arguments that every aiokafka client takes.

    Raises:
        SettingsError: the TLS files do not hold what they should; the setting is named.
    """
    options: dict[str, Any] = {
        "bootstrap_servers": settings.bootstrap_servers,
        "security_protocol": settings.security_protocol,
    }
    if settings.security_protocol.startswith("SASL"):
        options["sasl_mechanism"] = settings.sasl_mechanism
        options["sasl_plain_username"] = settings.sasl_username
        options["sasl_plain_password"] = settings.sasl_password.reveal() if settings.sasl_password else None
    if settings.security_protocol.endswith("SSL"):
        options["ssl_context"] = ssl_context(settings)
    return options


class _OfFiles(ssl.SSLContext):
    """A context whose connections each go by what the files say when they begin.

    Certificates are renewed while a worker runs. With one that has expired each connection from then on is refused.
    """

    _files: Watched[ssl.SSLContext]

    def __new__(cls, files: Watched[ssl.SSLContext]) -> Self:
        made = super().__new__(cls, ssl.PROTOCOL_TLS_CLIENT)
        made._files = files
        return made

    def wrap_bio(self, *arguments: Any, **named: Any) -> ssl.SSLObject:
        self._files.look()
        return self._files.value.wrap_bio(*arguments, **named)


def ssl_context(settings: Settings) -> ssl.SSLContext:
    """Return a context that checks the broker's name and certificate, with our own certificate if there is one.

    Files that changed are read again.
    """
    named = {
        "ANNALS_SSL_CAFILE": settings.ssl_cafile,
        "ANNALS_SSL_CERTFILE": settings.ssl_certfile,
        "ANNALS_SSL_KEYFILE": settings.ssl_keyfile,
    }
    given = {variable: path for variable, path in named.items() if path is not None}
    return _OfFiles(Watched(", ".join(given), list(given.values()), lambda: _context(settings)))


def _context(settings: Settings) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if settings.ssl_cafile is not None:
        try:
            context = ssl.create_default_context(cafile=settings.ssl_cafile)
        except (ssl.SSLError, OSError) as error:
            raise SettingsError(
                f"ANNALS_SSL_CAFILE: {settings.ssl_cafile} holds no certificates in PEM: {error}"
            ) from None
    if settings.ssl_certfile is not None:
        # Without a password OpenSSL would ask for one at the terminal, and wait.
        password = settings.ssl_key_password.reveal() if settings.ssl_key_password else ""
        try:
            context.load_cert_chain(settings.ssl_certfile, settings.ssl_keyfile, lambda: password)
        except (ssl.SSLError, OSError) as error:
            raise SettingsError(
                f"ANNALS_SSL_CERTFILE, ANNALS_SSL_KEYFILE: no certificate and key in PEM that belong together, or "
                f"ANNALS_SSL_KEY_PASSWORD is not the key's: {error}"
            ) from None
    return context


def contradictions(settings: Settings) -> Iterator[str]:
    """Say what is wrong between settings that are right each for itself."""
    if settings.security_protocol.startswith("SASL"):
        for variable, value in (
            ("ANNALS_SASL_USERNAME", settings.sasl_username),
            ("ANNALS_SASL_PASSWORD", settings.sasl_password),
        ):
            if value is None:
                yield f"{variable}: must be given, since ANNALS_SECURITY_PROTOCOL is {settings.security_protocol}"
    if settings.ssl_keyfile is not None and settings.ssl_certfile is None:
        yield "ANNALS_SSL_CERTFILE: must be given, since ANNALS_SSL_KEYFILE is"


def is_loopback(settings: Settings) -> bool:
    """Whether every broker that is named is on this machine."""
    return all(_is_local(server.rpartition(":")[0].strip("[]")) for server in settings.bootstrap_servers.split(","))


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def is_any_address(host: str) -> bool:
    """Whether a host stands for all addresses of this machine."""
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def warnings(settings: Settings) -> list[str]:
    """Say what is allowed, but hardly what was meant."""
    found = []
    if not settings.security_protocol.startswith("SASL") and (settings.sasl_username or settings.sasl_password):
        found.append(
            f"ANNALS_SASL_USERNAME and ANNALS_SASL_PASSWORD are not used: ANNALS_SECURITY_PROTOCOL is "
            f"{settings.security_protocol}"
        )
    if not settings.security_protocol.endswith("SSL") and (settings.ssl_cafile or settings.ssl_certfile):
        found.append(
            f"ANNALS_SSL_CAFILE and ANNALS_SSL_CERTFILE are not used: ANNALS_SECURITY_PROTOCOL is "
            f"{settings.security_protocol}"
        )
    if settings.has(READ) and settings.api_advertised_url is None and is_any_address(settings.api_host):
        found.append(
            f"ANNALS_API_ADVERTISED_URL is not set and ANNALS_API_HOST is {settings.api_host}, no address that other "
            f"workers could reach: they cannot ask this one"
        )
    if settings.has(READ) and settings.api_jwks_file is not None and settings.api_jwt_audience is None:
        found.append(
            "ANNALS_API_JWKS_FILE is set and ANNALS_API_JWT_AUDIENCE is not: a token without an audience is taken, "
            "whatever it was issued for, and one with an audience is refused"
        )
    if is_loopback(settings):
        return found
    if settings.replication_factor == 1:
        found.append(
            "ANNALS_REPLICATION_FACTOR is 1 and the brokers are not on this machine: topics that are created so lose "
            "their events with one disk"
        )
    if settings.security_protocol == "SASL_PLAINTEXT":
        found.append("ANNALS_SECURITY_PROTOCOL is SASL_PLAINTEXT: whoever sees the network reads what is sent")
    return found
