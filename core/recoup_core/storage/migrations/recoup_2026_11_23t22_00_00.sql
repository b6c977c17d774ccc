SET LOCAL lock_timeout = '5s';

-- ---------------------------------------------------------------- what links and webhooks are signed with

CREATE TABLE installation_key (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    key bytea NOT NULL CHECK (length(key) = 32)
);

-- ---------------------------------------------------------------- how customers are reached

CREATE TABLE customer (
    merchant_id text NOT NULL REFERENCES merchant,
    ref text NOT NULL CHECK (length(ref) BETWEEN 1 AND 255),
    name text CHECK (length(name) <= 200),
    locale text CHECK (length(locale) <= 35),
    timezone text,
    country text,
    do_not_contact boolean NOT NULL DEFAULT false,
    do_not_contact_because text CHECK (length(do_not_contact_because) <= 500),
    vulnerable boolean NOT NULL DEFAULT false,
    erased_at timestamptz,
    created_at timestamptz NOT NULL,
    changed_at timestamptz NOT NULL,
    PRIMARY KEY (merchant_id, ref)
) WITH (fillfactor = 80);

CREATE TABLE customer_address (
    id uuid PRIMARY KEY,
    merchant_id text NOT NULL,
    customer_ref text NOT NULL,
    channel text NOT NULL CHECK (length(channel) BETWEEN 1 AND 40),
    address text NOT NULL CHECK (length(address) BETWEEN 1 AND 2000),
    state text NOT NULL CHECK (state IN ('usable', 'bounced', 'complained', 'unsubscribed')),
    because text CHECK (length(because) <= 500),
    told_at timestamptz,
    created_at timestamptz NOT NULL,
    changed_at timestamptz NOT NULL,
    UNIQUE (merchant_id, customer_ref, channel, address),
    UNIQUE (merchant_id, id),
    FOREIGN KEY (merchant_id, customer_ref) REFERENCES customer (merchant_id, ref)
);
CREATE INDEX customer_address_by_address ON customer_address (merchant_id, channel, lower(address));

-- ---------------------------------------------------------------- what they are told

CREATE TABLE message (
    id uuid PRIMARY KEY,
    merchant_id text NOT NULL,
    customer_ref text NOT NULL,
    case_id uuid,
    payment_id uuid,
    step_id uuid REFERENCES timeline_step,
    notice_id uuid,
    channel text NOT NULL,
    template text NOT NULL,
    locale text NOT NULL,
    notifier text NOT NULL,
    address_id uuid,
    state text NOT NULL CHECK (state IN ('queued', 'sending', 'sent', 'delivered', 'bounced', 'failed', 'unknown',
                                         'canceled')),
    to_address text,
    subject text,
    text text,
    html text,
    zone text NOT NULL DEFAULT 'UTC',
    country text,
    latest_at timestamptz,
    sends integer NOT NULL DEFAULT 0 CHECK (sends >= 0),
    provider_ref text CHECK (length(provider_ref) <= 500),
    because text CHECK (length(because) <= 1000),
    correlation_id text,
    created_at timestamptz NOT NULL,
    sent_at timestamptz,
    finished_at timestamptz,
    complained_at timestamptz,
    UNIQUE (merchant_id, id),
    FOREIGN KEY (merchant_id, customer_ref) REFERENCES customer (merchant_id, ref),
    FOREIGN KEY (merchant_id, case_id) REFERENCES recovery_case (merchant_id, id),
    FOREIGN KEY (merchant_id, payment_id) REFERENCES payment (merchant_id, id)
) WITH (fillfactor = 80);
-- a step says a thing once by a channel, whatever is killed when
CREATE UNIQUE INDEX message_once ON message (step_id, channel) WHERE step_id IS NOT NULL;
CREATE UNIQUE INDEX message_once_a_notice ON message (notice_id, channel) WHERE notice_id IS NOT NULL;
CREATE INDEX message_customer ON message (merchant_id, customer_ref, created_at);
CREATE INDEX message_list ON message (merchant_id, id);
CREATE INDEX message_case ON message (case_id, id) WHERE case_id IS NOT NULL;
CREATE INDEX message_open ON message (created_at) WHERE state IN ('queued', 'sending');
CREATE INDEX message_provider_ref ON message (notifier, provider_ref) WHERE provider_ref IS NOT NULL;
CREATE TRIGGER message_state_table BEFORE UPDATE ON message FOR EACH ROW EXECUTE FUNCTION refuse_illegal_state(
    'queued>sending', 'queued>canceled', 'queued>failed', 'sending>queued', 'sending>sent', 'sending>failed',
    'sending>unknown', 'sending>delivered', 'sending>bounced', 'sent>delivered', 'sent>bounced', 'delivered>bounced',
    'unknown>sent', 'unknown>delivered', 'unknown>bounced');
CREATE TRIGGER message_kept BEFORE DELETE ON message FOR EACH ROW EXECUTE FUNCTION refuse_change();

ALTER TABLE timeline_step
    ADD COLUMN held_until timestamptz,
    ADD COLUMN held_because text CHECK (length(held_because) <= 500);
