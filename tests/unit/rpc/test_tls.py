"""TLS: who gets in, which files stop the start, and that certificates rotate while serving."""

from __future__ import annotations

import grpc
import pytest
from pydantic import ValidationError

from service.errors import ConfigurationError
from service.rpc.generated.mintmark.v1 import image_generation_pb2 as pb
from service.rpc.generated.mintmark.v1 import image_generation_pb2_grpc as pb_grpc
from service.rpc.options import RpcOptions
from service.rpc.tls import RotatingCertificate
from tests.rpc_kit import refused, rpc_bench
from tests.tls_kit import Pair, make_pair, mount


async def list_models(port: int, server: Pair, client: Pair | None = None) -> int:
    """Call over TLS, trusting only `server`'s certificate; return the number of models."""
    own = (None, None) if client is None else (client.key, client.certificate)
    credentials = grpc.ssl_channel_credentials(server.certificate, *own)
    # A pool of its own: a channel would otherwise go on over the connection of another.
    options = [("grpc.use_local_subchannel_pool", 1)]
    target = f"localhost:{port}"
    async with grpc.aio.secure_channel(target, credentials, options) as channel:
        call = pb_grpc.ImageGenerationStub(channel).ListModels(pb.ListModelsRequest(), timeout=5)
        return len((await call).models)


async def test_calls_are_answered_over_tls_and_not_in_plain_text(tmp_path):
    pair = make_pair()
    async with rpc_bench(options=mount(tmp_path, pair)) as bench:
        assert await list_models(bench.port, pair) == 1
        async with bench.stub() as stub:
            refusal = await refused(stub.ListModels(pb.ListModelsRequest(), timeout=5))
    assert refusal.code is grpc.StatusCode.UNAVAILABLE


async def test_with_client_certificates_only_their_owners_get_in(tmp_path):
    server, client, stranger = make_pair(), make_pair(), make_pair()
    roots = tmp_path / "clients.pem"
    roots.write_bytes(client.certificate)
    options = mount(tmp_path, server, client_ca_path=roots, require_client_certificate=True)
    async with rpc_bench(options=options) as bench:
        assert await list_models(bench.port, server, client) == 1
        for other in (None, stranger):
            with pytest.raises(grpc.aio.AioRpcError) as turned_away:
                await list_models(bench.port, server, other)
            assert turned_away.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_new_certificate_is_served_without_a_restart(tmp_path, caplog):
    old, new = make_pair(), make_pair()
    caplog.set_level("INFO", "service.rpc.tls")
    async with rpc_bench(options=mount(tmp_path, old)) as bench:
        assert await list_models(bench.port, old) == 1
        mount(tmp_path, new)
        assert await list_models(bench.port, new) == 1
        with pytest.raises(grpc.aio.AioRpcError):
            await list_models(bench.port, old)
    assert [record.getMessage() for record in caplog.records if record.name.endswith("tls")] == [
        "the gRPC certificate was replaced"
    ]


async def test_a_broken_rotation_keeps_the_old_certificate_and_says_so_once(tmp_path, caplog):
    old, new = make_pair(), make_pair()
    async with rpc_bench(options=mount(tmp_path, old)) as bench:
        (tmp_path / "tls.crt").write_bytes(new.certificate)  # its key has not come yet
        assert await list_models(bench.port, old) == 1
        assert await list_models(bench.port, old) == 1
        (record,) = (record for record in caplog.records if record.name == "service.rpc.tls")
        assert "MINTMARK_RPC__PRIVATE_KEY_PATH" in record.getMessage()
        (tmp_path / "tls.key").write_bytes(new.key)
        assert await list_models(bench.port, new) == 1
        (tmp_path / "tls.key").unlink()
        assert await list_models(bench.port, new) == 1


@pytest.mark.parametrize(
    ("setting", "spoil"),
    [
        ("CERTIFICATE_PATH", lambda folder: (folder / "tls.crt").unlink()),
        ("PRIVATE_KEY_PATH", lambda folder: (folder / "tls.key").unlink()),
        ("CERTIFICATE_PATH", lambda folder: (folder / "tls.crt").write_bytes(b"no PEM")),
        ("PRIVATE_KEY_PATH", lambda folder: (folder / "tls.key").write_bytes(b"no PEM")),
        ("PRIVATE_KEY_PATH", lambda folder: (folder / "tls.key").write_bytes(make_pair().key)),
        (
            "PRIVATE_KEY_PATH",
            lambda folder: (folder / "tls.key").write_bytes(make_pair(password=b"secret").key),
        ),
        ("CERTIFICATE_PATH", lambda folder: mount(folder, make_pair(days=-1))),
        ("CLIENT_CA_PATH", lambda folder: (folder / "clients.pem").unlink()),
        ("CLIENT_CA_PATH", lambda folder: (folder / "clients.pem").write_bytes(b"no PEM")),
    ],
)
def test_files_that_cannot_be_used_are_named_by_their_setting(tmp_path, setting, spoil):
    roots = tmp_path / "clients.pem"
    roots.write_bytes(make_pair().certificate)
    options = mount(tmp_path, make_pair(), client_ca_path=roots, require_client_certificate=True)
    RotatingCertificate(options)
    spoil(tmp_path)
    with pytest.raises(ConfigurationError, match=f"^MINTMARK_RPC__{setting}: "):
        RotatingCertificate(options)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"certificate_path": "a"}, "MINTMARK_RPC__PRIVATE_KEY_PATH"),
        ({"private_key_path": "a"}, "MINTMARK_RPC__CERTIFICATE_PATH"),
        ({"require_client_certificate": True}, "MINTMARK_RPC__CLIENT_CA_PATH"),
        ({"client_ca_path": "a"}, "MINTMARK_RPC__REQUIRE_CLIENT_CERTIFICATE"),
        (
            {"client_ca_path": "a", "require_client_certificate": True},
            "MINTMARK_RPC__CERTIFICATE_PATH",
        ),
    ],
)
def test_settings_that_contradict_each_other_are_refused(changes, named):
    with pytest.raises(ValidationError, match=named):
        RpcOptions(**changes)
