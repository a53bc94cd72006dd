"""The kernel that notebooks run in: its own log goes to a file, so that the terminal shows the notebook only."""

from __future__ import annotations

import os
from typing import Any

from jupyter_client.manager import AsyncKernelManager

LOG = "LEMMSE_KERNEL_LOG"  # names the file, for the manager is built by nbclient


class LoggedKernelManager(AsyncKernelManager):
    """Starts kernels with their standard error in the file that the environment variable `LOG` names."""

    async def _async_launch_kernel(self, kernel_cmd: list[str], **kw: Any) -> None:
        with open(os.environ[LOG], "a") as log:
            await super()._async_launch_kernel(kernel_cmd, **{**kw, "stderr": log})

    _launch_kernel = _async_launch_kernel
