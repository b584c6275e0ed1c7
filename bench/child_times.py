"""Reads commands from stdin, one JSON array per line, runs each until it ends, and prints its CPU and wall time in ms.

Node.js only reports the CPU time of all its children together. wait4 reports it for each child."""

import json
import os
import sys
import time

QUIET = os.open(os.devnull, os.O_RDWR)

for line in sys.stdin:
    command = json.loads(line)
    started = time.perf_counter()
    reading, writing = os.pipe()
    pipes = [(os.POSIX_SPAWN_DUP2, QUIET, 0), (os.POSIX_SPAWN_DUP2, writing, 1)]
    pid = os.posix_spawnp(command[0], command, os.environ, file_actions=pipes)
    os.close(writing)
    while os.read(reading, 65536):
        pass
    os.close(reading)
    _, status, usage = os.wait4(pid, 0)
    wall = time.perf_counter() - started
    cpu = usage.ru_utime + usage.ru_stime
    code = os.waitstatus_to_exitcode(status)
    print(json.dumps({"code": code, "cpuMs": cpu * 1000, "wallMs": wall * 1000}), flush=True)
