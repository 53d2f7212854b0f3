"""Reads C2PA credentials out of a picture, whoever wrote them, into one flat report."""

from __future__ import annotations

import json
import logging
from io import BytesIO
from typing import TYPE_CHECKING, Any

from c2pa import C2paError, Context, Reader
from cryptography.x509 import load_pem_x509_certificates

from service.errors import ConfigurationError
from service.provenance.manifest import GENERATION_ASSERTION
from service.provenance.report import (
    CredentialReport,
    CredentialState,
    GenerationClaim,
    IngredientReport,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from service.domain.request import OutputFormat

# The purposes a signing certificate may have. emailProtection is what the library expects;
# documentSigning and C2PA's own claimSigning are what the conformance programme issues.
SIGNING_PURPOSES = ("1.3.6.1.5.5.7.3.4", "1.3.6.1.5.5.7.3.36", "1.3.6.1.4.1.62558.2.1")

# The type UUID of a C2PA manifest store, which stands at its start in every container.
_MANIFEST_STORE_MARKER = bytes.fromhex("6332706100110010800000AA00389B71")

# Manifests come from strangers: what is repeated from them is bounded.
_MAX_TEXT_CHARS = 300
_MAX_ITEMS = 64

_UNTRUSTED = "signingCredential.untrusted"
UNREADABLE = "unreadable"

logger = logging.getLogger(__name__)


def c2pa_settings(anchors_pem: str) -> dict[str, Any]:
    """Return the library settings for signing and reading, with the given roots (PEM) trusted.

    Nothing in them may open a connection: manifests of strangers name hosts. The library accepts
    unknown keys in silence, so a test reads a picture with these settings rather than trust them.
    """
    return {
        "version": 1,
        "core": {"allowed_network_hosts": [], "allow_redirects": False},
        "verify": {
            "verify_after_sign": True,
            "verify_trust": True,
            "remote_manifest_fetch": False,
            "ocsp_fetch": False,
        },
        # A thumbnail costs 87 ms and 83 KB a picture, and the picture is right there.
        "builder": {"thumbnail": {"enabled": False}},
        "trust": {"trust_anchors": anchors_pem, "trust_config": "\n".join(SIGNING_PURPOSES)},
    }


class CredentialReader:
    """Validates C2PA credentials against one set of roots. Thread-safe.

    Must be made in the process that uses it: the library's contexts do not survive a fork.
    Raises ConfigurationError for anchors that are not certificates in PEM form.
    """

    def __init__(self, anchors_pem: str) -> None:
        try:
            # The library skips what it cannot parse, and then trusts nobody without a word.
            load_pem_x509_certificates(anchors_pem.encode())
            self._context = Context.from_dict(c2pa_settings(anchors_pem))
        except (C2paError, ValueError) as error:
            raise ConfigurationError(f"The trust anchors cannot be used: {error}.") from error

    def read(self, content: bytes, fmt: OutputFormat) -> CredentialReport:
        """Return what the credentials in `content` say and whether they hold.

        Never raises for what is in `content`: credentials that cannot be read are Invalid with
        the failure "unreadable", and a file without any is Absent.
        """
        try:
            with Reader(fmt.mime_type, BytesIO(content), context=self._context) as reader:
                store = json.loads(reader.json())
        except C2paError.ManifestNotFound:
            return CredentialReport(CredentialState.ABSENT, present=False)
        except (C2paError, ValueError, RecursionError) as error:
            if _MANIFEST_STORE_MARKER not in content:  # the file is damaged, not its credentials
                return CredentialReport(CredentialState.ABSENT, present=False)
            logger.info("unreadable credentials: %s", error)
            return CredentialReport(CredentialState.INVALID, present=True, failures=(UNREADABLE,))
        return _report(store)

    def close(self) -> None:
        """Free the library's context."""
        self._context.close()


def _report(store: dict[str, Any]) -> CredentialReport:
    manifest_id = _text(store.get("active_manifest"))
    manifest = _mapping(_mapping(store.get("manifests")).get(manifest_id or ""))
    assertions = [_mapping(item) for item in _items(manifest.get("assertions"))]
    actions = [_mapping(item) for item in _actions(assertions)]
    generation = _generation(assertions)
    signature = _mapping(manifest.get("signature_info"))
    results = _mapping(_mapping(store.get("validation_results")).get("activeManifest"))
    stamp = _text(signature.get("time"))
    return CredentialReport(
        state=_state(store.get("validation_state")),
        present=True,
        issuer=_text(signature.get("issuer")),
        time=stamp or _first(actions, "when"),
        has_trusted_time=stamp is not None and "timeStamp.trusted" in _codes(results, "success"),
        failures=_codes(results, "failure"),
        digital_source_type=_first(actions, "digitalSourceType"),
        actions=_texts(item.get("action") for item in actions),
        ingredients=tuple(
            _ingredient(_mapping(item)) for item in _items(manifest.get("ingredients"))
        ),
        manifest_id=manifest_id,
        output_id=generation.output_id if generation else None,
        generation=generation,
    )


def _actions(assertions: list[dict[str, Any]]) -> list[Any]:
    found: list[Any] = []
    for assertion in assertions:
        if assertion.get("label") in {"c2pa.actions", "c2pa.actions.v2"}:
            found += _items(_mapping(assertion.get("data")).get("actions"))
    return found[:_MAX_ITEMS]


def _generation(assertions: list[dict[str, Any]]) -> GenerationClaim | None:
    for assertion in assertions:
        # Not "created" means gathered: the signer passes it on without vouching for it.
        if assertion.get("label") == GENERATION_ASSERTION and assertion.get("created") is True:
            fields = _mapping(assertion.get("data"))
            return GenerationClaim(
                provider=_text(fields.get("provider")),
                system=_text(fields.get("system")),
                system_version=_text(fields.get("system_version")),
                model=_text(fields.get("model")),
                model_revision=_text(fields.get("model_revision")),
                created_or_altered=_text(fields.get("created_or_altered")),
                output_id=_text(fields.get("output_id")),
                time=_text(fields.get("time")),
                preview=True if fields.get("preview") is True else None,
            )
    return None


def _ingredient(ingredient: dict[str, Any]) -> IngredientReport:
    manifest_id = _text(ingredient.get("active_manifest"))
    results = _mapping(_mapping(ingredient.get("validation_results")).get("activeManifest"))
    failures = _codes(results, "failure")
    if any(code != _UNTRUSTED for code in failures):  # also of one that could not be taken over
        state = CredentialState.INVALID
    elif manifest_id is None:
        state = CredentialState.ABSENT
    elif failures or not results:
        state = CredentialState.VALID
    else:
        state = CredentialState.TRUSTED
    return IngredientReport(_text(ingredient.get("relationship")), state, failures, manifest_id)


def _state(value: object) -> CredentialState:
    for state in (CredentialState.TRUSTED, CredentialState.VALID):
        if value == state.value:
            return state
    return CredentialState.INVALID


def _codes(results: dict[str, Any], kind: str) -> tuple[str, ...]:
    return _texts(_mapping(item).get("code") for item in _items(results.get(kind)))


def _first(items: list[dict[str, Any]], key: str) -> str | None:
    return next((text for item in items if (text := _text(item.get(key))) is not None), None)


def _texts(values: Iterable[object]) -> tuple[str, ...]:
    return tuple(text for value in values if (text := _text(value)) is not None)


def _text(value: object) -> str | None:
    return value[:_MAX_TEXT_CHARS] if isinstance(value, str) else None


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _items(value: object) -> list[Any]:
    return value[:_MAX_ITEMS] if isinstance(value, list) else []
