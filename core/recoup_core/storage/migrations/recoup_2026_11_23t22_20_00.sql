SET LOCAL lock_timeout = '5s';

-- ---------------------------------------------------------------- whoever follows events is woken up

-- A commit with NOTIFY takes a lock that holds over the whole server, until it has reached the disk: were every
-- transaction to notify, no two of them could be written out together. So one of those under way at a time does.
-- Readers look again a moment after they were woken, and twice a second anyhow, for what the others committed.
CREATE FUNCTION tell_of_events() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF pg_try_advisory_xact_lock(8243104023334383220) THEN  -- "recoupnt"
        PERFORM pg_notify('recoup_event', '');
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER event_told AFTER INSERT ON event FOR EACH STATEMENT EXECUTE FUNCTION tell_of_events();

-- ---------------------------------------------------------------- how far each follower has read, in commit order

CREATE TABLE event_reader (
    name text PRIMARY KEY CHECK (length(name) BETWEEN 1 AND 60),
    txid xid8 NOT NULL,
    event_id bigint NOT NULL,
    tries integer NOT NULL DEFAULT 0 CHECK (tries >= 0),
    moved_at timestamptz NOT NULL
) WITH (fillfactor = 50);
-- what happened before this migration is nobody's news any more
INSERT INTO event_reader (name, txid, event_id, moved_at)
    SELECT name, pg_snapshot_xmin(pg_current_snapshot()), 0, now() FROM unnest(ARRAY['webhooks', 'staff']) name;

CREATE TABLE event_parked (
    reader text NOT NULL,
    event_id bigint NOT NULL,
    error text NOT NULL CHECK (length(error) <= 500),
    parked_at timestamptz NOT NULL,
    PRIMARY KEY (reader, event_id)
);

-- ---------------------------------------------------------------- what the staff is told

CREATE TABLE staff_topic (
    id uuid PRIMARY KEY,
    merchant_id text NOT NULL REFERENCES merchant,
    reader text NOT NULL CHECK (length(reader) BETWEEN 1 AND 64),
    kind text NOT NULL CHECK (length(kind) BETWEEN 1 AND 60),
    muted boolean NOT NULL DEFAULT false,
    muted_until timestamptz,
    muted_by text,
    last_sent_at timestamptz,
    UNIQUE (merchant_id, reader, kind),
    UNIQUE (merchant_id, id)
) WITH (fillfactor = 80);

CREATE TABLE staff_message (
    id uuid PRIMARY KEY,
    merchant_id text NOT NULL,
    topic_id uuid NOT NULL,
    notifier text NOT NULL,
    channel text NOT NULL,
    locale text NOT NULL,
    state text NOT NULL CHECK (state IN ('queued', 'sending', 'sent', 'failed', 'unknown', 'canceled')),
    subject text NOT NULL,
    text text NOT NULL,
    notes integer NOT NULL CHECK (notes > 0),
    sends integer NOT NULL DEFAULT 0 CHECK (sends >= 0),
    because text CHECK (length(because) <= 1000),
    created_at timestamptz NOT NULL,
    sent_at timestamptz,
    finished_at timestamptz,
    FOREIGN KEY (merchant_id, topic_id) REFERENCES staff_topic (merchant_id, id)
) WITH (fillfactor = 80);
-- one at a time, so that what gathers meanwhile goes out together
CREATE UNIQUE INDEX staff_message_open ON staff_message (topic_id) WHERE state IN ('queued', 'sending');
CREATE INDEX staff_message_topic ON staff_message (topic_id, created_at);
CREATE TRIGGER staff_message_state_table BEFORE UPDATE ON staff_message FOR EACH ROW
    EXECUTE FUNCTION refuse_illegal_state('queued>sending', 'queued>canceled', 'sending>queued', 'sending>sent',
        'sending>failed', 'sending>unknown', 'queued>failed');
CREATE TRIGGER staff_message_kept BEFORE DELETE ON staff_message FOR EACH ROW EXECUTE FUNCTION refuse_change();

CREATE TABLE staff_note (
    topic_id uuid NOT NULL REFERENCES staff_topic,
    thing text NOT NULL CHECK (length(thing) BETWEEN 1 AND 200),
    line text NOT NULL CHECK (length(line) BETWEEN 1 AND 4000),
    at timestamptz NOT NULL,
    message_id uuid REFERENCES staff_message,
    PRIMARY KEY (topic_id, thing)
);
CREATE INDEX staff_note_waiting ON staff_note (topic_id, at) WHERE message_id IS NULL;
CREATE INDEX staff_note_message ON staff_note (message_id) WHERE message_id IS NOT NULL;

-- ---------------------------------------------------------------- what is out of the ordinary

-- answers of gateways in slots of ten minutes, counted as events are followed
CREATE TABLE gateway_answers (
    merchant_id text NOT NULL,
    gateway text NOT NULL,
    slot timestamptz NOT NULL,
    answered integer NOT NULL CHECK (answered >= 0),
    failed integer NOT NULL CHECK (failed >= 0),
    PRIMARY KEY (merchant_id, gateway, slot)
) WITH (fillfactor = 50);
CREATE INDEX gateway_answers_slot ON gateway_answers (slot);

CREATE TABLE anomaly (
    id uuid PRIMARY KEY,
    merchant_id text NOT NULL REFERENCES merchant,
    kind text NOT NULL CHECK (kind IN ('gateway_failing', 'recovery_falling')),
    subject text NOT NULL,
    numbers jsonb NOT NULL,
    detected_at timestamptz NOT NULL,
    over_at timestamptz
);
CREATE UNIQUE INDEX anomaly_once ON anomaly (merchant_id, kind, subject) WHERE over_at IS NULL;

-- looked through by the day that cases were opened or closed on, every hour; rows come in that order, nearly
CREATE INDEX recovery_case_opened ON recovery_case USING brin (opened_at) WITH (pages_per_range = 32);
