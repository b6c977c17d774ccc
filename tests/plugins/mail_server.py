"""A real SMTP server (aiosmtpd) with real certificates: it does what an address asks of it, and keeps what it took."""

import asyncio
import ipaddress
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any, NamedTuple, cast

from aiosmtpd.smtp import SMTP, AuthResult
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

USER, PASSWORD = "recoup", "a-relay-password"
HOST = "127.0.0.1"

REFUSED = {
    "nobody": "550 5.1.1 <nobody@example.com>: Recipient address rejected: User unknown",
    "gone": "550 5.2.1 The account is disabled",
    "blocked": "550 5.7.1 Message from 203.0.113.1 rejected by policy",
    "plain550": "550 Requested action not taken",
    "full": "552 5.2.2 Mailbox full",
    "grey": "450 4.2.0 Greylisted, try again in 300 seconds",
    "busy": "421 4.3.2 Service shutting down",
}
"""What the server answers to RCPT, by the part before the @."""
REFUSED_DATA = {"spam": "554 5.7.1 Looks like spam", "late": "451 4.7.1 Try again later"}


class Taken(NamedTuple):
    """One mail that the server took."""

    sender: str
    to: tuple[str, ...]
    raw: bytes
    mail_options: tuple[str, ...]

    @property
    def mail(self) -> EmailMessage:
        return cast("EmailMessage", message_from_bytes(self.raw, policy=policy.default))


class Certificates(NamedTuple):
    """An authority of our own and a server's certificate by it."""

    authority: Path
    chain: Path
    key: Path


def make_certificates(folder: Path, host: str = HOST) -> Certificates:
    """Write them into a folder; `host` is an address that the certificate is for."""
    now = datetime.now(UTC)
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    names = [x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]) for name in ("authority", "server")]

    def certificate(at: int, is_authority: bool) -> x509.Certificate:
        builder = (
            x509.CertificateBuilder()
            .subject_name(names[at])
            .issuer_name(names[0])
            .public_key(keys[at].public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(keys[at].public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(keys[0].public_key()), critical=False)
        )
        if is_authority:
            usage = x509.KeyUsage(
                digital_signature=True, content_commitment=False, key_encipherment=False, data_encipherment=False,
                key_agreement=False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False,
            )  # fmt: skip
            builder = builder.add_extension(usage, critical=True)
        else:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host))]), critical=False
            )
        return builder.sign(keys[0], hashes.SHA256())

    files = Certificates(folder / "authority.pem", folder / "server.pem", folder / "server.key")
    files.authority.write_bytes(certificate(0, True).public_bytes(serialization.Encoding.PEM))
    files.chain.write_bytes(certificate(1, False).public_bytes(serialization.Encoding.PEM))
    files.key.write_bytes(
        keys[1].private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return files


class MailServer:
    """Its handler, too: aiosmtpd asks it about each command."""

    def __init__(self, security: str = "none", certificates: Certificates | None = None, *, auth: bool = False) -> None:
        self.taken: list[Taken] = []
        self.sessions = 0
        self.refuse_senders = False
        self._security, self._certificates, self._auth = security, certificates, auth
        self._lost: set[str] = set()
        self._lock = threading.Lock()
        self._server: asyncio.Server | None = None
        self.port = 0

    def start(self) -> None:
        """Listen; after a `stop` at the same port again."""
        context = None
        if self._certificates is not None:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(self._certificates.chain, self._certificates.key)

        def factory() -> SMTP:
            self.sessions += 1
            return SMTP(
                self,
                enable_SMTPUTF8=True,
                tls_context=context if self._security == "starttls" else None,
                require_starttls=self._security == "starttls",
                authenticator=self._authenticate if self._auth else None,
                auth_required=self._auth,
                auth_require_tls=self._security == "starttls",
            )

        async def listen() -> asyncio.Server:
            tls = context if self._security == "tls" else None
            return await asyncio.get_running_loop().create_server(factory, HOST, self.port, ssl=tls)

        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(listen(), self._loop).result(10)
        self.port = self._server.sockets[0].getsockname()[1]

    def stop(self) -> None:
        """Refuse connections, and break those that are open."""
        if self._server is None:
            return
        asyncio.run_coroutine_threadsafe(self._break(self._server), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()
        self._server = None

    async def _break(self, server: asyncio.Server) -> None:
        server.close()
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:  # a session's own task closes its connection when it is canceled
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def _authenticate(self, _server: Any, _session: Any, _envelope: Any, _how: str, data: Any) -> AuthResult:
        return AuthResult(success=(data.login, data.password) == (USER.encode(), PASSWORD.encode()))

    async def handle_MAIL(self, _server: Any, _session: Any, envelope: Any, address: str, options: list[str]) -> str:
        if self.refuse_senders:
            return "550 5.7.1 Sender not verified"
        envelope.mail_from, envelope.mail_options = address, options
        return "250 OK"

    async def handle_RCPT(self, _server: Any, _session: Any, envelope: Any, address: str, _options: Any) -> str:
        refused = REFUSED.get(address.partition("@")[0])
        if refused is None:
            envelope.rcpt_tos.append(address)
        return refused or "250 OK"

    async def handle_DATA(self, server: Any, _session: Any, envelope: Any) -> str:
        local = envelope.rcpt_tos[0].partition("@")[0]
        if local in REFUSED_DATA:
            return REFUSED_DATA[local]
        taken = Taken(envelope.mail_from, tuple(envelope.rcpt_tos), envelope.content, tuple(envelope.mail_options))
        with self._lock:
            self.taken.append(taken)
        if local == "slow":
            await asyncio.sleep(1)
        if local == "lost" and taken.mail["message-id"] not in self._lost:
            self._lost.add(taken.mail["message-id"])
            server.transport.abort()
        return "250 OK"


@contextmanager
def mail_server(
    security: str = "none", certificates: Certificates | None = None, *, auth: bool = False
) -> Iterator[MailServer]:
    server = MailServer(security, certificates, auth=auth)
    server.start()
    try:
        yield server
    finally:
        server.stop()
