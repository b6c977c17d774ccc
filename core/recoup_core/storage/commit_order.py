"""Up to where the order in which events were committed is certain."""

from typing import Final

# Below the oldest transaction that was writing when this statement began, everything is certain and nothing can appear
# any more. Numbers alone would not do: a transaction that took its number early may commit late, and a reader that had
# moved on would miss it. Transactions of other databases on the same server are left out (they write no events), as far
# as our role may see them; one that can't be seen, or has just ended, counts: that only delays, until the next page.
CERTAIN_BELOW: Final = """(SELECT coalesce(
        (SELECT x FROM pg_snapshot_xip(pg_current_snapshot()) x
         WHERE NOT EXISTS (SELECT FROM pg_stat_activity a
                           WHERE a.backend_xid = x::xid AND a.datname <> current_database())
         ORDER BY x LIMIT 1),
        pg_snapshot_xmax(pg_current_snapshot())))"""
"""SQL: events whose `txid` is below it are certain."""
