"""A dask cluster of separate processes on the loopback address, and a small task for sweeps on it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import accelsim as acs

HERE = Path(__file__).resolve().parent
#: 210 points
GRID = {
    "weight_bits": range(2, 9),
    "activation_bits": range(4, 9),
    "specs": [acs.load_spec("micro-8x8").replace(**{"array.rows": rows}) for rows in (4, 8, 12, 16, 24, 32)],
}


def small_task() -> tuple:
    """(model, calibration, (inputs, labels)) of a network that takes milliseconds."""
    import torch

    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3, padding=1),
        torch.nn.ReLU(),
        torch.nn.MaxPool2d(4),
        torch.nn.Flatten(),
        torch.nn.Linear(16, 4),
    ).eval()
    x = torch.randn(48, 1, 8, 8)
    return model, x.numpy(), (x.numpy(), model(x).detach().numpy().argmax(1))


class Cluster:
    """One scheduler and two workers, started with dask's own commands."""

    def __init__(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{probe.getsockname()[1]}"
        port = self.address.split(":")[1]
        self._start("scheduler", "--host", "127.0.0.1", "--port", port, "--no-dashboard")
        self.scheduler = self.processes[0]
        for _ in range(2):
            self.start_worker()
        self._wait()

    processes: list[subprocess.Popen]

    def _wait(self) -> None:
        """Until scheduler and both workers answer."""
        from distributed import Client

        with Client(self.address, timeout="120s", set_as_default=False) as client:
            client.wait_for_workers(2, timeout=120)

    def _start(self, *command: str) -> subprocess.Popen:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parent)])}
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "dask", *command],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.__dict__.setdefault("processes", []).append(process)
        return process

    def start_worker(self) -> None:
        self._start("worker", self.address, "--nthreads", "1", "--no-dashboard", "--no-nanny")

    @property
    def workers(self) -> list[subprocess.Popen]:
        """Those that live."""
        return [p for p in self.processes if p is not self.scheduler and p.poll() is None]

    def kill(self, index: int) -> None:
        """SIGKILL to one worker; another takes its place."""
        victim = self.workers[index]
        victim.kill()
        victim.wait()
        self.start_worker()

    def close(self) -> None:
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.wait()


@contextmanager
def cluster() -> Iterator[Cluster]:
    started = Cluster()
    try:
        yield started
    finally:
        started.close()
