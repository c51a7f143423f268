"""What a setting's value may be: functions from text to a value, which say what they want when they refuse."""

from __future__ import annotations

import re
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from annals.schemas.wire.via import DEPLOYMENT
from annals.topics.names import LONGEST_PREFIX, TopicNames
from annals.workers.settings.files import UnreadableError, path_of, regular_file

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from annals.workers.settings.metadata import Parse

TRUE: Final = frozenset({"1", "true", "yes", "on"})
FALSE: Final = frozenset({"0", "false", "no", "off"})
# Labels of other lengths have no form that a resolver is asked by (RFC 1035, section 2.3.4).
HOST_NAME: Final = re.compile(r"(?=.{1,254}\Z)(?!-)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?", re.ASCII)
KAFKA_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,200}", re.ASCII)
HIGHEST_PORT: Final = 65535


class Secret:
    """A value that no log, error or repr shows."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        """Take the value in the clear."""
        self._value = value

    def reveal(self) -> str:
        """Return the value, for the one place that sends it."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(***)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(Secret)


def text(value: str) -> str:
    """Take any text without controls and outer white space."""
    if not value.isprintable() or value != value.strip():
        raise ValueError("text without control characters and outer white space")
    return value


def secret(value: str) -> Secret:
    """Take any Unicode text as it is, and hide it. The bytes of another encoding could be sent to nobody."""
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("text in UTF-8") from None
    return Secret(value)


def bearer_token(value: str) -> Secret:
    """Take what a header of HTTP can have, and hide it. White space around it is none of it: a file may have some."""
    token = value.strip()
    if not token or any(ord(each) < ord(" ") or each == "\x7f" for each in token):
        raise ValueError("text in one line, without control characters")
    return secret(token)


def whole_number(lowest: int, highest: int) -> Parse:
    """Take a decimal number within bounds, both inclusive."""

    def parse(value: str) -> int:
        # int() takes '1_000', ' 4' and digits of other scripts too.
        if re.fullmatch(r"[0-9]{1,19}", value, re.ASCII) and lowest <= int(value) <= highest:
            return int(value)
        raise ValueError(f"a whole number from {lowest} to {highest}")

    return parse


def switch(value: str) -> bool:
    """Take a yes or a no."""
    if value.lower() in TRUE | FALSE:
        return value.lower() in TRUE
    raise ValueError("1 or 0 (also true/false, yes/no, on/off)")


def one_of(*choices: str) -> Parse:
    """Take one of a few words, in either case, and return it as written here."""

    def parse(value: str) -> str:
        for choice in choices:
            if value.lower() == choice.lower():
                return choice
        raise ValueError(f"one of {', '.join(choices)}")

    return parse


def some_of(*choices: str) -> Parse:
    """Take one or more of a few words, and return them with commas between them, in the order of the choices."""

    def parse(value: str) -> str:
        given = {word.strip().lower() for word in value.split(",")}
        if given <= set(choices):
            return ",".join(choice for choice in choices if choice in given)
        raise ValueError(f"one or more of {', '.join(choices)}, with commas between them")

    return parse


def deployment(value: str) -> str:
    """Take the name of a deployment."""
    if DEPLOYMENT.fullmatch(value):
        return value
    raise ValueError("1 to 64 of a-z, 0-9 and '-'")


def kafka_name(value: str) -> str:
    """Take what Kafka takes in names: a consumer group's part, or a group instance's."""
    if KAFKA_NAME.fullmatch(value) and value.strip("."):
        return value
    raise ValueError("1 to 200 letters, digits, '.', '_' and '-' (ASCII)")


def topic_prefix(value: str) -> str:
    """Take what every topic's name may begin with."""
    try:
        TopicNames(value)
    except ValueError:
        raise ValueError(f"at most {LONGEST_PREFIX} letters, digits, '.', '_' and '-' (ASCII)") from None
    return value


def servers(value: str) -> str:
    """Take a list of `host:port`, and return it with commas and without spaces."""
    entries = [entry.strip() for entry in value.split(",")]
    for entry in entries:
        host, _, port = entry.rpartition(":")
        is_host = _is_address(host[1:-1]) if host[:1] + host[-1:] == "[]" else HOST_NAME.fullmatch(host)
        if not is_host or not re.fullmatch(r"[0-9]{1,5}", port) or not 0 < int(port) <= HIGHEST_PORT:
            raise ValueError("host:port, several with commas between them")
    return ",".join(entries)


def networks(value: str) -> str:
    """Take ranges of addresses, and return them with commas and without spaces."""
    try:
        return ",".join(str(ip_network(entry.strip())) for entry in value.split(",")) if value else ""
    except ValueError:
        raise ValueError("address/bits as 10.0.0.0/8, several with commas between them") from None


def host(value: str) -> str:
    """Take a host name or an address to listen on."""
    if _is_address(value) or HOST_NAME.fullmatch(value):
        return value
    raise ValueError("a host name or an IP address, without a port")


def _is_address(value: str) -> bool:
    try:
        ip_address(value)
    except ValueError:
        return False
    return True


def may_hold_a_secret(value: str) -> bool:
    """Whether a value that is refused may be an address with a password or a token in it."""
    return not {"@", "?", "#"}.isdisjoint(value)


def web_address(value: str) -> str:
    """Take an http or https address, without a user: that and its password are settings of their own."""
    what = "an http or https address without user, password, query and fragment, such as http://127.0.0.1:6067"
    try:
        parts = urlsplit(value)
        is_wrong = parts.port == 0  # asking for the port finds one that is none
    except ValueError:
        raise ValueError(what) from None
    if (
        is_wrong
        or parts.scheme not in {"http", "https"}
        or not parts.hostname
        or "@" in parts.netloc
        or "?" in value
        or "#" in value
        or not value.isprintable()
        or " " in value
    ):
        raise ValueError(what)
    return value


def folder(value: str) -> Path:
    """Take a folder that is there or can be made."""
    if not value:
        raise ValueError("a folder (`.` is the one that this is run in)")
    try:
        path = path_of(value)
        is_other = path.exists() and not path.is_dir()
    except UnreadableError as error:
        raise ValueError(f"a folder ({error})") from None
    except OSError as error:
        raise ValueError(f"a folder that can be used ({error.strerror})") from None
    if is_other:
        raise ValueError("a folder")
    return path


def folder_there(value: str) -> Path:
    """Take a folder that is there now; what is in it may come later."""
    path = folder(value)
    if not path.is_dir():
        raise ValueError("a folder that is there")
    return path


def readable_file(value: str) -> Path:
    """Take a file that can be read now."""
    try:
        return regular_file(value)
    except UnreadableError as error:
        raise ValueError(f"a file that can be read ({error})") from None


def optional(parse: Callable[[str], object]) -> Parse:
    """Take nothing for an empty text, and otherwise what `parse` takes."""

    def parse_or_none(value: str) -> object:
        return parse(value) if value else None

    return parse_or_none
