"""Asks an HTTP service, and waits, asks again and says what is wrong as such a service needs it.

Credentials go to the connection's own server alone: neither a redirect nor a link in an answer carries them to another one. What the
server asks to wait is waited here while it is short; for a longer time the look ends and is taken up then (`ComeLater`).
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit, urlunsplit

import requests
from requests.auth import AuthBase
from requests.structures import CaseInsensitiveDict

from perennial.counted import lasting
from perennial.errors import SettingMissing, SourceRefused, SourceUnreachable
from perennial.sources.connections import Connection
from perennial.sources.interface import ComeLater

AGENT = f"Perennial/{version('perennial')}"
TRIES = 4  # of a request that breaks or that the server fails at
_PAUSE = 0.5  # seconds before the second try; twice as long before each further one
_ALONE = 60.0  # seconds to leave a server alone that says too many requests, and not until when
_LONGEST = 86_400.0  # seconds that a server may ask to be left alone
_REDIRECTS = 10
_AT_ONCE = 1 << 16  # bytes
_BUSY, _UNAVAILABLE = 429, 503
_EARLY = 30  # seconds before a token ends at which another one is asked for
EXTRAS = ("ca", "header", "headers", "parameter", "scope", "token_auth", "token_url")


@dataclass(frozen=True)
class Answer:
    """What a server has answered."""

    address: str  # of what was read, after redirects; without the connection's key
    status: int
    headers: Mapping[str, str] = field(default_factory=CaseInsensitiveDict)
    body: bytes = b""
    file: Path | None = None  # has the body where it was to go into a file


@dataclass(frozen=True)
class Limits:
    """How long is waited, and how much is read."""

    timeout: float  # seconds for a connection and each part of an answer
    patience: float  # seconds of all waits in place that the server asks for
    answer_bytes: int


class Client:
    """Requests to one service.

    Args:
        dataset: its name, for sentences.
        name: of the connection, for sentences; empty if there is none.
        connection: how to get in.
        url: address, whole or below the connection's host.
        headers: that every request has.
        limits: of waits and sizes.

    Raises:
        SettingMissing: the connection is not one to an HTTP service.
        SourceRefused: the address is on another server than the connection.
    """

    def __init__(
        self, dataset: str, name: str, connection: Connection | None, url: str, headers: Mapping[str, str], limits: Limits
    ) -> None:
        self.dataset, self.name, self.limits = dataset, name, limits
        self._left = limits.patience
        self._connection = connection or Connection()
        extra = self._connection.extra
        if unknown := sorted(set(extra) - set(EXTRAS)):
            raise SettingMissing(
                f"The connection {name} has the extra {', '.join(unknown)}, which an HTTP source does not know: it knows "
                f"{', '.join(EXTRAS)}. Headers go into headers."
            )
        base = _base(self._connection)
        self.address = urljoin(f"{base.rstrip('/')}/", url.lstrip("/") if base and not urlsplit(url).scheme else url)
        self._home = _origin(base or self.address)
        if urlsplit(self.address).scheme not in ("http", "https") or not urlsplit(self.address).hostname:
            raise SettingMissing(f"The connection {name} has no host, and {url} is no whole address: give either.")
        if base and _origin(self.address) != self._home:
            raise SourceRefused(
                f"The source of {dataset} is at {shown(self.address)} and its connection {name} is for {shown(base)}: its credentials do "
                "not go to another server. Correct either of them."
            )
        self._session = requests.Session()
        self._session.headers.update({"User-Agent": AGENT, "Accept-Encoding": "gzip, deflate", **headers})
        self._authority = extra.get("ca")  # given with each request: else a variable of the environment would win
        self._token, self._token_until = "", 0.0
        self._secrets = [s for s in (self._connection.password.get_secret_value(), *map(str, extra.get("headers", {}).values())) if s]

    def close(self) -> None:
        """Close what connections are open."""
        self._session.close()

    def get(
        self,
        address: str,
        parameters: Mapping[str, Any],
        headers: Mapping[str, str] | None = None,
        file_for: Callable[[Mapping[str, str], str], Path | None] = lambda headers, address: None,
    ) -> Answer:
        """Ask for an address, again while that may help.

        Args:
            address: of what is asked for.
            parameters: put behind it.
            headers: of this request.
            file_for: gets headers and address of an answer and says into which file its body goes; None keeps it in memory.

        Returns:
            The answer, whose status is below 400.

        Raises:
            ComeLater: the server asks to be left alone for longer than is waited here.
            SourceUnreachable: it does not answer, or fails, several times.
            SourceRefused: it refuses the request, or gives too much.
        """
        tried, renewed = 0, False
        while True:
            answer, fault = None, ""
            try:
                answer = self._follow(address, parameters, headers or {}, file_for)
            except (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema, requests.exceptions.InvalidHeader) as error:
                raise SourceRefused(
                    f"{shown(address)} of {self.dataset} cannot be asked for ({type(error).__name__}): correct it."
                ) from None
            except requests.exceptions.SSLError as error:
                raise SourceUnreachable(
                    f"The certificate of {shown(address)} is not trusted ({_words(error)}): where an authority of your own has signed it, "
                    f"name its file as ca in the extra of {self._where}."
                ) from None
            except requests.exceptions.RequestException as error:
                fault = _words(error)
            if answer is not None:
                if answer.status < 400:
                    return answer
                if answer.status == 401 and self._token and not renewed:
                    self._token, renewed = "", True
                    continue
                if (pause := _retry_after(answer)) is not None:
                    self._wait(address, answer.status, pause)
                    continue
                if answer.status not in (408, 425, _BUSY, 500, 502, _UNAVAILABLE, 504) and answer.status < 505:
                    self._refused(answer)
                fault = f"it answers {_status(answer.status)}{self._says(answer)}"
            tried += 1
            if tried == TRIES:
                if answer is not None and answer.status == _BUSY:
                    raise ComeLater(*_later(address, answer.status, _ALONE))
                raise SourceUnreachable(
                    f"{shown(address)}, from which {self.dataset} is read, fails: {fault}. It was asked {TRIES} times. What was read "
                    f"before is safe; check the service and {self._where}, and run it again."
                )
            time.sleep(_PAUSE * 2 ** (tried - 1))

    # -- one request ---------------------------------------------------------------------------------------------

    def _follow(
        self,
        address: str,
        parameters: Mapping[str, Any],
        headers: Mapping[str, str],
        file_for: Callable[[Mapping[str, str], str], Path | None],
    ) -> Answer:
        given: Mapping[str, Any] = parameters
        for _ in range(_REDIRECTS + 1):
            with self._session.get(
                address,
                params={name: _as_parameter(value) for name, value in given.items()},
                headers=dict(headers),
                auth=self._credentials(address),
                timeout=self.limits.timeout,
                allow_redirects=False,
                verify=self._authority,
                stream=True,
            ) as response:
                if response.is_redirect:
                    address, given = urljoin(str(response.url), response.headers["location"]), {}
                    continue
                final = self.without_key(str(response.url))
                file = file_for(response.headers, final) if response.status_code == 200 else None
                body = self._body(response, file)
                return Answer(final, response.status_code, response.headers, body, file)
        raise SourceRefused(f"{shown(address)}, from which {self.dataset} is read, leads from one address to the next without an end.")

    def _body(self, response: requests.Response, file: Path | None) -> bytes:
        read, parts = 0, bytearray()
        out = open(file, "wb") if file else None  # noqa: SIM115 - closed below
        try:
            for part in response.iter_content(_AT_ONCE):
                read += len(part)
                if read > self.limits.answer_bytes:
                    raise SourceRefused(
                        f"The answer of {shown(str(response.url))} is larger than answer_bytes of the source allows "
                        f"({self.limits.answer_bytes:,} bytes unpacked): ask for smaller pages, or allow more."
                    )
                if out:
                    out.write(part)
                else:
                    parts += part
        finally:
            if out:
                out.close()
        return bytes(parts)

    def _credentials(self, address: str) -> AuthBase:
        return _Credentials(self._sign if self._is_home(address) else lambda request: None)

    def _is_home(self, address: str) -> bool:
        origin = _origin(address)
        return origin == self._home or (self._home == ("http", origin[1], 80) and origin == ("https", origin[1], 443))

    def _sign(self, request: requests.PreparedRequest) -> None:
        known = self._connection
        password, extra = known.password.get_secret_value(), known.extra
        request.headers.update({str(name): str(value) for name, value in extra.get("headers", {}).items()})
        if extra.get("token_url"):
            request.headers["Authorization"] = f"Bearer {self._bearer()}"
        elif extra.get("header"):
            request.headers[str(extra["header"])] = password
        elif extra.get("parameter"):
            request.prepare_url(str(request.url), {str(extra["parameter"]): password})
        elif known.login:
            requests.auth.HTTPBasicAuth(known.login.encode(), password.encode())(request)
        elif password:
            request.headers["Authorization"] = f"Bearer {password}"

    def _bearer(self) -> str:
        """A token by OAuth 2's client credentials (RFC 6749, section 4.4)."""
        if self._token and time.monotonic() < self._token_until:
            return self._token
        known, extra = self._connection, self._connection.extra
        url = urljoin(self.address, str(extra["token_url"]))
        client, secret = known.login, known.password.get_secret_value()
        form = {"grant_type": "client_credentials", **({"scope": str(extra["scope"])} if extra.get("scope") else {})}
        in_body = extra.get("token_auth") == "body"
        try:
            response = self._session.post(
                url,
                data=form | ({"client_id": client, "client_secret": secret} if in_body else {}),
                auth=_Credentials(lambda request: None) if in_body else requests.auth.HTTPBasicAuth(client.encode(), secret.encode()),
                timeout=self.limits.timeout,
                allow_redirects=False,
                verify=self._authority,
            )
            given = response.json() if response.ok else {}
        except requests.exceptions.JSONDecodeError:
            given = {}
        except requests.exceptions.RequestException as error:
            raise SourceUnreachable(f"{shown(url)}, which gives tokens for {self.dataset}, does not answer: {_words(error)}.") from None
        token = given.get("access_token") if isinstance(given, dict) else None
        if not isinstance(token, str) or not token:
            raise (SourceUnreachable if response.status_code >= 500 else SourceRefused)(
                f"{shown(url)} gives no token for {self.dataset} ({_status(response.status_code)}): check login, password, scope and "
                f"token_auth of {self._where}."
            )
        lasts = given.get("expires_in")
        self._token, self._token_until = token, time.monotonic() + (lasts - _EARLY if isinstance(lasts, (int, float)) else 3600)
        self._secrets.append(token)
        return token

    def without_key(self, address: str) -> str:
        """An address without the parameter in which the connection's key is sent."""
        key = self._connection.extra.get("parameter")
        if not key:
            return address
        parts = urlsplit(address)
        kept = [(name, value) for name, value in parse_qsl(parts.query, keep_blank_values=True) if name != key]
        return urlunsplit(parts._replace(query=urlencode(kept)))

    # -- what is wrong -------------------------------------------------------------------------------------------

    @property
    def _where(self) -> str:
        return f"the connection {self.name}" if self.name else "url of the source"

    def _wait(self, address: str, status: int, pause: float) -> None:
        if pause > self._left:
            raise ComeLater(*_later(address, status, pause))
        self._left -= pause
        time.sleep(pause)

    def _refused(self, answer: Answer) -> NoReturn:
        at, said = shown(answer.address), self._says(answer)
        if answer.status == 401:
            away = "" if self._is_home(answer.address) else ", to which the credentials do not go since it is another server"
            raise SourceRefused(f"{at}{away} does not accept the credentials{said}: check {self._where}.")
        if answer.status == 403:
            raise SourceRefused(f"{at} may not be read with these credentials{said}: ask for the right, or check {self._where}.")
        if answer.status in (404, 410):
            raise Rejected(
                f"{at}, from which {self.dataset} is read, is not there ({_status(answer.status)}{said}): correct url of the source."
            )
        raise Rejected(
            f"{at} refuses what is asked of it for {self.dataset} ({_status(answer.status)}{said}): correct url and parameters of the "
            "source."
        )

    def _says(self, answer: Answer) -> str:
        """What a server says of a fault, in short and without secrets."""
        if not answer.headers.get("content-type", "").startswith(("text/plain", "application/json", "application/problem+json")):
            return ""
        said = " ".join(answer.body[:300].decode("utf-8", "replace").split())[:200]
        for secret in self._secrets:
            said = said.replace(secret, "***")
        return f", {said}" if said else ""


class Rejected(SourceRefused):
    """The server refuses what is asked of it, whoever asks: nothing is there, or the parameters are wrong."""


class _Credentials(AuthBase):
    """Puts credentials into a request; also where there are none, so that no others are looked for (.netrc)."""

    def __init__(self, sign: Callable[[requests.PreparedRequest], None]) -> None:
        self._sign = sign

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        self._sign(request)
        return request


def shown(address: str) -> str:
    """An address without what may be secret in it.

    >>> shown("https://reader:secret@shop.example:8443/v1/orders?key=secret#top")
    'https://shop.example:8443/v1/orders'
    """
    parts = urlsplit(address)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _base(connection: Connection) -> str:
    """The address of the connection's server; empty if it has none."""
    host = connection.url.get_secret_value() or connection.host
    if not host:
        return ""
    if not urlsplit(host).scheme or "://" not in host:
        host = f"{connection.database or 'https'}://{host}"
    parts = urlsplit(host)
    if "@" in parts.netloc:
        raise SettingMissing("The address of a connection to an HTTP service has a user in it: write it as login and password.")
    if connection.port and not parts.port:
        parts = parts._replace(netloc=f"{parts.netloc}:{connection.port}")
    return urlunsplit(parts)


def _origin(address: str) -> tuple[str, str, int]:
    parts = urlsplit(address)
    try:
        port = parts.port
    except ValueError:
        port = 0
    return parts.scheme, (parts.hostname or "").lower(), port or (443 if parts.scheme == "https" else 80)


def _as_parameter(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _retry_after(answer: Answer) -> float | None:
    """Seconds for which the server asks to be left alone; None if it does not.

    >>> _retry_after(Answer("", 429, {"Retry-After": "7"}))
    7.0
    >>> _retry_after(Answer("", 503, {"Retry-After": "Mon, 02 Mar 2026 08:00:09 GMT", "Date": "Mon, 02 Mar 2026 08:00:00 GMT"}))
    9.0
    """
    said = answer.headers.get("Retry-After", "").strip()
    if answer.status not in (_BUSY, _UNAVAILABLE) or not said:
        return None
    if said.isascii() and said.isdigit():
        seconds = float(said)
    elif (until := _moment(said)) is not None:
        seconds = (until - (_moment(answer.headers.get("Date", "")) or datetime.now(timezone.utc))).total_seconds()
    else:
        return None
    return min(max(seconds, 1.0), _LONGEST)


def _moment(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)


def _later(address: str, status: int, seconds: float) -> tuple[str, datetime]:
    sentence = f"{shown(address)} answers {_status(status)} and is to be left alone for {lasting(seconds)}; what was read before is safe."
    return sentence, datetime.now(timezone.utc) + timedelta(seconds=seconds)


def _status(status: int) -> str:
    name = requests.status_codes._codes.get(status, ("",))[0].replace("_", " ")
    return f"{status} ({name})" if name.isascii() and name else str(status)


def _words(error: Exception) -> str:
    """What broke, in short, without the address: it may hold a key."""
    if isinstance(error, requests.exceptions.Timeout):
        return "it does not answer in time"
    if isinstance(error, requests.exceptions.ContentDecodingError):
        return "its answer cannot be unpacked"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "its answer ends in the middle"
    reason: Any = error.args[0] if error.args else error
    reason = getattr(reason, "reason", reason)
    said = re.sub(r" \(_ssl\.c:\d+\)", "", str(reason)).rpartition(": ")[2] or type(error).__name__
    return said.rstrip(".)'")[:200]
