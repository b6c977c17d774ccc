"""A TCP proxy before a broker: cuts every connection, refuses new ones, or stops a message on its way."""

import asyncio
import contextlib
from urllib.parse import urlsplit

CHUNK = 65536
CUT_LIMIT_S = 2.0
BREATH_S = 0.5
"""How long the broker, and we, are given to take in what was sent at once."""


class Proxy:
    """Belongs to the test's loop; `url` leads through it."""

    def __init__(self, url: str) -> None:
        self._parts = urlsplit(url)
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Future[tuple[None, None]]] = set()
        self._port = 0
        self._catch: bytes | None = None
        self.caught = asyncio.Event()
        """Set once a chunk that was to be caught came by; it is held from then on."""
        self.let_go = asyncio.Event()
        """Set to pass on what was caught."""

    @property
    def url(self) -> str:
        """The broker's URL by way of the proxy."""
        user = self._parts.netloc.rpartition("@")[0]
        return self._parts._replace(netloc=f"{user}@127.0.0.1:{self._port}").geturl()

    async def listen(self) -> None:
        """Take connections, on the same port as before."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        """Refuse new connections and reset those there are."""
        if self._server is not None:
            self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()
        if self._serving:
            await asyncio.wait(self._serving, timeout=CUT_LIMIT_S)

    def catch(self, words: bytes) -> None:
        """Hold the first chunk towards the broker that contains the words, and all that follow it."""
        self._catch = words

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, port = self._parts.hostname, self._parts.port
        try:
            there_reader, there_writer = await asyncio.open_connection(host, port)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, there_writer}
        serving = asyncio.gather(self._pump(reader, there_writer, towards=True), self._pump(there_reader, writer))
        self._serving.add(serving)
        with contextlib.suppress(asyncio.CancelledError):
            await serving
        self._serving.discard(serving)

    @staticmethod
    async def _rest(reader: asyncio.StreamReader) -> bytes:
        """Take what is sent in the same breath: a sender's death by kill -9 would drop what was not read yet."""
        rest = b""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(BREATH_S):
                while data := await reader.read(CHUNK):
                    rest += data
        return rest

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, towards: bool = False) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK):
                if towards and self._catch is not None and self._catch in data:
                    data += await self._rest(reader)
                    self.caught.set()
                    await self.let_go.wait()
                    writer.write(data)
                    await asyncio.sleep(BREATH_S)  # a broker drops what it has not looked at when a connection ends
                    continue
                writer.write(data)
                await writer.drain()
        writer.close()
        self._writers.discard(writer)
