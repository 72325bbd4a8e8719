"""HTTP by hand, for what no client library would do."""

import json
import socket
from typing import Any


def connect(port: int, *, receive_buffer: int | None = None) -> socket.socket:
    found = socket.socket()
    if receive_buffer is not None:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    found.settimeout(20)
    found.connect(("127.0.0.1", port))
    return found


def request(path: str, body: Any, *, length: int | None = None, headers: str = "") -> bytes:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    size = len(data) if length is None else length
    head = (
        f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {size}\r\n{headers}\r\n"
    )
    return head.encode() + data


def read_until(sock: socket.socket, mark: bytes) -> bytes:
    got = b""
    while mark not in got:
        more = sock.recv(65536)
        assert more, got
        got += more
    return got


def read_all(sock: socket.socket) -> bytes:
    got = b""
    while more := sock.recv(65536):
        got += more
    return got
