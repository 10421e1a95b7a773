"""A TLS relay in front of the tests' Valkey, which is built without TLS, and certificates from our own CA."""

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
    """Create ca.crt, redis.crt and redis.key for the name localhost with the documentation's commands."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed; it is needed to create certificates")
    text = DOCUMENT.read_text().replace("redis.example", "localhost")
    commands = [line.strip() for line in text.splitlines() if line.startswith("    openssl req")]
    for command in commands:
        subprocess.run(command, shell=True, cwd=folder, check=True, capture_output=True)


def acl_command() -> list[str]:
    """Return the documentation's command that creates a user in Redis."""
    (command,) = (line for line in DOCUMENT.read_text().splitlines() if "ACL SETUSER" in line)
    return command.split()


class Relay:
    """Accepts TLS connections on `port` and relays their data to and from the unix socket at `target`."""

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
        await asyncio.gather(_relay(reader, inner_writer), _relay(inner_reader, writer))


async def _relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()
