"""TLS in front of the test's Valkey, which is built without it: a certificate of our own CA, and a relay."""

import asyncio
import shutil
import ssl
import subprocess
import threading
from pathlib import Path

import pytest

from tests.stack import free_port

DOCUMENT = Path(__file__).parent.parent / "docs" / "security.md"


def make_certificates(folder: Path) -> None:
    """Run the commands of the documentation: ca.crt, redis.crt and redis.key for the name localhost."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not there, to make certificates with")
    text = DOCUMENT.read_text().replace("redis.example", "localhost")
    commands = [line.strip() for line in text.splitlines() if line.startswith("    openssl req")]
    for command in commands:
        subprocess.run(command, shell=True, cwd=folder, check=True, capture_output=True)


def acl_command() -> list[str]:
    """The documentation's command for a user of the server's."""
    (line,) = (each for each in DOCUMENT.read_text().splitlines() if "ACL SETUSER" in each)
    return line.split()


class Relay:
    """Takes TLS connections on `port` and hands what comes to the unix socket at `target`, and back."""

    def __init__(self, folder: Path) -> None:
        self.port, self.target, self.ca = free_port(), "", folder / "ca.crt"
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(folder / "redis.crt", folder / "redis.key")
        self._loop = asyncio.new_event_loop()
        started = threading.Event()
        threading.Thread(target=self._run, args=(started,), daemon=True).start()
        assert started.wait(10)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)

    def _run(self, started: threading.Event) -> None:
        self._loop.run_until_complete(
            asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=self._context)
        )
        started.set()
        self._loop.run_forever()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            inner_reader, inner_writer = await asyncio.open_unix_connection(self.target)
        except OSError:
            writer.close()
            return
        await asyncio.gather(_pump(reader, inner_writer), _pump(inner_reader, writer))


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()
