"""What the figures were measured on, and with."""
import os
import platform
import subprocess
import time


def describe():
    """The machine, as one would tell it."""
    return {
        "cpu": _value("/proc/cpuinfo", "model name") or platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(int((_value("/proc/meminfo", "MemTotal") or "0").split()[0]) / (1 << 20)),
        "kernel": f"{platform.system()} {platform.release()}",
    }


def sentence(machine):
    return (f"{machine['cpu']}, {machine['cores']} core{'s' * (machine['cores'] != 1)}, {machine['memory_gib']} GiB, "
            f"{machine['kernel']}")


def build(top, binary):
    """Which version of this project: its number and, in a clone, the commit."""
    version = subprocess.run([binary, "--version"], capture_output=True, text=True).stdout.split()
    commit = subprocess.run(["git", "-C", top, "describe", "--always", "--dirty", "--exclude=*"], capture_output=True, text=True)
    name = version[-1] if version else "unknown version"
    return f"{name} ({commit.stdout.strip()})" if commit.returncode == 0 else name


class Others:
    """What others use of the processor meanwhile, other machines on the same hardware included."""

    def __init__(self):
        self.begun, self.before = time.monotonic(), self._others_s()

    def share(self):
        """Of all cores' time since the beginning: from 0 to 1. Call it when the processes started here have ended."""
        spent = self._others_s() - self.before
        return min(max(spent / ((time.monotonic() - self.begun) * os.cpu_count()), 0), 1)

    @staticmethod
    def _others_s():
        with open("/proc/stat") as file:
            # user nice system idle iowait irq softirq steal
            ticks = [int(field) for field in file.readline().split()[1:9]]
        busy = sum(ticks) - ticks[3] - ticks[4]
        own = os.times()
        return busy / os.sysconf("SC_CLK_TCK") - (own.user + own.system + own.children_user + own.children_system)


def _value(path, key):
    try:
        with open(path) as file:
            return next((line.split(":", 1)[1].strip() for line in file if line.startswith(key)), None)
    except OSError:
        return None
