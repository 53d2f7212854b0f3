"""CPU time of a server's processes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from loadtests.peers.process_times import descendants_cpu_s

TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@pytest.fixture
def proc(tmp_path: Path):
    def add(number: int, parent: int, ticks: tuple[int, int, int, int], name: str = "server"):
        folder = tmp_path / str(number)
        folder.mkdir()
        times = " ".join(map(str, ticks))
        fields = f"S {parent} 1 1 0 -1 0 0 0 0 0 {times} 20 0 1 0 100"
        (folder / "stat").write_text(f"{number} ({name}) {fields}\n")

    return tmp_path, add


def test_children_and_theirs_count_and_the_process_itself_and_others_do_not(proc):
    folder, add = proc
    add(1, 0, (9000, 0, 0, 0))
    add(10, 1, (500, 500, 0, 0))
    add(11, 10, (2, 1, 0, 0))
    add(12, 11, (4, 0, 0, 0))
    add(13, 1, (800, 0, 0, 0))

    assert descendants_cpu_s(10, folder) == pytest.approx(7 / TICKS_PER_S)


def test_children_that_were_waited_for_count(proc):
    folder, add = proc
    add(11, 10, (0, 0, 30, 3))

    assert descendants_cpu_s(10, folder) == pytest.approx(33 / TICKS_PER_S)


def test_a_name_with_brackets_and_spaces_shifts_no_field(proc):
    folder, add = proc
    add(11, 10, (5, 0, 0, 0), name="a (b) 7 8 9")

    assert descendants_cpu_s(10, folder) == pytest.approx(5 / TICKS_PER_S)


def test_files_that_are_no_processes_are_passed_over(proc):
    folder, add = proc
    (folder / "meminfo").write_text("MemTotal: 1 kB\n")
    (folder / "12").mkdir()  # it ended before it was read
    add(11, 10, (5, 0, 0, 0))

    assert descendants_cpu_s(10, folder) == pytest.approx(5 / TICKS_PER_S)
