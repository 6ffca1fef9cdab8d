"""A Plinth server of a test's own, as a process."""

import os
import pathlib
import queue
import re
import signal
import socket
import subprocess
import threading

READY_SECONDS = 10
STOP_SECONDS = 20
BINARY = os.environ.get("PLINTH_BIN", "")


class Server:
    """`plinth up` on a free port over a data directory; `stop` checks that nothing of it stays behind."""

    def __init__(self, data_dir: pathlib.Path, *arguments: str):
        self.data_dir = data_dir
        command = [BINARY, "up", "--data-dir", str(data_dir), "--port", "0", *arguments]
        # A process group of its own, so that what it might start can be found.
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True, cwd=data_dir.parent
        )
        self.said: list[str] = []
        address: queue.Queue = queue.Queue()
        threading.Thread(target=self._listen, args=(address,), daemon=True).start()
        self.url = address.get(timeout=READY_SECONDS)
        if self.url is None:
            raise RuntimeError(f"plinth up ended at once: {''.join(self.said)}")

    def _listen(self, address: queue.Queue) -> None:
        for line in self.process.stderr:
            self.said.append(line)
            found = re.search(r"listening on (http://\S+?:\d+)", line)
            if found:
                address.put(found.group(1))
        address.put(None)

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError("plinth up did not end on SIGTERM") from None
        assert status == 0, f"plinth up ended with {status}: {''.join(self.said)}"
        host, port = self.url.removeprefix("http://").rsplit(":", 1)
        with socket.socket() as probe:
            assert probe.connect_ex((host, int(port))) != 0, "the port is still open"
        left = [path.name for path in self.data_dir.rglob("*") if path.name.endswith(("-wal", "-shm", ".tmp", ".part"))]
        assert not left, f"files of work in progress stayed behind: {left}"
        try:
            os.killpg(self.process.pid, 0)
        except ProcessLookupError:
            return
        raise AssertionError("a process of the server stayed behind")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
