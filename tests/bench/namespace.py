"""A network of our own for a bench: one address, nobody else's packets, gone when the bench ends.

Janus refuses loopback candidates, so there is a pair of virtual interfaces; what is sent to its address never leaves
the kernel. Needs Linux, `unshare` and `ip`, and the right to make a namespace.
"""

import os
import subprocess
import sys
from collections.abc import Sequence

ADDRESS = "10.99.1.1"
_INSIDE = "DRAGOMAN_BENCH_NAMESPACE"
_SCRIPT = f"""set -e
ip link set lo up
ip link add bench0 type veth peer name bench1
sysctl -qw net.ipv6.conf.all.disable_ipv6=1
ip addr add {ADDRESS}/24 dev bench0
ip link set bench0 up
ip link set bench1 up
exec "$@"
"""


def inside() -> bool:
    """This process is in a bench's namespace."""
    return _INSIDE in os.environ


def run_inside(module: str, arguments: Sequence[str]) -> bool:
    """`python -m module` in a new namespace, to its end. False: it cannot be made here. Raises CalledProcessError if
    the module fails."""
    unshare = ["unshare", "--net", *([] if os.getuid() == 0 else ["--map-root-user"]), "sh", "-c", _SCRIPT, "sh"]
    try:
        subprocess.run([*unshare, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return False
    command = [*unshare, sys.executable, "-m", module, *arguments]
    subprocess.run(command, check=True, env=os.environ | {_INSIDE: "1"})
    return True
