"""What the tests of the ledger's database share: how it looked before it had revisions."""

from __future__ import annotations

# As the first release made it, on SQLite; on PostgreSQL only the type of the time differs.
UNVERSIONED = (
    "CREATE TABLE schema_version (id INTEGER NOT NULL, version INTEGER NOT NULL, PRIMARY KEY (id))",
    """CREATE TABLE outputs (
        output_id VARCHAR(64) NOT NULL, request_id VARCHAR(64) NOT NULL,
        watermark_id BIGINT NOT NULL, watermark_profile VARCHAR(32) NOT NULL,
        manifest_id VARCHAR(255) NOT NULL, content_sha256 VARCHAR(64) NOT NULL,
        pixels_sha256 VARCHAR(64) NOT NULL, mime_type VARCHAR(32) NOT NULL,
        width_px INTEGER NOT NULL, height_px INTEGER NOT NULL, size_bytes BIGINT NOT NULL,
        model_id VARCHAR(255) NOT NULL, model_revision VARCHAR(128) NOT NULL,
        kind VARCHAR(16) NOT NULL, seed BIGINT NOT NULL, created_at {time} NOT NULL,
        PRIMARY KEY (output_id), UNIQUE (manifest_id))""",
    "CREATE UNIQUE INDEX outputs_watermark_unique ON outputs (watermark_id) "
    "WHERE watermark_profile = 'sst64'",
    "CREATE INDEX outputs_watermark_lookup ON outputs (watermark_id, watermark_profile)",
    "INSERT INTO schema_version VALUES (1, 1)",
    """INSERT INTO outputs VALUES ('out_1', 'req_1', 48879, 'sst64', 'urn:c2pa:1',
        'cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc',
        'dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd',
        'image/png', 96, 64, 1234, 'test-model', 'abc123', 'created', 9223372036854775807,
        '2026-11-24 08:00:00.123456')""",
)


def unversioned_schema(dialect: str) -> list[str]:
    """Return the statements that make the database of the first release, with one output."""
    time = "DATETIME" if dialect == "sqlite" else "TIMESTAMP WITH TIME ZONE"
    return [statement.replace("{time}", time) for statement in UNVERSIONED]
