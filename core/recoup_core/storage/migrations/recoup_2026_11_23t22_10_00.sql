SET LOCAL lock_timeout = '5s';

-- ---------------------------------------------------------------- where a merchant's events are sent

CREATE TABLE webhook_endpoint (
    id uuid PRIMARY KEY,
    merchant_id text NOT NULL REFERENCES merchant,
    url text NOT NULL CHECK (length(url) BETWEEN 1 AND 2000),
    description text NOT NULL CHECK (length(description) <= 200),
    kinds text[] NOT NULL CHECK (cardinality(kinds) <= 100),
    ordered boolean NOT NULL,
    state text NOT NULL CHECK (state IN ('enabled', 'disabled', 'deleted')),
    disabled_because text CHECK (length(disabled_because) <= 500),
    disabled_at timestamptz,
    generation integer NOT NULL CHECK (generation >= 1),
    old_secret_until timestamptz,
    failing_since timestamptz,
    paused_until timestamptz,
    created_at timestamptz NOT NULL,
    changed_at timestamptz NOT NULL,
    UNIQUE (merchant_id, id),
    CHECK ((state = 'disabled') = (disabled_because IS NOT NULL)),
    CHECK (old_secret_until IS NULL OR generation > 1)
) WITH (fillfactor = 80);
CREATE INDEX webhook_endpoint_enabled ON webhook_endpoint (merchant_id) WHERE state = 'enabled';
CREATE TRIGGER webhook_endpoint_state_table BEFORE UPDATE ON webhook_endpoint FOR EACH ROW
    EXECUTE FUNCTION refuse_illegal_state('enabled>disabled', 'disabled>enabled', 'enabled>deleted', 'disabled>deleted');
CREATE TRIGGER webhook_endpoint_kept BEFORE DELETE ON webhook_endpoint FOR EACH ROW EXECUTE FUNCTION refuse_change();

-- ---------------------------------------------------------------- what was sent there, and what came back

-- one event for one endpoint, once: whoever spreads or replays events twice adds nothing
CREATE TABLE webhook_delivery (
    id uuid PRIMARY KEY,
    merchant_id text NOT NULL,
    endpoint_id uuid NOT NULL,
    event_id bigint NOT NULL REFERENCES event,
    event_txid xid8 NOT NULL,
    event_kind text NOT NULL,
    event_at timestamptz NOT NULL,
    state text NOT NULL CHECK (state IN ('waiting', 'delivered', 'failed', 'dropped')),
    tries integer NOT NULL DEFAULT 0 CHECK (tries >= 0),
    due_at timestamptz NOT NULL,
    because text CHECK (length(because) <= 500),
    replayed integer NOT NULL DEFAULT 0 CHECK (replayed >= 0),
    created_at timestamptz NOT NULL,
    finished_at timestamptz,
    UNIQUE (endpoint_id, event_id),
    FOREIGN KEY (merchant_id, endpoint_id) REFERENCES webhook_endpoint (merchant_id, id),
    CHECK ((state = 'waiting') = (finished_at IS NULL))
) WITH (fillfactor = 80);
CREATE INDEX webhook_delivery_due ON webhook_delivery (endpoint_id, due_at) WHERE state = 'waiting';
-- the order in which events were committed, for endpoints that want them so
CREATE INDEX webhook_delivery_order ON webhook_delivery (endpoint_id, event_txid, event_id) WHERE state = 'waiting';
CREATE INDEX webhook_delivery_list ON webhook_delivery (endpoint_id, id);
CREATE INDEX webhook_delivery_state ON webhook_delivery (endpoint_id, state, id) WHERE state <> 'delivered';
CREATE INDEX webhook_delivery_event ON webhook_delivery (event_id);
CREATE INDEX webhook_delivery_finished ON webhook_delivery (finished_at) WHERE finished_at IS NOT NULL;
CREATE TRIGGER webhook_delivery_state_table BEFORE UPDATE ON webhook_delivery FOR EACH ROW
    EXECUTE FUNCTION refuse_illegal_state('waiting>delivered', 'waiting>failed', 'waiting>dropped',
                                          'delivered>waiting', 'failed>waiting', 'dropped>waiting');

CREATE TABLE webhook_try (
    id uuid PRIMARY KEY,
    merchant_id text NOT NULL,
    endpoint_id uuid NOT NULL,
    delivery_id uuid NOT NULL REFERENCES webhook_delivery ON DELETE CASCADE,
    at timestamptz NOT NULL,
    ms integer NOT NULL CHECK (ms >= 0),
    status integer,
    error text CHECK (length(error) <= 300),
    response text CHECK (length(response) <= 300)
);
CREATE INDEX webhook_try_delivery ON webhook_try (delivery_id, id);
CREATE INDEX webhook_try_endpoint ON webhook_try (endpoint_id, at);
