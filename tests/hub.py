"""A Hugging Face hub of our own on loopback, with one repository, that can fail on purpose."""

import contextlib
import hashlib
import json
import re
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

import numpy as np

COMMIT = "5f8cc790b19fc3f67a61c105133b20b34e3dcb76"
"""Of everything here: the one that is pinned for SeamlessM4T-v2."""

LARGE = 100_000
"""Bytes from which on the hub keeps a file in Git LFS, by its SHA-256."""


def safetensors(size: int, seed: int = 0) -> bytes:
    """A file in that format with one tensor of noise, `size` bytes of it."""
    tensor = {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}
    header = json.dumps({"__metadata__": {"format": "pt"}, f"weight{seed}": tensor}).encode()
    return len(header).to_bytes(8, "little") + header + np.random.default_rng(seed).bytes(size)


def seamless_files(shard: int) -> dict[str, bytes]:
    """A checkpoint that looks like SeamlessM4T-v2's by its files: two shards of about `shard` bytes."""
    names = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    index = {"metadata": {}, "weight_map": {f"weight{seed}": name for seed, name in enumerate(names)}}
    return {
        "config.json": json.dumps({"model_type": "seamless_m4t_v2"}).encode(),
        "generation_config.json": b"{}",
        "preprocessor_config.json": b"{}",
        "sentencepiece.bpe.model": b"pieces",
        "model.safetensors.index.json": json.dumps(index).encode(),
        **{name: safetensors(shard, seed) for seed, name in enumerate(names)},
    }


class Hub:
    """What is served, what was asked for, and what goes wrong."""

    def __init__(self, repository: str, files: Mapping[str, bytes]) -> None:
        self.repository = repository
        self.files = dict(files)
        self._etags = {name: _etag(content) for name, content in files.items()}
        self.url = ""
        self.asked: list[tuple[str, str, str]] = []
        """(method, path, Range) of every request."""
        self.cut: dict[str, int] = {}
        """File → bytes after which its connection breaks, once."""
        self.stall: dict[str, int] = {}
        """File → bytes after which no more come, until `go_on`; once."""
        self.stalled = threading.Event()
        self.go_on = threading.Event()

    def downloads(self, name: str) -> list[str]:
        """The Range of each request for a file's content; empty where all of it was asked for."""
        return [asked for method, path, asked in self.asked if method == "GET" and path.endswith(f"/{name}")]

    def entry(self, name: str) -> dict[str, object]:
        """A file as the API lists it."""
        size, etag = len(self.files[name]), self.etag(name)
        entry: dict[str, object] = {"size": size, "oid": etag, "blobId": etag}
        if size >= LARGE:
            entry["lfs"] = {"oid": etag, "sha256": etag, "size": size, "pointerSize": 134}
        return entry

    def etag(self, name: str) -> str:
        """SHA-256 of a large file, Git's SHA-1 of a small one."""
        return self._etags[name]


def _etag(content: bytes) -> str:
    if len(content) >= LARGE:
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.asked.append((self.command, path, self.headers.get("Range", "")))
        if match := re.fullmatch(rf"/api/models/{self.hub.repository}/(revision|tree)/(main|{COMMIT})", path):
            files = self.hub.files
            if match[1] == "tree":
                self._json([{"type": "file", "path": name, **self.hub.entry(name)} for name in files])
            else:
                siblings = [{"rfilename": name, **self.hub.entry(name)} for name in files]
                self._json({"id": self.hub.repository, "sha": COMMIT, "siblings": siblings})
        elif match := re.fullmatch(rf"/{self.hub.repository}/resolve/{COMMIT}/(.+)", path):
            self._file(match[1])
        elif path.startswith((f"/api/models/{self.hub.repository}/", f"/{self.hub.repository}/")):
            self._json({"error": "Invalid rev id"}, 404, "RevisionNotFound")
        else:
            self._json({"error": "Repository not found"}, 404, "RepoNotFound")

    def _json(self, content: object, status: int = 200, code: str = "") -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if code:
            self.send_header("X-Error-Code", code)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _file(self, name: str) -> None:
        content = self.hub.files[name]
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(asked[1]) if asked else 0
        self.send_response(206 if asked else 200)
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", f'"{self.hub.etag(name)}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if self.command == "HEAD":
            return
        end = len(content)
        if (cut := self.hub.cut.pop(name, None)) is not None:
            end, self.close_connection = cut, True
        if (stall := self.hub.stall.pop(name, None)) is not None:
            self.wfile.write(content[start:stall])
            self.hub.stalled.set()
            self.hub.go_on.wait()
            start = stall
        with contextlib.suppress(ConnectionError):  # whoever asked is gone, as some tests want it
            self.wfile.write(content[start:end])

    def log_message(self, format: str, *arguments: object) -> None:
        """The tests read `Hub.asked`."""


@contextlib.contextmanager
def serving_hub(repository: str, files: Mapping[str, bytes]) -> Iterator[Hub]:
    """The hub at `Hub.url`, until the end of the block."""
    hub = Hub(repository, files)
    with ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub})) as server:
        hub.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield hub
        finally:
            hub.go_on.set()
            server.shutdown()
            thread.join()
