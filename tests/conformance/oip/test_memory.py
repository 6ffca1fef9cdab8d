"""What a model held is given back when it is unloaded."""

import pathlib

import numpy as np
import tritonclient.grpc
from conftest import Server, register
from models import forest, matrix
from tritonclient.grpc import InferInput

CYCLES = 100
# Far less than a fifth of what that many models hold.
GROWTH_MIB_MAX = 24


def resident_mib(process) -> float:
    status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) / 1024


def test_models_that_come_and_go_leave_nothing(tmp_path):
    register(tmp_path, "matrix", matrix())
    register(tmp_path, "forest", forest())
    server = Server(tmp_path, "models:/matrix/1")
    given = InferInput("x", [1, 4], "FP32")
    given.set_data_from_numpy(np.ones((1, 4), dtype=np.float32))
    sizes = []
    with tritonclient.grpc.InferenceServerClient(server.grpc) as client:
        for _ in range(CYCLES + CYCLES // 5):
            client.load_model("forest")
            client.infer("forest", [given])
            client.unload_model("forest")
            sizes.append(resident_mib(server.process))
    server.stop()
    grown = sizes[-1] - sizes[CYCLES // 5]
    assert grown < GROWTH_MIB_MAX, [round(size) for size in sizes[::10]]
