"""Runs a program on a pseudo-terminal and types what TERMINAL_SCRIPT says once the screen has shown something."""
import json
import os
import pty
import select
import sys
import time

steps = json.loads(os.environ.pop("TERMINAL_SCRIPT", "[]"))
deadline = time.time() + 60
pid, terminal = pty.fork()
if pid == 0:
    os.execvp(sys.argv[1], sys.argv[1:])

seen = b""
while time.time() < deadline:
    ready, _, _ = select.select([terminal], [], [], 0.1)
    if ready:
        try:
            chunk = os.read(terminal, 65536)
        except OSError:  # Linux: the program has closed its side
            break
        if not chunk:
            break
        seen += chunk
        sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()
    if steps and steps[0]["when"].encode() in seen:
        os.write(terminal, steps[0]["type"].encode())
        seen = b""
        steps.pop(0)
_, status = os.waitpid(pid, 0)
sys.exit(os.waitstatus_to_exitcode(status))
