SET LOCAL lock_timeout = '5s';

-- ---------------------------------------------------------------- dead letters

ALTER TABLE inbound_event
    -- whose account the gateway was when it told this; kept, since a gateway may leave the settings
    ADD COLUMN merchant_id text REFERENCES merchant,
    ADD COLUMN via text NOT NULL DEFAULT 'webhook' CHECK (via IN ('webhook', 'catch_up')),
    ADD COLUMN tries integer NOT NULL DEFAULT 0 CHECK (tries >= 0),
    ADD COLUMN last_error text CHECK (length(last_error) BETWEEN 1 AND 300),
    DROP CONSTRAINT inbound_event_state_check,
    ADD CONSTRAINT inbound_event_state_check
        CHECK (state IN ('received', 'applied', 'ignored', 'refused', 'dead', 'dismissed'));
DROP TRIGGER inbound_event_state_table ON inbound_event;
CREATE TRIGGER inbound_event_state_table BEFORE UPDATE ON inbound_event FOR EACH ROW
    EXECUTE FUNCTION refuse_illegal_state(
        'received>applied', 'received>ignored', 'received>refused', 'received>dead', 'received>dismissed',
        'ignored>received', 'refused>received', 'refused>dismissed', 'dead>received', 'dead>dismissed',
        'dismissed>received');

-- What came before belongs to the merchant whose payments go through that gateway, where there is exactly one;
-- what nobody can be named for is seen on the command line only.
UPDATE inbound_event i SET merchant_id = owner.merchant_id
FROM (SELECT gateway, min(merchant_id) AS merchant_id FROM
        (SELECT DISTINCT gateway, merchant_id FROM payment) known
      GROUP BY gateway HAVING count(*) = 1) owner
WHERE owner.gateway = i.gateway;

-- lists of people: newest first, all of a merchant, of one kind, or what was not simply taken in
CREATE INDEX inbound_event_merchant ON inbound_event (merchant_id, id);
CREATE INDEX inbound_event_kind ON inbound_event (merchant_id, kind, id);
CREATE INDEX inbound_event_waiting ON inbound_event (merchant_id, state, id)
    WHERE state IN ('received', 'refused', 'dead', 'dismissed');

-- a dead letter may tell of a success as well: whoever opens a case later must see it
DROP INDEX inbound_event_early;
CREATE INDEX inbound_event_early ON inbound_event (gateway, (body ->> 'gateway_ref'))
    WHERE state IN ('received', 'ignored', 'dead') AND body #>> '{outcome,type}' = 'succeeded';
DROP INDEX inbound_event_early_news;
CREATE INDEX inbound_event_early_news ON inbound_event USING gin ((
    jsonb_path_query_array(body, '$.*.charge_ref') || jsonb_path_query_array(body, '$.*.other_charge_refs[*]'))
    jsonb_path_ops) WHERE state IN ('received', 'ignored', 'dead');

ALTER TABLE human_task ADD COLUMN inbound_id uuid REFERENCES inbound_event;
CREATE INDEX human_task_inbound ON human_task (inbound_id) WHERE inbound_id IS NOT NULL;

-- ---------------------------------------------------------------- how far each gateway was asked for its events

CREATE TABLE gateway_feed (
    gateway text PRIMARY KEY,
    -- what its job is about
    id uuid NOT NULL UNIQUE,
    -- everything that happened before this is stored
    reached_at timestamptz NOT NULL,
    -- the walk through its pages that is under way: from when on, since when, and where it stands
    walk_from timestamptz,
    walk_started_at timestamptz,
    cursor text CHECK (length(cursor) BETWEEN 1 AND 2000),
    asked_at timestamptz,
    failures integer NOT NULL DEFAULT 0 CHECK (failures >= 0),
    trouble text CHECK (length(trouble) BETWEEN 1 AND 300),
    CHECK ((walk_from IS NULL) = (walk_started_at IS NULL)),
    CHECK (cursor IS NULL OR walk_from IS NOT NULL)
);

-- ---------------------------------------------------------------- whoever reads an unknown outcome has it looked up

ALTER TABLE job ADD COLUMN hurried_at timestamptz;
