"""The kernel that notebooks run in: it logs to a file, so that the terminal shows the notebook only, and it dies with
the process that started it."""

from __future__ import annotations

import os
import sys
import tempfile
from typing import Any

from jupyter_client.manager import AsyncKernelManager

LOG = "LEMMSE_KERNEL_LOG"  # names the file, for the manager is built by nbclient

# ipykernel looks for its parent once a second; Linux does better: see PR_SET_PDEATHSIG in prctl(2)
_BOUND = """
import ctypes, os, runpy, signal
ctypes.CDLL(None).prctl(1, signal.SIGKILL)
if os.getppid() != int(os.environ["JPY_PARENT_PID"]):
    os._exit(1)
runpy.run_module("ipykernel_launcher", run_name="__main__", alter_sys=True)
"""

_PREPARE = "import lemmse.book.scalars; lemmse.book.scalars.install(); del lemmse"  # leaves no name in the notebook


class LoggedKernelManager(AsyncKernelManager):
    """Starts kernels with their standard error in the file that the environment variable `LOG` names."""

    def _ip_default(self) -> str:
        """Over Unix sockets, a path of its own: jupyter_client's is `kernel-ipc` in the kernel's folder, for all."""
        if self.transport != "ipc":
            return super()._ip_default()
        self._sockets = tempfile.TemporaryDirectory(prefix="k")  # goes with the manager; paths must be short
        return f"{self._sockets.name}/s"

    async def _async_launch_kernel(self, kernel_cmd: list[str], **kw: Any) -> None:
        if sys.platform == "linux" and "ipykernel_launcher" in kernel_cmd:
            at = kernel_cmd.index("ipykernel_launcher")
            kernel_cmd = [*kernel_cmd[: at - 1], "-c", _BOUND, *kernel_cmd[at + 1 :]]
        kernel_cmd = [*kernel_cmd, f"--IPKernelApp.exec_lines={_PREPARE}"]
        with open(os.environ[LOG], "a", encoding="utf-8") as log:
            await super()._async_launch_kernel(kernel_cmd, **{**kw, "stderr": log})

    _launch_kernel = _async_launch_kernel
