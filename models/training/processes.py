"""Trains one stage in several processes at once: one thread each is faster than one with many."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING, Final, NoReturn

import torch
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from models.training.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Callable

    from accelerate import PartialState

_JOB: Final = "mintmark-training"


def run_in_processes(count: int, work: Callable[[], bool]) -> bool:
    """Call `work` in `count` processes that can reach each other; return what the first returns.

    work: picklable. Its processes find their place with accelerate. An interruption is passed on to
    them, and False returned once they have ended. Raises TrainingError if one of them fails; its
    own error is on stderr.
    """
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=count,
        run_id=_JOB,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
        monitor_interval=0.2,
    )
    try:
        results = elastic_launch(config, _call)(work, count)
    except SignalException:
        return False
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        raise TrainingError(
            f"Process {rank} of {count} ended with status {failure.exitcode}: {failure.message}"
        ) from error
    return bool(results[0])


def leave_at_once(state: PartialState) -> NoReturn:
    """End a process that was told to stop, once all of them are here.

    The launcher, which is stopping too, no longer reads what it would return, and it would wait
    for that until it is killed.
    """
    state.wait_for_everyone()
    sys.stdout.flush()
    os._exit(0)


def _call(work: Callable[[], bool], count: int) -> bool:
    """Run in a child: share the cores, and leave Ctrl-C to the parent, which passes it on."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // count))
    return work()
