"""URLs taken apart: one parser for every store, signer and plugin.

The stock parsers lower the case of hosts, refuse lists of hosts and print pieces
of passwords in their errors. Rule of this module: a message may name the source,
the scheme and a place in the text, and repeats nothing else of what it was given.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from ipaddress import IPv6Address
from typing import Final
from urllib.parse import quote, unquote_to_bytes

from attrs import evolve, frozen

from stem_core.model.errors import InvalidURL
from stem_core.model.secrets import HIDDEN, Secret, is_secret_name
from stem_core.model.value import Value

__all__ = ["Host", "StemURL"]

_MAX_LENGTH: Final = 8192
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9.-]*)(?:\+([A-Za-z][A-Za-z0-9.-]*))?")
_HOST: Final = re.compile(
    r"\[(?P<v6>[^\[\]]*)\](?P<v6_port>:.*)?|(?P<name>[^:\[\]]*)(?P<port>:.*)?"
)
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_BAD_PERCENT: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_PATH_SAFE: Final = "/:~!$&'()*+,;="
_QUERY_SAFE: Final = "/:~!$'()*+,;?"
_FORM: Final = (
    "A URL is scheme://user:password@host:port/path?option=value, such as redis://localhost:6379/0."
)


class Host(Value, frozen=True, gc=False):
    """One host of a URL. An IPv6 address has no brackets here; the case is as written."""

    name: str
    port: int | None = None

    def __str__(self) -> str:
        v6 = ":" in self.name
        name = f"[{quote(self.name, safe=':')}]" if v6 else quote(self.name, safe="~")
        return name if self.port is None else f"{name}:{self.port}"


_SIGNING: Final = ("hmac", "ed25519")
"""Schemes of signers: behind them, without a variant that says where, stands a key."""


@frozen(kw_only=True, repr=False)
class StemURL:
    """A URL in parts, percent-decoded. Shows itself without its secrets.

    Attributes:
        scheme, variant: ``redis+unix://`` has the scheme ``redis`` and the variant
            ``unix``; both lower case, the variant empty when there is none.
        username: empty when absent.
        password: None when absent.
        hosts: empty when absent; several are separated by commas in the text.
        path: with its leading slash; empty when absent.
        query: the pairs in the order written, duplicates included.
    """

    scheme: str
    variant: str = ""
    username: str = ""
    password: Secret[str] | None = None
    hosts: tuple[Host, ...] = ()
    path: str = ""
    query: tuple[tuple[str, str], ...] = ()

    @classmethod
    def parse(cls, text: str, *, source: str = "url") -> StemURL:
        """Return *text* in parts.

        Raises:
            InvalidURL: names *source* and what is wrong, never a part of *text*.
        """
        try:
            return _parse(text)
        except _Refused as refused:
            # `from None`: the frames below hold the text.
            raise InvalidURL(f"{source}: {refused.why}", way_out=refused.way_out) from None

    @property
    def netloc(self) -> str:
        """The hosts as text, without user and password."""
        return ",".join(map(str, self.hosts))

    def redacted(self, options: type | None = None) -> str:
        """Return the URL as text with every secret hidden: for people and logs.

        Anything may be a secret whose name nobody knows, a misspelled ``pasword`` first of all:
        values of parameters are shown only of those that *options*, the attrs class that a
        plugin takes, has as fields, without those that are secrets.
        """
        if self.scheme.startswith(_SIGNING) and not self.variant and (self.hosts or self.path):
            # Only a mistake has anything here, and the mistake is to write the key itself.
            return f"{self.scheme}://{HIDDEN}"
        hidden = None if self.password is None else HIDDEN
        known = _open_fields(options)
        pairs = ((name, value if name in known else HIDDEN) for name, value in self.query)
        return self._text(hidden, pairs)

    def reveal(self) -> str:
        """Return the whole URL, secrets included: for a driver, never for a message."""
        password = None if self.password is None else quote(self.password.reveal(), safe="")
        return self._text(password, self.query)

    def with_path(self, path: str) -> StemURL:
        """Return this URL with another decoded *path*, which starts with a slash or is empty."""
        if path and not path.startswith("/"):
            raise InvalidURL("the path of a URL starts with '/'")
        return evolve(self, path=path)

    def with_query(self, query: Iterable[tuple[str, str]]) -> StemURL:
        """Return this URL with other options."""
        return evolve(self, query=tuple(query))

    def __str__(self) -> str:
        return self.redacted()

    def __repr__(self) -> str:
        return f"StemURL({self.redacted()!r})"

    def _text(self, password: str | None, pairs: Iterable[tuple[str, str]]) -> str:
        variant = f"+{self.variant}" if self.variant else ""
        user = quote(self.username, safe="")
        if password is not None:
            user += f":{password}"
        # A user without a name and a password is no user at all.
        at = "@" if user else ""
        query = "&".join(
            f"{quote(name, safe=_QUERY_SAFE)}={quote(value, safe=_QUERY_SAFE)}"
            for name, value in pairs
        )
        path = quote(self.path, safe=_PATH_SAFE)
        return (
            f"{self.scheme}{variant}://{user}{at}{self.netloc}{path}{'?' if query else ''}{query}"
        )


class _Refused(Exception):
    """Why a text is no URL, in words that hold no part of it."""

    def __init__(self, why: str, way_out: str = "") -> None:
        super().__init__(why)
        self.why: Final = why
        self.way_out: Final = way_out


def _open_fields(options: type | None) -> frozenset[str]:
    """Return the names of the fields of *options* that hold no secret."""
    fields = getattr(options, "__attrs_attrs__", ())
    return frozenset(
        field.name
        for field in fields
        if not is_secret_name(field.name) and "Secret" not in str(field.type)
    )


def _parse(text: str) -> StemURL:
    _refuse_strange(text)
    head, mark, rest = text.partition("://")
    scheme = _SCHEME.fullmatch(head)
    if not mark or scheme is None:
        raise _Refused("this is not a URL: it does not start with scheme://", _FORM)
    address, _, query = rest.partition("?")
    authority, slash, path = address.partition("/")
    if "@" in path or "@" in query:
        raise _Refused(
            "contains '@' outside user:password@host",
            "Percent-encode it as %40, '/' as %2F, '?' as %3F.",
        )
    userinfo, _, hosts = authority.rpartition("@")
    if "@" in userinfo:
        raise _Refused("contains more than one '@'", "Percent-encode those of the password as %40.")
    username, colon, password = userinfo.partition(":")
    return StemURL(
        scheme=scheme[1].lower(),
        variant=(scheme[2] or "").lower(),
        username=_decoded(username, "user name"),
        password=Secret(_decoded(password, "password")) if colon else None,
        hosts=tuple(map(_host, hosts.split(","))) if hosts else (),
        path=_decoded(slash + path, "path"),
        query=tuple(_pairs(query)) if query else (),
    )


def _refuse_strange(text: object) -> None:
    """Refuse what no URL holds, by place and not by content."""
    if not isinstance(text, str):
        raise _Refused(f"a URL is text, got {type(text).__name__}", _FORM)
    if not text:
        raise _Refused("the URL is empty", _FORM)
    if len(text) > _MAX_LENGTH:
        raise _Refused(f"the URL has {len(text)} characters, more than {_MAX_LENGTH}")
    if "#" in text:
        raise _Refused("contains '#'", "Percent-encode it as %23.")
    for place, letter in enumerate(text, start=1):
        if letter == " " or not letter.isprintable():
            raise _Refused(
                f"contains a space or control character at character {place}",
                "Percent-encode a space as %20.",
            )


def _host(text: str) -> Host:
    match = _HOST.fullmatch(text)
    if match is None:
        raise _Refused(
            "a host cannot be read", "Write host, host:port or [IPv6]:port, separated by commas."
        )
    if match["v6"] is not None:
        return Host(_ipv6(_decoded(match["v6"], "host")), _port(match["v6_port"]))
    name = _decoded(match["name"], "host")
    if not name or ":" in name:
        raise _Refused(
            "a host has no name", "Write host, host:port or [IPv6]:port, separated by commas."
        )
    return Host(name, _port(match["port"]))


def _ipv6(text: str) -> str:
    try:
        IPv6Address(text)
    except ValueError:
        raise _Refused("what stands in [brackets] is not an IPv6 address") from None
    return text


def _port(text: str | None) -> int | None:
    if text is None:
        return None
    digits = text[1:]
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 5 and 0 < int(digits) < 65536):
        raise _Refused(
            "a port is not a number from 1 to 65535",
            "If it belongs to a password, percent-encode '/' as %2F, '?' as %3F, '@' as %40.",
        )
    return int(digits)


def _pairs(query: str) -> Iterator[tuple[str, str]]:
    for place, piece in enumerate(query.split("&"), start=1):
        name, equals, value = piece.partition("=")
        if not name or not equals:
            raise _Refused(f"parameter {place} is not of the form name=value")
        # '+' stays '+': base64 and time zones contain it, and libpq reads it so.
        yield _decoded(name, "name of a parameter"), _decoded(value, "value of a parameter")


def _decoded(text: str, what: str) -> str:
    if "%" not in text:
        return text
    if _BAD_PERCENT.search(text):
        raise _Refused(f"the {what} has a '%' without two hex digits", "Percent-encode '%' as %25.")
    try:
        plain = unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        raise _Refused(f"the {what} is not UTF-8 when percent-decoded") from None
    if _CONTROL.search(plain):
        raise _Refused(f"the {what} has a control character when percent-decoded")
    return plain
