SET LOCAL lock_timeout = '5s';

-- A merchant's feed in commit order. Without it a merchant among many would have to page through everybody's events.
CREATE INDEX event_merchant_txid ON event (merchant_id, txid, id);
