"""A program that fills a data directory with tokens, rewraps their records, and prints what that took as JSON.

``python -m benchmarks.rewrap_memory FOLDER COUNT``: ``seconds``, ``cpu_seconds``, and the program's own memory in bytes,
``before`` the rewrap and at its ``peak``.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import TYPE_CHECKING, Final

from benchmarks.processes import BenchmarkError, reset_peak_memory, status_bytes
from lunacore.config import Config
from lunacore.deployment import open_deployment
from lunacore.identity import Call, operator
from lunacore.keyring import KeyPurpose
from lunacore.rewrapping import Rewrapper, Throttle
from lunacore.testing.deployment import stage_key
from lunacore.tickets import NewValue

if TYPE_CHECKING:
    from lunacore.deployment import Deployment

_BATCH: Final = 500
_CALL: Final = Call(operator("default"))


def main() -> None:
    folder, count = sys.argv[1], int(sys.argv[2])
    deployment = open_deployment(Config.from_mapping({"tokenizer": {"data_dir": folder}}, {}))
    _fill(deployment, count)
    stage_key(deployment, KeyPurpose.ROOT, active_from=int(time.time()))
    deployment.keyring.refresh()
    reset_peak_memory(os.getpid())
    found: dict[str, float] = {"before": status_bytes(os.getpid(), "VmRSS")}
    started, cpu = time.monotonic(), time.process_time()
    rewrapped = _rewrap(deployment)
    found |= {"seconds": time.monotonic() - started, "cpu_seconds": time.process_time() - cpu}
    found["peak"] = status_bytes(os.getpid(), "VmHWM")
    deployment.close()
    if rewrapped != count:
        raise BenchmarkError(f"{rewrapped} records were rewrapped, and there are {count}")
    print(json.dumps(found))


def _fill(deployment: Deployment, count: int) -> None:
    for start in range(0, count, _BATCH):
        deployment.tokenizer.issue(_CALL, [NewValue()] * min(_BATCH, count - start))


def _rewrap(deployment: Deployment) -> int:
    throttle = Throttle(0, time.monotonic, time.sleep)
    rewrapper = Rewrapper(deployment.tokenizer.lookup, deployment.audit, throttle, deployment.now, deployment.random)
    return rewrapper.rewrap(_CALL).done


if __name__ == "__main__":
    main()
