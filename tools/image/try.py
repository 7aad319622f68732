# SPDX-License-Identifier: GPL-2.0-only
"""Logs in at the serial console of a machine as root, without a password, runs a command, and turns the machine off.

try.py SECONDS COMMAND QEMU...: prints what the command prints, and returns its status; what the console
said goes to stderr."""
import os
import re
import select
import subprocess
import sys
import time

limit, command = float(sys.argv[1]), sys.argv[2]
end = time.monotonic() + limit
machine = subprocess.Popen(sys.argv[3:], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
said = rest = ""
CONTROL = r"\x1b\[[^a-zA-Z]*[a-zA-Z]|\x1b[^\[]|\r"


def wait_for(pattern):
    """What was said since the last pattern, and the match."""
    global said, rest
    while not (match := re.search(pattern, said)):
        ready, _, _ = select.select([machine.stdout], [], [], max(0, end - time.monotonic()))
        more = os.read(machine.stdout.fileno(), 4096) if ready else b""
        if not more:
            machine.kill()
            why = "the machine ended" if ready else f"{limit:.0f} s have passed"
            sys.exit(f"\nerror: {why}, and it did not say {pattern!r}")
        sys.stderr.buffer.write(more)
        sys.stderr.flush()
        # What controls a terminal is left out; its end may be still to come.
        rest += more.decode("latin-1")
        whole = re.search(r"(\x1b(\[[^a-zA-Z]*)?)?$", rest).start()
        said += re.sub(CONTROL, "", rest[:whole])
        rest = rest[whole:]
    before, said = said[: match.start()], said[match.end() :]
    return before, match


def type_line(line):
    machine.stdin.write(line.encode() + b"\n")
    machine.stdin.flush()


wait_for(r"login: ")
type_line("root")
wait_for(r"# ")
type_line(f"echo be''gin; {command}; echo status=$?")
wait_for(r"\nbegin\n")
output, status = wait_for(r"status=(\d+)\n")
type_line("poweroff")
try:
    machine.communicate(timeout=max(1, end - time.monotonic()))
except subprocess.TimeoutExpired:
    machine.kill()
    sys.exit(f"error: {limit:.0f} s have passed, and the machine is not off")
print(output, end="")
sys.exit(int(status[1]))
