"""Settings: composed from each part's options, read from the environment and nowhere else.

Every setting is `MINTMARK_<SECTION>__<FIELD>`. An unknown name stops the start.
"""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from models.options import LoadOptions
from service.access.options import AccessOptions
from service.database.options import LedgerOptions
from service.engine.options import EngineOptions
from service.errors import ConfigurationError
from service.intake import LimitsOptions
from service.provenance.options import ProvenanceOptions
from service.rest.options import RestOptions
from service.rpc.options import RpcOptions
from service.storage.options import StorageOptions
from service.telemetry.options import TelemetryOptions

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PREFIX = "MINTMARK_"


def _default_state_dir() -> Path:
    return Path.home() / ".local" / "state" / "mintmark"


class ServerOptions(BaseModel):
    """Where the server listens, keeps its state, and how it leaves.

    `state_dir` holds the development certificates, the SQLite ledger and BentoML's own files.
    `lame_duck_s`: how long a terminating server still accepts connections after it has turned
    unready, so that load balancers notice.
    `admin_port`: where `/metrics` is served, and nowhere else then, without keys; None serves it on
    the HTTP port, where it needs a key of scope `admin` if there are keys.
    `startup_budget_s`: how long models may load, downloads included, before the process gives up.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = "127.0.0.1"
    http_port: int = Field(default=3000, ge=1, le=65535)
    grpc_port: int = Field(default=3001, ge=1, le=65535)
    admin_port: int | None = Field(default=None, ge=1, le=65535)
    state_dir: Path = Field(default_factory=_default_state_dir)
    lame_duck_s: float = Field(default=1.0, ge=0, le=300)
    startup_budget_s: float = Field(default=1800.0, gt=0, le=86_400)
    marking_threads: int = Field(default=2, ge=1, le=64)
    verify_threads: int = Field(default=1, ge=1, le=64)


class Settings(BaseSettings):
    """All settings of one server. Frozen; log `describe()` once at start."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", frozen=True, extra="forbid"
    )

    server: ServerOptions = ServerOptions()
    engine: EngineOptions = EngineOptions()
    model: LoadOptions = LoadOptions()
    limits: LimitsOptions = LimitsOptions()
    access: AccessOptions = AccessOptions()
    provenance: ProvenanceOptions = ProvenanceOptions()
    ledger: LedgerOptions = LedgerOptions()
    storage: StorageOptions = StorageOptions()
    rest: RestOptions = RestOptions()
    rpc: RpcOptions = RpcOptions()
    telemetry: TelemetryOptions = TelemetryOptions()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the library's signature
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Keep the environment as the only source; arguments are for tests."""
        return (init_settings, env_settings)

    def describe(self) -> dict[str, Any]:
        """Return the effective settings, JSON-ready, secrets masked."""
        return self.model_dump(mode="json")


def load_settings() -> Settings:
    """Read the settings from the environment.

    Raises ConfigurationError with one line per problem, each naming the variable.
    """
    _reject_unknown(os.environ)
    try:
        return Settings()
    except ValidationError as exc:
        problems = [
            f"{_variable(error['loc'])}: {_sentence(error['msg'])}" for error in exc.errors()
        ]
        raise ConfigurationError("\n".join(problems)) from exc


def setting_names() -> Iterator[tuple[str, str, str]]:
    """Yield (section, field, variable name) of every setting there is."""
    for section, info in Settings.model_fields.items():
        options = info.annotation
        assert isinstance(options, type)
        assert issubclass(options, BaseModel)
        for name in options.model_fields:
            yield section, name, f"{PREFIX}{section}__{name}".upper()


def _reject_unknown(environment: Mapping[str, str]) -> None:
    """Refuse every `MINTMARK_*` variable that no setting reads.

    pydantic-settings silently ignores a misspelt section; a typo must not switch a limit off.
    """
    known = {variable for _, _, variable in setting_names()}
    problems = []
    for name in sorted(environment):
        if not name.upper().startswith(PREFIX) or name.upper() in known:
            continue
        nearest = difflib.get_close_matches(name.upper(), known, n=1)
        hint = f" Did you mean {nearest[0]}?" if nearest else ""
        problems.append(f"{name} is not a setting of Mintmark.{hint}")
    if problems:
        raise ConfigurationError("\n".join(problems))


def _variable(location: tuple[int | str, ...]) -> str:
    return f"{PREFIX}{'__'.join(str(part) for part in location[:2])}".upper()


def _sentence(message: str) -> str:
    return message.removeprefix("Value error, ")


def child_environment(settings: Settings, **overrides: str) -> dict[str, str]:
    """Return the environment for the `bentoml serve` process.

    Switches BentoML's usage reports off and gives it its own folder below the state folder,
    unless the caller's environment has set one. `overrides` are further variables.
    """
    environment = dict(os.environ)
    environment["BENTOML_DO_NOT_TRACK"] = "true"
    # Absolute: BentoML changes to the folder of the code.
    home = settings.server.state_dir.absolute() / "bentoml"
    environment.setdefault("BENTOML_HOME", str(home))
    return environment | overrides


def keep_metrics_in_memory() -> None:
    """Undo BentoML's switch to file-backed metrics, in the worker, before they are built.

    BentoML names a folder for values shared between several workers, and prometheus-client picks
    its value class by that variable when it is imported. There is one worker here; files would
    cost a write per count, lose the process metrics and outlive the process.
    """
    os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)
    os.environ.pop("prometheus_multiproc_dir", None)
