"""nginx in front of a gateway, with its default time limits unless a test shortens them."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.stack import eventually, responds

NGINX = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
needs_nginx = pytest.mark.skipif(NGINX is None, reason="nginx is not installed (Debian: apt install nginx)")

# `Connection ""` and HTTP/1.1 are what nginx' documentation requires for a pool of connections.
CONFIGURATION = """
daemon off;
master_process off;
pid {folder}/pid;
error_log {folder}/error.log error;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    {limits}
    {servers}
}}
"""
SERVER = """
    upstream pool{port} {{ server 127.0.0.1:{gateway}; keepalive 4096; {limits} }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{
            proxy_pass http://pool{port};
            proxy_http_version 1.1;
            proxy_set_header Connection "";
        }}
    }}
"""


def pools(gateway: int, ports: Sequence[int], limits: str = "") -> str:
    """Return nginx' configuration of ports that each have their own pool of connections to one gateway."""
    return "".join(SERVER.format(port=port, gateway=gateway, limits=limits) for port in ports)


class Nginx:
    """One nginx process; `servers` is the configuration of its ports, which include `port`."""

    def __init__(self, servers: str, port: int, limits: str = "") -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="nginx"))
        file = self.folder / "nginx.conf"
        file.write_text(CONFIGURATION.format(folder=self.folder, limits=limits, servers=servers))
        command = [str(NGINX), "-p", self.folder, "-c", file, "-e", self.folder / "error.log"]
        self.process = subprocess.Popen(command)
        eventually(lambda: responds(f"http://127.0.0.1:{port}/health/live"), 10, "nginx answers")

    def errors(self) -> str:
        """Return nginx' error messages."""
        log = self.folder / "error.log"
        return log.read_text() if log.exists() else ""

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(10)
        shutil.rmtree(self.folder)
