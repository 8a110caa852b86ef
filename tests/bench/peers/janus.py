"""Janus as Debian packages it, with nothing but its echo test, its video room (audio only) and its HTTP API.

    python -m tests.bench.peers.janus --port 8088
"""

import argparse
import os
import tempfile
from pathlib import Path

ROOM = 1234
ADDRESS = "10.99.1.1"
"""Its only candidate: it refuses loopback ones. See `namespace.py`."""

CONFIGURATION = {
    "janus.jcfg": """
general: {{
  configs_folder = "{folder}"
  plugins_folder = "{library}/plugins"
  transports_folder = "{library}/transports"
  events_folder = "{folder}"
  loggers_folder = "{folder}"
  debug_level = 2
  session_timeout = 0
}}
media: {{ ipv6 = false }}
nat: {{ ice_enforce_list = "{address}" ignore_mdns = true }}
plugins: {{ disable = "{plugins}" }}
transports: {{ disable = "{transports}" }}
""",
    "janus.transport.http.jcfg": """
general: {{ json = "compact" base_path = "/offer" http = true port = {port} ip = "127.0.0.1" https = false }}
admin: {{ admin_http = false }}
""",
    "janus.plugin.echotest.jcfg": "general: {{ }}\n",
    "janus.plugin.videoroom.jcfg": """
general: {{ }}
room-{room}: {{ publishers = 10 audiocodec = "opus" bitrate = 512000 record = false audiolevel_ext = false }}
""",
}
WANTED = ("libjanus_echotest.so", "libjanus_videoroom.so", "libjanus_http.so")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    port = parser.parse_args().port
    library = next(Path("/usr/lib").glob("**/janus/plugins")).parent
    unwanted = {
        kind: ",".join(path.name for path in (library / kind).glob("*.so") if path.name not in WANTED)
        for kind in ("plugins", "transports")
    }
    folder = Path(tempfile.gettempdir()) / f"dragoman-janus-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    for name, text in CONFIGURATION.items():
        values = {"folder": folder, "library": library, "address": ADDRESS, "port": port, "room": ROOM, **unwanted}
        (folder / name).write_text(text.format_map(values))
    os.execvp("janus", ["janus", "-F", str(folder), "-C", str(folder / "janus.jcfg"), "-o"])


if __name__ == "__main__":
    main()
