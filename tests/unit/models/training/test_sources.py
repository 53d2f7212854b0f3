from __future__ import annotations

import base64
import dataclasses
import hashlib
import io
import json
import tarfile
from pathlib import Path

import pytest

from models.training.errors import TrainingError
from models.training.icons import IconifySet, iconify_names
from models.training.sources import LICENCES, Package, fetch_package, load_sources, read_members
from models.training.vocabulary import STYLES

FAKE_NPM = """#!/bin/sh
{body}
"""


def tarball(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


CONTENT = tarball({"a.json": b"{}", "b.txt": b"b"})
PACKAGE = Package(
    "set",
    "@scope/set",
    "1.2.3",
    "sha512-" + base64.b64encode(hashlib.sha512(CONTENT).digest()).decode(),
    "MIT",
    "someone",
)


def install_npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str | None) -> None:
    """Put a stand-in for npm, or none, on an otherwise unchanged path."""
    folder = tmp_path / "bin"
    folder.mkdir()
    if body is None:
        monkeypatch.setenv("PATH", str(folder))
        return
    script = folder / "npm"
    script.write_text(FAKE_NPM.format(body=body))
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_the_committed_sources_are_locked_free_and_of_known_styles() -> None:
    sources = load_sources()

    assert {source.package.licence for source in sources.art} <= LICENCES
    assert {source.style for source in sources.art} == {style.name for style in STYLES}
    for package in (*(source.package for source in sources.art), sources.labels):
        digest = package.integrity.removeprefix("sha512-")
        assert len(base64.b64decode(digest, validate=True)) == 64


def test_another_licence_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "sources.toml"
    path.write_text(
        'art = []\n[labels]\nname = "x"\npackage = "x"\nversion = "1"\nintegrity = "sha512-"\n'
        'licence = "CC-BY-4.0"\nattribution = "x"\n'
    )

    with pytest.raises(TrainingError, match=r"CC-BY-4\.0"):
        load_sources(path)


def test_a_table_without_a_field_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "sources.toml"
    path.write_text('[[art]]\nname = "x"\n')

    with pytest.raises(TrainingError, match="not valid"):
        load_sources(path)


def test_a_package_is_fetched_once_by_name_and_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "served.tgz").write_bytes(CONTENT)
    log = tmp_path / "log"
    install_npm(
        tmp_path,
        monkeypatch,
        f'echo "$@" >> {log}\ncp {tmp_path / "served.tgz"} scope-set-1.2.3.tgz',
    )

    first = fetch_package(PACKAGE, tmp_path / "tarballs")
    second = fetch_package(PACKAGE, tmp_path / "tarballs")
    assert first == second
    assert first.read_bytes() == CONTENT
    assert log.read_text().splitlines() == ["pack --silent --ignore-scripts @scope/set@1.2.3"]


def test_a_fetched_package_with_a_wrong_hash_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_npm(tmp_path, monkeypatch, "echo changed > scope-set-1.2.3.tgz")

    with pytest.raises(TrainingError, match="not the locked"):
        fetch_package(PACKAGE, tmp_path / "tarballs")
    assert list((tmp_path / "tarballs").iterdir()) == []


def test_a_tarball_that_changed_on_disk_is_refused(tmp_path: Path) -> None:
    path = tmp_path / PACKAGE.file_name
    path.write_bytes(CONTENT[:-1])

    with pytest.raises(TrainingError, match="delete it and run the same command again"):
        fetch_package(PACKAGE, tmp_path)
    assert path.is_file()


def test_npms_own_words_are_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_npm(tmp_path, monkeypatch, "echo no such host >&2; exit 1")

    with pytest.raises(TrainingError, match="no such host") as caught:
        fetch_package(PACKAGE, tmp_path / "tarballs")
    assert "Check the network" in str(caught.value)


def test_without_npm_the_message_says_where_to_put_the_tarball(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_npm(tmp_path, monkeypatch, None)

    with pytest.raises(TrainingError, match="npm is not installed") as caught:
        fetch_package(PACKAGE, tmp_path / "tarballs")
    assert str(tmp_path / "tarballs" / "scope-set-1.2.3.tgz") in str(caught.value)


def test_a_folder_that_cannot_be_made_is_reported(tmp_path: Path) -> None:
    (tmp_path / "tarballs").write_text("a file where a folder should be")

    with pytest.raises(TrainingError, match="cannot be written"):
        fetch_package(PACKAGE, tmp_path / "tarballs")


def test_members_are_read_by_suffix_and_name(tmp_path: Path) -> None:
    path = tmp_path / "x.tgz"
    path.write_bytes(CONTENT)

    assert read_members(path, None, ".json") == {"a.json": b"{}"}
    assert read_members(path, frozenset({"b.txt"}), "") == {"b.txt": b"b"}


def test_a_damaged_tarball_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.tgz"
    path.write_bytes(CONTENT[: len(CONTENT) // 2])

    with pytest.raises(TrainingError, match="cannot be read"):
        read_members(path, None, "")


def icon_set(tmp_path: Path, icons: object, chars: object) -> IconifySet:
    path = tmp_path / "icons.tgz"
    files = {"icons.json": json.dumps(icons).encode(), "chars.json": json.dumps(chars).encode()}
    path.write_bytes(tarball(files))
    return IconifySet.from_tarball(path)


def test_icons_are_found_through_plain_aliases_only(tmp_path: Path) -> None:
    icons = icon_set(
        tmp_path,
        {
            "width": 32,
            "height": 32,
            "icons": {"dog": {"body": "<g/>"}, "cat": {"body": "<p/>", "width": 20}},
            "aliases": {"hound": {"parent": "dog"}, "god": {"parent": "dog", "hFlip": True}},
        },
        {},
    )

    hound = icons.svg(["hound"])
    assert hound is not None
    assert hound == icons.svg(["none", "dog"])
    assert 'viewBox="0 0 32.0 32.0"' in hound
    assert 'viewBox="0 0 20.0 32.0"' in (icons.svg(["cat"]) or "")
    assert icons.svg(["god"]) is None
    assert icons.svg([]) is None


def test_names_of_all_sets_are_gathered_without_variation_selectors(tmp_path: Path) -> None:
    one = icon_set(tmp_path, {"icons": {}}, {"2602-fe0f": "umbrella", "1f436": "dog"})
    two = dataclasses.replace(one, names={"2602": "parasol", "1f436": "dog"})

    assert iconify_names([one, two]) == {"2602": ("umbrella", "parasol"), "1f436": ("dog",)}


def test_a_package_that_is_no_icon_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="not an Iconify icon set"):
        icon_set(tmp_path, [], {})
