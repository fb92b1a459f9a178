"""Notices as a JSON POST to any address: at, to, subject, body, key, report."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

import httpx

from revops_lite.clean import json_line
from revops_lite.errors import ChannelError
from revops_lite.models import OutNotice
from revops_lite.notify.http import client, expect_success, post
from revops_lite.notify.message import as_data

_NAT64 = IPv6Network("64:ff9b::/96")


class WebhookChannel:
    """`token`, where given, is sent as bearer token. Each notice carries its id as Idempotency-Key.

    Unless `allow_private`, an address inside the own network is refused: what the name stands for is looked up, and
    the connection goes to exactly the address that was looked at, past any proxy.
    """

    def __init__(
        self,
        name: str,
        url: str,
        token: str | None = None,
        allow_private: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.name = name
        self._url = httpx.URL(url)
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._allow_private = allow_private
        self._clock = clock
        self._http = client(trust_env=allow_private)

    def send(self, notice: OutNotice) -> None:
        """Raises ChannelError; final for a private address, a redirect and most of 4xx."""
        headers = {**self._headers, "Idempotency-Key": f"{notice.id}-{notice.at:.3f}"}
        content = json_line(as_data(notice)).encode()
        if self._allow_private:
            answer = post(self._http, self.name, self._url, content, headers)
        else:
            host = self._url.raw_host.decode("ascii")
            url = self._url.copy_with(host=self._public(host))
            headers["Host"] = self._url.netloc.decode("ascii")
            answer = post(self._http, self.name, url, content, headers, sni_hostname=host)
        expect_success(self.name, answer, self._clock())

    def close(self) -> None:
        self._http.close()

    def _public(self, host: str) -> str:
        """The first address of `host`. Raises ChannelError, final when one of them is not public."""
        port = self._url.port or (443 if self._url.scheme == "https" else 80)
        try:
            found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise ChannelError(f"channel {self.name}: the host's name is not known") from error
        addresses = [str(entry[4][0]) for entry in found]
        if not addresses or not all(is_public(address) for address in addresses):
            raise ChannelError(
                f"channel {self.name}: the address is inside a private network; "
                f"set allow_private = true in [notify.channels.{self.name}] if that is meant",
                final=True,
            )
        return addresses[0]


def is_public(address: str) -> bool:
    """Whether an IP address leads to the open internet; an IPv4 address dressed as IPv6 is judged by what it is."""
    found = ip_address(address.partition("%")[0])
    inner = _inner(found) if isinstance(found, IPv6Address) else None
    if inner is not None:
        return is_public(str(inner))
    return found.is_global and not (found.is_multicast or found.is_reserved or found.is_unspecified)


def _inner(found: IPv6Address) -> IPv4Address | None:
    if found.ipv4_mapped is not None or found.sixtofour is not None:
        return found.ipv4_mapped or found.sixtofour
    if found.teredo is not None:
        return found.teredo[1]
    return IPv4Address(int(found) & 0xFFFFFFFF) if found in _NAT64 else None
