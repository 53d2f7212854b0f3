"""Stands for the Secrets of an installation: real keys and certificates, in the files of a pod."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

from service.access.keys import digest, new_key
from service.provenance.development_ca import issue_chain
from tests.tls_kit import make_pair


def mount_secrets(folder: Path) -> str:
    """Write everything that may be mounted below /run/mintmark; return the API key that counts."""
    api_key = new_key()
    chain = issue_chain("Test organisation", datetime.now(UTC))
    pair = make_pair()
    entry = {"name": "app", "sha256": digest(api_key), "scopes": ["generate", "verify"]}
    toml = "".join(f"{name} = {json.dumps(value)}\n" for name, value in entry.items())
    contents = {
        "signing/chain.pem": chain.chain_pem,
        "signing/key.pem": chain.key_pem,
        "signing/trust-anchors.pem": chain.root_pem,
        "access/keys.toml": f"[[keys]]\n{toml}".encode(),
        "access/keys.json": json.dumps({"keys": [entry]}).encode(),
        "grpc/tls.crt": pair.certificate,
        "grpc/tls.key": pair.key,
        "grpc/client-ca.crt": pair.certificate,
    }
    for name, content in contents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return api_key
