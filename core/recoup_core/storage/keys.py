"""The installation's own signing key, for installations whose settings give none."""

import secrets

from recoup_core.signing import KEY_BYTES
from recoup_core.storage.engine import Database


async def installation_key(database: Database) -> bytes:
    """Return the key that the first process made; all processes on one database have the same."""
    async with database.connection() as connection:
        key = await connection.fetchval("SELECT key FROM installation_key")
        if key is None:
            await connection.execute(
                "INSERT INTO installation_key (key) VALUES ($1) ON CONFLICT DO NOTHING", secrets.token_bytes(KEY_BYTES)
            )
            key = await connection.fetchval("SELECT key FROM installation_key")
    return bytes(key)
