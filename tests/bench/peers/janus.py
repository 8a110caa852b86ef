"""Janus as Debian packages it, with nothing but its echo test, its video room (audio only) and its HTTP API.

python -m tests.bench.peers.janus --port 8088 --folder FOLDER
"""

import argparse
import os
from pathlib import Path

from tests.bench.dialects import Janus
from tests.bench.namespace import ADDRESS

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
general: {{ json = "compact" base_path = "/janus" http = true port = {port} ip = "127.0.0.1" https = false }}
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
    parser.add_argument("--folder", type=Path, required=True, help="where its configuration is written")
    options = parser.parse_args()
    folder = options.folder.resolve()
    library = next(Path("/usr/lib").glob("**/janus/plugins")).parent
    unwanted = {
        kind: ",".join(path.name for path in (library / kind).glob("*.so") if path.name not in WANTED)
        for kind in ("plugins", "transports")
    }
    values = {"folder": folder, "library": library, "address": ADDRESS, "port": options.port, "room": Janus.ROOM}
    for name, text in CONFIGURATION.items():
        (folder / name).write_text(text.format_map(values | unwanted))
    os.execvp("janus", ["janus", "-F", str(folder), "-C", str(folder / "janus.jcfg"), "-o"])


if __name__ == "__main__":
    main()
