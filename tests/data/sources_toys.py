"""The same few pictures, put where each kind of source finds them."""

from __future__ import annotations

import io
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from scumble.data.sources.listing import listed
from scumble.data.sources.record import Found, Listing, Where, opened
from scumble.spec.sources import HubSource, SourceSpec, TableSource


def picture(width: int = 8, height: int = 6, shade: int = 0, kind: str = "PNG") -> bytes:
    held = io.BytesIO()
    Image.new("RGB", (width, height), (shade, 10, 20)).save(held, kind)
    return held.getvalue()


PICTURES = {
    "a.png": picture(8, 6, 0),
    "b.jpg": picture(9, 6, 60, "JPEG"),
    "c.webp": picture(10, 6, 120, "WEBP"),
    "sub/d.png": picture(11, 6, 180),
}
SAID = {"a.png": "one", "b.jpg": "two, and more", "c.webp": "dr\u00e9i", "sub/d.png": 'a "four"'}


def put(folder: Path, texts: bool = False) -> Path:
    for name, content in PICTURES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
        if texts:
            (folder / name).with_suffix(".txt").write_text(SAID[name], encoding="utf-8")
    return folder


def held(names: list[str] | None = None) -> list[dict[str, object]]:
    """Pictures as datasets keep them."""
    return [{"bytes": PICTURES[name], "path": None} for name in names or PICTURES]


def parquet(file: Path, **columns: list) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    content = pa.table(columns)
    if not file.exists() or pq.read_table(file) != content:
        pq.write_table(content, file)
    return file


def csv_of(file: Path, rows: list[tuple[str, str]], separator: str = ",") -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    lines = [separator.join(f'"{cell}"' for cell in row) for row in rows]
    file.write_text("\n".join([f"image{separator}caption", *lines]) + "\n", encoding="utf-8")
    return file


def json_of(file: Path, rows: list[dict]) -> Path:
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return file


def table(tmp_path: Path, file: str, **settings: object) -> Listing:
    """What a table in the folder lists."""
    source = TableSource.model_validate({"kind": "table", "file": file, **settings})
    return of(tmp_path, source)


def hub(tmp_path: Path, dataset: str = "set", **settings: object) -> Listing:
    source = HubSource.model_validate({"kind": "hub", "dataset": dataset, **settings})
    return of(tmp_path, source)


def of(tmp_path: Path, source: SourceSpec, text_ending: str | None = None) -> Listing:
    where = Where(id="cat", source=source, text_ending=text_ending)
    return listed(where, tmp_path, tmp_path / "cache")


def ids(listing: Listing) -> list[str]:
    return [one.id for one in listing.pictures]


def texts(listing: Listing) -> list[tuple[str, ...] | None]:
    return [one.texts for one in listing.pictures]


def content(one: Found) -> bytes:
    with opened(one.file) as stream:
        return stream.read()


class Web(BaseHTTPRequestHandler):
    """Serves PICTURES, and odd answers; counts what it is asked for."""

    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        name = self.path.lstrip("/").split("?")[0]
        if name in PICTURES:
            self.answer(200, PICTURES[name])
        elif name == "page.png":
            self.answer(200, b"<html>sorry</html>", "text/html")
        elif name == "cut.png":
            self.answer(200, PICTURES["a.png"][:20], length=len(PICTURES["a.png"]))
        elif name == "chunk.png":  # a length in hexadecimal, and less than that
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"ff\r\n" + PICTURES["a.png"][:20])
        elif name == "away.png":
            self.send_response(302)
            self.send_header("Location", "file:///etc/hostname")
            self.end_headers()
        elif name == "busy.png":
            self.answer(503 if self.asked.count(self.path) < 3 else 200, PICTURES["a.png"])
        else:
            self.answer(404, b"none")

    def answer(
        self, code: int, body: bytes, kind: str = "image/png", length: int | None = None
    ) -> None:
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def web() -> Iterator[tuple[str, list[str]]]:
    """An address on this machine, and the list of what is asked for there."""
    asked: list[str] = []
    handler = type("Handler", (Web,), {"asked": asked})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()


@contextmanager
def service() -> Iterator[str]:
    """The endpoint of an S3 service with PICTURES and their texts in the bucket `pictures`."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    keys = {"AWS_ACCESS_KEY_ID": "toy", "AWS_SECRET_ACCESS_KEY": "toy"}
    keys["AWS_DEFAULT_REGION"] = "us-east-1"
    before = dict(os.environ)
    os.environ.update(keys)
    client = boto3.client("s3", endpoint_url=f"http://{host}:{port}")
    client.create_bucket(Bucket="pictures")
    for name, bytes_of in PICTURES.items():
        client.put_object(Bucket="pictures", Key=f"set/{name}", Body=bytes_of)
        text = f"set/{name.rsplit('.', 1)[0]}.txt"
        client.put_object(Bucket="pictures", Key=text, Body=SAID[name].encode())
    client.close()
    yield f"http://{host}:{port}"
    server.stop()
    os.environ.clear()
    os.environ.update(before)
