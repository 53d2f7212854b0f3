"""Keys, and controls that know them."""

from __future__ import annotations

from service.access.caller import Scope
from service.access.control import AccessControl
from service.access.keyring import KeyRing
from service.access.keys import KeyEntry, digest, new_key
from service.access.options import AccessOptions

APP_KEY, OTHER_KEY, VERIFY_KEY, ADMIN_KEY = (new_key() for _ in range(4))


def make_entry(key: str = APP_KEY, name: str = "app", *scopes: Scope, **limits) -> KeyEntry:
    return KeyEntry(
        name=name, sha256=digest(key), scopes=frozenset(scopes or {Scope.GENERATE}), **limits
    )


def keyed_access(*entries: KeyEntry, options: AccessOptions | None = None) -> AccessControl:
    """Return a control with `entries`, or with one caller for each kind of key."""
    chosen = entries or (
        make_entry(),
        make_entry(OTHER_KEY, "other"),
        make_entry(VERIFY_KEY, "checker", Scope.VERIFY),
        make_entry(ADMIN_KEY, "boss", Scope.ADMIN),
    )
    ring = KeyRing({entry.sha256: entry for entry in chosen})
    return AccessControl(options or AccessOptions(), ring)


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}
