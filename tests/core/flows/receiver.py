"""A receiver of webhooks as others run one: a real server on a port, with TLS where wanted, that verifies or fails."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import Any

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


class Got(msgspec.Struct, frozen=True):
    """One request as it came."""

    path: str
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def type(self) -> str:
        return str(msgspec.json.decode(self.body)["type"])


class Reply(msgspec.Struct, frozen=True):
    """How a request is answered."""

    status: int = 200
    headers: Mapping[str, str] = {}
    body: bytes = b"thanks"
    drip_s: float = 0.0
    """Seconds between the bytes of the body."""
    after_s: float = 0.0
    """Seconds before anything is answered."""


class Receiver:
    """Answers by `reply`, which a test replaces, and keeps what came."""

    def __init__(self) -> None:
        self.got: list[Got] = []
        self.came = asyncio.Event()
        self.reply: Callable[[Got], Reply] = lambda _: Reply()
        self.port = 0
        self.at_once = 0
        self.most_at_once = 0

    def answer(self, status: int, **headers: str) -> None:
        """Answer everything like this from now on."""
        self.reply = lambda _: Reply(status, {name.replace("_", "-"): value for name, value in headers.items()})

    @property
    def types(self) -> list[str]:
        return [each.type for each in self.got]

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._serve(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        got = Got(head[0].split()[1], headers, body)
        self.got.append(got)
        self.came.set()
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await self._answer(self.reply(got), writer)
        finally:
            self.at_once -= 1

    async def _answer(self, reply: Reply, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(reply.after_s)
        lines = [f"HTTP/1.1 {reply.status} As told", *(f"{name}: {value}" for name, value in reply.headers.items())]
        lines += [f"Content-Length: {len(reply.body)}", "", ""]
        writer.write("\r\n".join(lines).encode())
        for byte in reply.body if reply.drip_s else ():
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(reply.drip_s)
        writer.write(b"" if reply.drip_s else reply.body)
        await writer.drain()


@asynccontextmanager
async def receiving(
    tls: ssl.SSLContext | None = None, host: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[Receiver]:
    """A receiver on this machine, on a free port if not told which."""
    receiver = Receiver()
    server = await asyncio.start_server(receiver, host, port, ssl=tls)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()


def certificate(folder: Any, *names: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Make a certificate for names and addresses; return a server's context with it and a client's that trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([_alternative(each) for each in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = made.public_bytes(serialization.Encoding.PEM)
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "server.pem").write_bytes(secret + pem)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "server.pem")
    return server, ssl.create_default_context(cadata=pem.decode())


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)
