"""The one object through which both transports ask who calls and what they may."""

from __future__ import annotations

import ipaddress
import logging
import os
import socket
import time
from typing import TYPE_CHECKING

from service.access.caller import OPEN_CALLER, current_caller
from service.access.keyring import KeyFile, KeyRing
from service.access.keys import parse_keys
from service.access.options import AccessOptions
from service.access.owners import RequestOwners
from service.access.quota import Quota
from service.errors import ConfigurationError, Unauthenticated

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from service.access.caller import Caller

logger = logging.getLogger(__name__)

_LOOPBACK_NAME = "localhost"


class AccessControl:
    """Who may call this process, how much of it they use, and whose requests are whose.

    `keys`: None lets everybody in as `OPEN_CALLER`. Used from the event loop.
    """

    def __init__(
        self,
        options: AccessOptions,
        keys: KeyRing | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.options = options
        self.quota = Quota(clock)
        self.owners = RequestOwners()
        self._keys = keys

    @property
    def is_open(self) -> bool:
        """Tell whether calls need no key."""
        return self._keys is None

    def authenticate(self, authorization: str | None) -> Caller:
        """Return whose `Authorization` header value this is; raises Unauthenticated."""
        return OPEN_CALLER if self._keys is None else self._keys.authenticate(authorization)

    def caller(self) -> Caller:
        """Return the caller of the request that the current task serves.

        Raises Unauthenticated if keys are needed and no transport has asked for one: a route that
        was forgotten is closed, not open.
        """
        caller = current_caller.get()
        if caller is not None:
            return caller
        if self._keys is None:
            return OPEN_CALLER
        raise Unauthenticated("An API key is required.")


def open_access() -> AccessControl:
    """Return a control that lets everybody in: for a server that only this machine reaches."""
    return AccessControl(AccessOptions())


def build_access(options: AccessOptions, hosts: Sequence[str]) -> AccessControl:
    """Return the control for a server that listens on `hosts`; log a warning if it is open.

    Raises ConfigurationError like `check_access`.
    """
    access = check_access(options, hosts)
    if access.is_open:
        logger.warning(
            "no API keys: whoever reaches this server may use it",
            extra={"hosts": list(hosts), "setting": "MINTMARK_ACCESS__KEYS_FILE"},
        )
    return access


def check_access(options: AccessOptions, hosts: Sequence[str]) -> AccessControl:
    """Return the control for a server that listens on `hosts`.

    Raises ConfigurationError if the keys cannot be used, and if there are none although other
    machines can reach one of `hosts` and the operator has not said that this is meant.
    """
    keys = _read_keys(options)
    exposed = [host for host in hosts if not is_loopback(host)]
    if keys is None and exposed and not options.allow_open:
        raise ConfigurationError(
            f"{exposed[0] or '(every address)'} can be reached from other machines and there are "
            "no API keys. Set MINTMARK_ACCESS__KEYS_FILE (`mintmark keys new` makes a key), or "
            "MINTMARK_ACCESS__ALLOW_OPEN=true if something in front of this server checks callers."
        )
    return AccessControl(options, keys)


def _read_keys(options: AccessOptions) -> KeyRing | None:
    if options.keys is not None:
        if options.keys_file is not None:
            raise ConfigurationError(
                "MINTMARK_ACCESS__KEYS and MINTMARK_ACCESS__KEYS_FILE are both set; give one."
            )
        return KeyRing(parse_keys(options.keys.get_secret_value().encode(), is_json=True))
    if options.keys_file is not None:
        return KeyFile(options.keys_file, options.reload_s)
    return None


def is_loopback(host: str) -> bool:
    """Tell whether only this machine reaches `host`. A name other than localhost may be anything.

    The empty name means every address.
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == _LOOPBACK_NAME


def listening_host(listener_fd: int | None, configured: str) -> str:
    """Return the address that the listening socket is really bound to.

    BentoML takes `--host` as well, and in a container its own default is every address: what our
    setting says is only what was meant. `configured` is returned where there is no socket to ask.
    """
    if listener_fd is None:
        return configured
    try:
        with socket.socket(fileno=os.dup(listener_fd)) as listener:
            address = listener.getsockname()
    except OSError:
        return configured
    return str(address[0]) if isinstance(address, tuple) else configured
