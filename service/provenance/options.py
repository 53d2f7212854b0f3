"""What an operator can set about signing and verifying pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

SigningAlgorithm = Literal["es256", "es384", "es512", "ps256", "ps384", "ps512", "ed25519"]


class ProvenanceOptions(BaseModel):
    """Keys, trust and limits (`MINTMARK_PROVENANCE__…`).

    `certificate_chain_path`, `private_key_path`: PEM, leaf first, and its PKCS#8 key; both or
    neither, and neither means the development CA, which nobody else trusts.
    `trust_anchors_path`: PEM of the roots that pictures are verified against; required with the
    two above, whose chain must end in one of them. With the development CA, extra roots to trust.
    `allow_development_ca_on_postgresql`: says that there is one replica only. Several would each
    make a development CA, share a database and not trust each other's pictures, so a PostgreSQL
    ledger with a development CA is refused otherwise.
    `provider`: who runs this service, as stated in every manifest; by default the organisation
    (O) of the signing certificate. `system`: the name of the service in the manifest.
    `watermark_margin_quality`: marks are made stronger, within what is hardly seen, until they also
    survive being copied as JPEG of this quality; 0 stops at the least strength that can be read.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    certificate_chain_path: Path | None = None
    private_key_path: Path | None = None
    algorithm: SigningAlgorithm = "es256"
    trust_anchors_path: Path | None = None
    provider: str | None = Field(default=None, min_length=1, max_length=200)
    system: str = Field(default="Mintmark", min_length=1, max_length=200)
    allow_development_ca_on_postgresql: bool = False
    watermark_margin_quality: int = Field(default=70, ge=0, le=95)
    expiry_warning_days: int = Field(default=30, ge=0, le=366)
