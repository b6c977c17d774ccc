SET LOCAL lock_timeout = '5s';

-- ---------------------------------------------------------------- credentials that were renewed

ALTER TABLE credential ADD COLUMN renewed_at timestamptz;
-- whose a means of payment is that a gateway tells of for the first time
CREATE INDEX credential_gateway_customer ON credential (merchant_id, gateway, gateway_customer)
    WHERE gateway_customer IS NOT NULL;

-- what was told about one token: the last thing to have happened counts, not the last to have arrived
CREATE INDEX inbound_event_credential ON inbound_event (gateway, (body #>> '{credential,token}'))
    WHERE body #>> '{credential,token}' IS NOT NULL;
CREATE INDEX inbound_event_credential_now ON inbound_event (gateway, (body #>> '{credential,now,token}'))
    WHERE body #>> '{credential,now,token}' IS NOT NULL;

-- ---------------------------------------------------------------- backups that gateways were asked for

CREATE TABLE backup_search (
    merchant_id text NOT NULL,
    case_id uuid NOT NULL,
    gateway text NOT NULL,
    -- when it answered last, or was given up for the day
    asked_at timestamptz,
    -- times in a row that it could not be asked
    tries integer NOT NULL CHECK (tries >= 0),
    PRIMARY KEY (case_id, gateway),
    FOREIGN KEY (merchant_id, case_id) REFERENCES recovery_case (merchant_id, id)
) WITH (fillfactor = 90);

-- ---------------------------------------------------------------- pages where customers renew, or pay

CREATE TABLE update_link (
    id uuid PRIMARY KEY,
    merchant_id text NOT NULL,
    case_id uuid NOT NULL,
    gateway text NOT NULL,
    -- what was owed when it was asked for: a page that asks for another amount is another page
    amount_minor bigint NOT NULL CHECK (amount_minor > 0),
    currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    -- whoever holds it may act for the customer: kept while it works and deleted soon after; in no event and no log
    url text CHECK (length(url) BETWEEN 1 AND 4096),
    pays boolean NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    FOREIGN KEY (merchant_id, case_id) REFERENCES recovery_case (merchant_id, id)
);
CREATE INDEX update_link_case ON update_link (case_id, id);
CREATE INDEX update_link_expired ON update_link (expires_at);
