"""`ANNALS_API_JWKS_FILE`: JSON Web Tokens, checked by the public keys of a file."""

from __future__ import annotations

import json
import time
from base64 import urlsafe_b64decode
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import structlog
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet, OctKey

from annals.schemas.depth import decoded
from annals.schemas.values.ids import id_problem
from annals.workers.api.callers.tokens import SCOPE
from annals.workers.api.callers.watched import WatchedFile
from annals.workers.api.http.routing import Principal

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from joserfc.jwk import Key

# Signatures by a private key alone: `none` proves nothing, and with HS* whoever has the public key could sign.
ALGORITHMS: Final = (
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519",
)  # fmt: skip
LEEWAY_S: Final = 30  # that two machines' clocks may differ
LONGEST: Final = 8 << 10
UNNAMED: Final = "unnamed"
_logger: Final = structlog.get_logger(__name__)


class JwksFile:
    """Knows tokens that one of a file's keys has signed; the file is read again within seconds of a change."""

    def __init__(self, path: Path, issuer: str | None, audience: str | None) -> None:
        """Read the file.

        issuer: what a token's `iss` must say; None: anything. audience: what its `aud` must name; None: it has none.
        A token for an audience is refused by whoever has no name of its own (RFC 7519, section 4.1.3).

        Raises:
            SettingsError: it cannot be used.
        """
        self._file = WatchedFile("ANNALS_API_JWKS_FILE", path, parse)
        claims: dict[str, Any] = {"exp": {"essential": True}}
        if issuer is not None:
            claims["iss"] = {"essential": True, "value": issuer}
        if audience is not None:
            claims["aud"] = {"essential": True, "value": audience}
        self._has_audience = audience is not None
        self._claims = jwt.JWTClaimsRegistry(now=_now, leeway=LEEWAY_S, **claims)

    async def refresh(self) -> None:
        """Return when the file was looked at within the last seconds."""
        await self._file.refresh()

    def find(self, token: str) -> Principal | None:
        """Return who a token speaks of; None: it is none, or does not hold now."""
        if token.count(".") != 2 or len(token) > LONGEST:
            return None
        for key in _candidates(self._file.value, token):
            try:
                claims = decoded(partial(jwt.decode, key=key, algorithms=ALGORITHMS), token).claims
                self._claims.validate(claims)
            except (JoseError, ValueError, TypeError):
                continue
            return _principal(claims) if self._has_audience or "aud" not in claims else None
        return None


def parse(text: str) -> list[Key]:
    """Return the keys of a JSON Web Key Set. One that cannot be used is passed over (RFC 7517, section 5).

    Raises:
        ValueError: it is none, has no key that can be used, or one that is a secret.
    """
    try:
        members = decoded(json.loads, text)["keys"]
        found = [_usable(member) for member in members]
    except (ValueError, KeyError, TypeError):
        found = []
    keys = [key for key in found if key is not None]
    if not keys:
        raise ValueError('it is no JSON Web Key Set: {"keys": [ … ]} with at least one key')
    if any(isinstance(key, OctKey) or key.is_private for key in keys):
        raise ValueError("it has a secret or a private key: only public keys belong into it")
    if len(keys) < len(found):
        numbers = [number for number, key in enumerate(found, 1) if key is None]
        _logger.warning("keys of ANNALS_API_JWKS_FILE cannot be used, and are passed over", keys=numbers)
    return keys


def _usable(member: Any) -> Key | None:
    """Return a key of a set; None: its type or curve is not known here, or a member of it is wrong."""
    try:
        (key,) = KeySet.import_key_set({"keys": [member]})  # which gives it a `kid` if it has none
    except (JoseError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return key


def _candidates(keys: list[Key], token: str) -> list[Key]:
    """Return the keys to try: all of its `kid`; a token that names none may be by any of them."""
    try:
        kid = jwt_header(token).get("kid")
    except ValueError:
        return []
    return [key for key in keys if kid is None or key.kid == kid]


def jwt_header(token: str) -> Mapping[str, Any]:
    """Return what a token says of itself, unproved; ValueError if that cannot be read."""
    part = token.partition(".")[0]
    header = decoded(json.loads, urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    if not isinstance(header, dict):
        raise ValueError("no object")  # noqa: TRY004 - one error for all that is wrong
    return header


def _principal(claims: Mapping[str, Any]) -> Principal:
    scope = claims.get("scope", "")
    words = scope.split() if isinstance(scope, str) else scope if isinstance(scope, list) else []
    scopes = frozenset(word for word in words if isinstance(word, str) and SCOPE.fullmatch(word))
    name, actor = claims.get("sub"), claims.get("actor")
    is_name = isinstance(name, str) and id_problem(name) is None
    is_actor = isinstance(actor, str) and id_problem(actor) is None
    if actor is not None and not is_actor:
        scopes = frozenset()  # whoever it is, nothing may be done in a name that cannot be written down
    return Principal(str(name) if is_name else UNNAMED, scopes, str(actor) if is_actor else None)


def _now() -> int:
    return int(time.time())  # noqa: TID251 - seconds since 1970, as tokens have them
