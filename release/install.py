"""pip with a sign of life: ``python release/install.py PIP-INSTALL-ARGUMENTS``.

On a terminal pip shows bars of its own. Elsewhere it is silent for minutes while it downloads and
unpacks large packages; here a line on stderr every few seconds says that it is still at work.
"""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
import time

SECONDS_BETWEEN_LINES = 5.0
PIP = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check"]


def main(arguments: list[str]) -> int:
    """Run pip; its exit code."""
    if sys.stderr.isatty():
        os.execv(sys.executable, [*PIP, *arguments])
    command = [*PIP, "--progress-bar", "off", *arguments]
    return follow(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT))


def follow(process: subprocess.Popen[bytes]) -> int:
    """Pass on the lines of a process, and say so when there are none for a while; its exit code."""
    lines: queue.Queue[str | None] = queue.Queue()

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            lines.put(line.decode(errors="replace").rstrip())
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    started, last = time.monotonic(), "starting pip"
    while True:
        try:
            line = lines.get(timeout=SECONDS_BETWEEN_LINES)
        except queue.Empty:
            print(f"{time.monotonic() - started:5.0f} s  still: {last[:60]}", file=sys.stderr)
            continue
        if line is None:
            return process.wait()
        if line.strip():
            if not (last.startswith("Installing") and line.startswith(" ")):
                last = line.strip()  # what is installed says more than that an old one is gone
            print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
