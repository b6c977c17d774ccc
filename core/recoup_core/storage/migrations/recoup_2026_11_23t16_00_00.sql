SET LOCAL lock_timeout = '5s';

-- ---------------------------------------------------------------- who

-- whose calendar says what a day is, for what policies allow per day
ALTER TABLE merchant ADD COLUMN timezone text NOT NULL DEFAULT 'UTC';
-- the approval roles of the principal behind the key; no other role stands for one
ALTER TABLE api_key ADD COLUMN approves text[] NOT NULL DEFAULT '{}';
CREATE INDEX api_key_principal ON api_key (merchant_id, principal) WHERE revoked_at IS NULL;

-- ---------------------------------------------------------------- payments that never failed, and orders

ALTER TABLE payment
    ALTER COLUMN first_failed_at DROP NOT NULL,
    ADD COLUMN order_ref text CHECK (length(order_ref) BETWEEN 1 AND 200),
    ADD COLUMN paid_at timestamptz,
    -- goodwill as store credit, which no capture stands behind: at most once what the payment came to
    ADD COLUMN goodwill_minor bigint NOT NULL DEFAULT 0,
    ADD CONSTRAINT payment_goodwill_bounded CHECK (goodwill_minor BETWEEN 0 AND amount_minor);
CREATE INDEX payment_order ON payment (merchant_id, order_ref, id) WHERE order_ref IS NOT NULL;

-- ---------------------------------------------------------------- what gateways hold

CREATE TABLE capture (
    id uuid PRIMARY KEY,
    merchant_id text NOT NULL,
    payment_id uuid NOT NULL,
    attempt_id uuid REFERENCES attempt,
    gateway text NOT NULL,
    gateway_ref text,
    method text NOT NULL,
    network text,
    amount_minor bigint NOT NULL CHECK (amount_minor BETWEEN 1 AND 9007199254740991),
    currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    state text NOT NULL CHECK (state IN ('authorized', 'captured', 'voided')),
    -- kept by triggers alone: what refunds hold, what disputes freeze, and by how much facts from outside exceed it
    held_minor bigint NOT NULL DEFAULT 0 CHECK (held_minor >= 0),
    disputed_minor bigint NOT NULL DEFAULT 0 CHECK (disputed_minor >= 0),
    over_minor bigint NOT NULL DEFAULT 0 CHECK (over_minor >= 0),
    captured_at timestamptz,
    created_at timestamptz NOT NULL,
    FOREIGN KEY (merchant_id, payment_id) REFERENCES payment (merchant_id, id),
    UNIQUE (merchant_id, id),
    CHECK ((state = 'captured') <= (captured_at IS NOT NULL)),
    CONSTRAINT capture_never_over CHECK (held_minor + disputed_minor <= amount_minor + over_minor)
) WITH (fillfactor = 80);
CREATE INDEX capture_payment ON capture (payment_id, id);
CREATE INDEX capture_gateway_ref ON capture (gateway, gateway_ref) WHERE gateway_ref IS NOT NULL;
CREATE INDEX capture_over ON capture (id) WHERE over_minor > 0;
CREATE INDEX capture_authorized ON capture (created_at) WHERE state = 'authorized';
CREATE UNIQUE INDEX capture_attempt ON capture (attempt_id) WHERE attempt_id IS NOT NULL;
CREATE TRIGGER capture_state_table BEFORE UPDATE ON capture FOR EACH ROW
    EXECUTE FUNCTION refuse_illegal_state('authorized>captured', 'authorized>voided');
CREATE TRIGGER capture_kept BEFORE DELETE ON capture FOR EACH ROW EXECUTE FUNCTION refuse_change();

CREATE FUNCTION refuse_capture_edit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (NEW.payment_id, NEW.merchant_id, NEW.gateway, NEW.amount_minor, NEW.currency)
        IS DISTINCT FROM (OLD.payment_id, OLD.merchant_id, OLD.gateway, OLD.amount_minor, OLD.currency)
        OR (OLD.gateway_ref IS NOT NULL AND NEW.gateway_ref IS DISTINCT FROM OLD.gateway_ref) THEN
        RAISE EXCEPTION 'what a gateway holds is never edited' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    -- this very trigger is the first level; the triggers of refund parts and disputes update from the second
    IF pg_trigger_depth() < 2 AND (NEW.held_minor, NEW.disputed_minor, NEW.over_minor)
        IS DISTINCT FROM (OLD.held_minor, OLD.disputed_minor, OLD.over_minor) THEN
        RAISE EXCEPTION 'the counters of a capture follow its refunds and disputes and are never set'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER capture_fixed BEFORE UPDATE ON capture FOR EACH ROW EXECUTE FUNCTION refuse_capture_edit();

CREATE FUNCTION refuse_capture_with_counters() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (NEW.held_minor, NEW.disputed_minor, NEW.over_minor) <> (0, 0, 0) THEN
        RAISE EXCEPTION 'the counters of a capture follow its refunds and disputes and are never set'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER capture_new BEFORE INSERT ON capture FOR EACH ROW EXECUTE FUNCTION refuse_capture_with_counters();

CREATE TABLE payment_line (
    id uuid PRIMARY KEY,
    merchant_id text NOT NULL,
    payment_id uuid NOT NULL,
    number integer NOT NULL CHECK (number > 0),
    ref text NOT NULL CHECK (length(ref) BETWEEN 1 AND 200),
    kind text NOT NULL CHECK (kind IN ('item', 'shipping', 'fee', 'tax')),
    description text NOT NULL,
    quantity integer NOT NULL CHECK (quantity BETWEEN 1 AND 1000000),
    amount_minor bigint NOT NULL CHECK (amount_minor >= 0),
    tax_minor bigint NOT NULL CHECK (tax_minor BETWEEN 0 AND amount_minor),
    held_quantity integer NOT NULL DEFAULT 0,
    held_minor bigint NOT NULL DEFAULT 0,
    held_tax_minor bigint NOT NULL DEFAULT 0,
    FOREIGN KEY (merchant_id, payment_id) REFERENCES payment (merchant_id, id),
    UNIQUE (payment_id, number),
    UNIQUE (payment_id, ref),
    UNIQUE (merchant_id, id),
    CONSTRAINT payment_line_never_over CHECK (held_quantity BETWEEN 0 AND quantity
        AND held_minor BETWEEN 0 AND amount_minor AND held_tax_minor BETWEEN 0 AND tax_minor)
) WITH (fillfactor = 80);
CREATE TRIGGER payment_line_kept BEFORE DELETE ON payment_line FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE FUNCTION refuse_line_edit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF pg_trigger_depth() < 2 THEN
        RAISE EXCEPTION 'what a payment was charged for is never edited' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER payment_line_fixed BEFORE UPDATE ON payment_line FOR EACH ROW EXECUTE FUNCTION refuse_line_edit();

-- ---------------------------------------------------------------- refunds

CREATE TABLE refund (
    id uuid PRIMARY KEY,
    merchant_id text NOT NULL REFERENCES merchant,
    payment_id uuid NOT NULL,
    order_ref text,
    customer_ref text NOT NULL,
    purpose text NOT NULL CHECK (purpose IN ('refund', 'goodwill')),
    destination text NOT NULL CHECK (destination IN ('original_method', 'store_credit')),
    amount_minor bigint NOT NULL CHECK (amount_minor BETWEEN 1 AND 9007199254740991),
    currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    reason text NOT NULL CHECK (length(reason) BETWEEN 1 AND 100),
    note text CHECK (length(note) <= 1000),
    evidence jsonb NOT NULL DEFAULT '[]',
    spread text CHECK (spread IN ('newest_first', 'as_given')),
    channel text NOT NULL CHECK (channel IN ('api', 'console', 'command_line', 'reported')),
    requested_by text NOT NULL,
    touched_by text[] NOT NULL,
    state text NOT NULL CHECK (state IN ('incomplete', 'in_review', 'sent_back', 'approved', 'succeeded', 'failed',
                                         'denied', 'rejected', 'expired', 'canceled')),
    revision integer NOT NULL CHECK (revision > 0),
    version integer NOT NULL CHECK (version > 0),
    policy_name text,
    policy_digest text REFERENCES policy_text,
    decision_id uuid,
    levels jsonb NOT NULL DEFAULT '[]',
    level integer NOT NULL CHECK (level >= 0),
    escalate_to text[] NOT NULL DEFAULT '{}',
    open_roles text[] NOT NULL DEFAULT '{}',
    decide_by timestamptz,
    escalated_at timestamptz,
    expires_at timestamptz,
    stop_reason text,
    answers_dispute_id uuid,
    refunded_minor bigint NOT NULL,
    created_at timestamptz NOT NULL,
    approved_at timestamptz,
    finished_at timestamptz,
    FOREIGN KEY (merchant_id, payment_id) REFERENCES payment (merchant_id, id),
    UNIQUE (merchant_id, id),
    CHECK (touched_by @> ARRAY[requested_by]),
    CHECK (level <= jsonb_array_length(levels)),
    CHECK (refunded_minor BETWEEN 0 AND amount_minor),
    CHECK ((state = 'in_review') = (cardinality(open_roles) > 0)),
    CHECK ((channel = 'reported') OR (decision_id IS NOT NULL)),
    CHECK ((state IN ('succeeded', 'denied', 'rejected', 'expired', 'canceled')) = (finished_at IS NOT NULL)),
    CHECK (state NOT IN ('approved', 'succeeded', 'failed') OR approved_at IS NOT NULL)
) WITH (fillfactor = 70);
CREATE INDEX refund_state ON refund (merchant_id, state, id);
CREATE INDEX refund_payment ON refund (payment_id, id);
CREATE INDEX refund_order ON refund (merchant_id, order_ref, id) WHERE order_ref IS NOT NULL;
CREATE INDEX refund_customer ON refund (merchant_id, customer_ref, approved_at) WHERE approved_at IS NOT NULL;
CREATE INDEX refund_customer_list ON refund (merchant_id, customer_ref, id);
CREATE INDEX refund_approved ON refund (approved_at) WHERE state = 'approved';
CREATE INDEX refund_open ON refund (id) WHERE state IN ('incomplete', 'in_review', 'sent_back', 'approved', 'failed');

CREATE TRIGGER refund_state_table BEFORE UPDATE ON refund FOR EACH ROW
    EXECUTE FUNCTION refuse_illegal_state(
        'incomplete>in_review', 'incomplete>approved', 'incomplete>denied', 'incomplete>expired',
        'incomplete>canceled', 'in_review>incomplete', 'in_review>approved', 'in_review>denied',
        'in_review>expired', 'in_review>canceled', 'sent_back>incomplete', 'sent_back>in_review',
        'sent_back>approved', 'sent_back>denied', 'sent_back>expired', 'sent_back>canceled',
        'in_review>sent_back', 'in_review>rejected', 'approved>succeeded', 'approved>failed',
        'approved>canceled', 'approved>in_review', 'approved>denied', 'approved>incomplete',
        'succeeded>failed', 'failed>approved', 'failed>in_review', 'failed>denied', 'failed>incomplete',
        'failed>canceled', 'failed>succeeded', 'canceled>succeeded', 'canceled>failed');
CREATE TRIGGER refund_kept BEFORE DELETE ON refund FOR EACH ROW EXECUTE FUNCTION refuse_change();

CREATE FUNCTION refuse_refund_edit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (NEW.merchant_id, NEW.payment_id, NEW.order_ref, NEW.customer_ref, NEW.purpose, NEW.currency, NEW.channel,
        NEW.requested_by, NEW.created_at)
        IS DISTINCT FROM (OLD.merchant_id, OLD.payment_id, OLD.order_ref, OLD.customer_ref, OLD.purpose, OLD.currency,
        OLD.channel, OLD.requested_by, OLD.created_at) THEN
        RAISE EXCEPTION 'who asked for a refund of what is never edited' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF NEW.revision NOT IN (OLD.revision, OLD.revision + 1) OR NEW.version <= OLD.version THEN
        RAISE EXCEPTION 'revisions and versions of a refund are counted one by one'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF NEW.revision = OLD.revision AND
        (NEW.amount_minor, NEW.destination, NEW.reason, NEW.evidence, NEW.decision_id, NEW.levels)
        IS DISTINCT FROM
        (OLD.amount_minor, OLD.destination, OLD.reason, OLD.evidence, OLD.decision_id, OLD.levels) THEN
        RAISE EXCEPTION 'an edit of a refund is a new revision: decisions and approvals count for the one they were given to'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF NEW.revision > OLD.revision AND NEW.level <> 0 THEN
        RAISE EXCEPTION 'an edit voids the approvals of a refund' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF NOT NEW.touched_by @> OLD.touched_by THEN
        RAISE EXCEPTION 'who touched a refund stays among those who did' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER refund_fixed BEFORE UPDATE ON refund FOR EACH ROW EXECUTE FUNCTION refuse_refund_edit();

CREATE TABLE refund_approval (
    id uuid PRIMARY KEY,
    merchant_id text NOT NULL,
    refund_id uuid NOT NULL,
    revision integer NOT NULL,
    level integer NOT NULL CHECK (level >= 0),
    role text NOT NULL,
    principal text NOT NULL,
    on_behalf_of text CHECK (on_behalf_of <> principal),
    verdict text NOT NULL CHECK (verdict IN ('approve', 'reject', 'send_back')),
    comment text CHECK (length(comment) <= 1000),
    channel text NOT NULL,
    decided_at timestamptz NOT NULL,
    FOREIGN KEY (merchant_id, refund_id) REFERENCES refund (merchant_id, id)
);
CREATE UNIQUE INDEX refund_approval_once ON refund_approval (refund_id, revision, level) WHERE verdict = 'approve';
CREATE INDEX refund_approval_refund ON refund_approval (refund_id, id);
CREATE TRIGGER refund_approval_append_only BEFORE UPDATE OR DELETE ON refund_approval FOR EACH ROW
    EXECUTE FUNCTION refuse_change();
CREATE TRIGGER refund_approval_no_truncate BEFORE TRUNCATE ON refund_approval FOR EACH STATEMENT
    EXECUTE FUNCTION refuse_change();

-- Four eyes, whoever writes the row and by whatever route (promise 8).
CREATE FUNCTION refuse_own_approval() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    asked refund;
    people text[] := array_remove(ARRAY[NEW.principal, NEW.on_behalf_of], NULL);
BEGIN
    -- two approvals at once wait for each other here, so that each sees the other's people
    SELECT * INTO asked FROM refund WHERE id = NEW.refund_id FOR NO KEY UPDATE;
    IF asked.touched_by && people THEN
        RAISE EXCEPTION 'who touched a refund can''t decide it' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF NEW.revision <> asked.revision THEN
        RAISE EXCEPTION 'an approval is for the present revision' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF NOT coalesce(asked.levels -> NEW.level ? NEW.role, false)
        AND NOT (NEW.level < jsonb_array_length(asked.levels) AND NEW.role = ANY (asked.escalate_to)) THEN
        RAISE EXCEPTION 'a level of a refund is decided by a role of it' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF NEW.verdict = 'approve' AND EXISTS (
        SELECT FROM refund_approval a WHERE a.refund_id = NEW.refund_id AND a.revision = NEW.revision
            AND a.verdict = 'approve' AND (a.principal = ANY (people) OR a.on_behalf_of = ANY (people))) THEN
        RAISE EXCEPTION 'each level of a refund is approved by another person'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER refund_approval_four_eyes BEFORE INSERT ON refund_approval FOR EACH ROW
    EXECUTE FUNCTION refuse_own_approval();

CREATE TABLE delegation (
    id uuid PRIMARY KEY,
    merchant_id text NOT NULL REFERENCES merchant,
    owner text NOT NULL,
    delegate text NOT NULL CHECK (delegate <> owner),
    roles text[] NOT NULL CHECK (cardinality(roles) > 0),
    starts_at timestamptz NOT NULL,
    ends_at timestamptz NOT NULL,
    created_by text NOT NULL,
    created_at timestamptz NOT NULL,
    revoked_at timestamptz,
    CHECK (starts_at < ends_at)
);
CREATE INDEX delegation_delegate ON delegation (merchant_id, delegate, ends_at) WHERE revoked_at IS NULL;
CREATE INDEX delegation_list ON delegation (merchant_id, id);
CREATE TRIGGER delegation_kept BEFORE DELETE ON delegation FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE FUNCTION refuse_delegation_edit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (NEW.merchant_id, NEW.owner, NEW.delegate, NEW.roles, NEW.starts_at, NEW.ends_at, NEW.created_by)
        IS DISTINCT FROM (OLD.merchant_id, OLD.owner, OLD.delegate, OLD.roles, OLD.starts_at, OLD.ends_at, OLD.created_by)
        OR OLD.revoked_at IS NOT NULL THEN
        RAISE EXCEPTION 'a delegation is revoked, never edited' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER delegation_fixed BEFORE UPDATE ON delegation FOR EACH ROW EXECUTE FUNCTION refuse_delegation_edit();

CREATE TABLE refund_line (
    id uuid PRIMARY KEY,
    merchant_id text NOT NULL,
    refund_id uuid NOT NULL,
    payment_line_id uuid NOT NULL,
    revision integer NOT NULL,
    quantity integer NOT NULL CHECK (quantity >= 0),
    amount_minor bigint NOT NULL CHECK (amount_minor >= 0),
    tax_minor bigint NOT NULL CHECK (tax_minor BETWEEN 0 AND amount_minor),
    holds boolean NOT NULL,
    FOREIGN KEY (merchant_id, refund_id) REFERENCES refund (merchant_id, id),
    FOREIGN KEY (merchant_id, payment_line_id) REFERENCES payment_line (merchant_id, id),
    UNIQUE (refund_id, revision, payment_line_id)
) WITH (fillfactor = 80);
CREATE INDEX refund_line_line ON refund_line (payment_line_id);
CREATE TRIGGER refund_line_kept BEFORE DELETE ON refund_line FOR EACH ROW EXECUTE FUNCTION refuse_change();

CREATE FUNCTION hold_for_line() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    was integer := CASE WHEN TG_OP = 'UPDATE' AND OLD.holds THEN 1 ELSE 0 END;
    now_holds integer := CASE WHEN NEW.holds THEN 1 ELSE 0 END;
BEGIN
    IF TG_OP = 'UPDATE' AND (NEW.refund_id, NEW.payment_line_id, NEW.revision, NEW.quantity, NEW.amount_minor, NEW.tax_minor)
        IS DISTINCT FROM
        (OLD.refund_id, OLD.payment_line_id, OLD.revision, OLD.quantity, OLD.amount_minor, OLD.tax_minor) THEN
        RAISE EXCEPTION 'what a refund says about a line is never edited' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF was <> now_holds THEN
        UPDATE payment_line SET held_quantity = held_quantity + (now_holds - was) * NEW.quantity,
            held_minor = held_minor + (now_holds - was) * NEW.amount_minor,
            held_tax_minor = held_tax_minor + (now_holds - was) * NEW.tax_minor
        WHERE id = NEW.payment_line_id;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER refund_line_holds AFTER INSERT OR UPDATE ON refund_line FOR EACH ROW EXECUTE FUNCTION hold_for_line();

CREATE TABLE refund_part (
    id uuid PRIMARY KEY,
    merchant_id text NOT NULL,
    refund_id uuid NOT NULL,
    payment_id uuid NOT NULL,
    capture_id uuid,
    number integer NOT NULL CHECK (number > 0),
    revision integer NOT NULL,
    destination text NOT NULL CHECK (destination IN ('original_method', 'store_credit')),
    gateway text,
    void boolean NOT NULL,
    amount_minor bigint NOT NULL CHECK (amount_minor > 0),
    currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    tax_minor bigint NOT NULL CHECK (tax_minor BETWEEN 0 AND amount_minor),
    idempotency_key text CHECK (length(idempotency_key) BETWEEN 1 AND 64),
    gateway_ref text,
    state text NOT NULL CHECK (state IN ('reserved', 'scheduled', 'submitted', 'pending', 'unknown', 'succeeded',
                                         'failed', 'taken_back', 'canceled')),
    failure jsonb,
    follows uuid REFERENCES refund_part,
    not_before timestamptz,
    sends integer NOT NULL CHECK (sends >= 0),
    claim bigint NOT NULL,
    successes integer NOT NULL CHECK (successes >= 0),
    created_at timestamptz NOT NULL,
    submitted_at timestamptz,
    last_sent_at timestamptz,
    finished_at timestamptz,
    FOREIGN KEY (merchant_id, refund_id) REFERENCES refund (merchant_id, id),
    FOREIGN KEY (merchant_id, payment_id) REFERENCES payment (merchant_id, id),
    FOREIGN KEY (merchant_id, capture_id) REFERENCES capture (merchant_id, id),
    UNIQUE (refund_id, number),
    UNIQUE (gateway, idempotency_key),
    UNIQUE (merchant_id, id),
    CHECK (capture_id IS NOT NULL OR destination = 'store_credit'),
    CHECK ((destination = 'store_credit') = (gateway IS NULL)),
    CHECK ((state IN ('failed', 'taken_back')) <= (failure IS NOT NULL)),
    CHECK ((state IN ('succeeded', 'failed', 'taken_back', 'canceled')) = (finished_at IS NOT NULL)),
    CHECK ((state IN ('succeeded', 'taken_back')) <= (successes > 0)),
    CHECK (gateway IS NULL OR state NOT IN ('submitted', 'unknown') OR submitted_at IS NOT NULL)
) WITH (fillfactor = 70);
CREATE INDEX refund_part_payment ON refund_part (payment_id, id);
CREATE INDEX refund_part_gateway_ref ON refund_part (gateway, gateway_ref) WHERE gateway_ref IS NOT NULL;
CREATE INDEX refund_part_due ON refund_part (created_at) WHERE state = 'scheduled';
CREATE INDEX refund_part_in_flight ON refund_part (submitted_at) WHERE state IN ('submitted', 'pending', 'unknown');
CREATE TRIGGER refund_part_state_table BEFORE UPDATE ON refund_part FOR EACH ROW
    EXECUTE FUNCTION refuse_illegal_state(
        'reserved>scheduled', 'reserved>canceled', 'scheduled>reserved', 'scheduled>submitted',
        'scheduled>canceled', 'scheduled>failed', 'scheduled>succeeded', 'submitted>succeeded',
        'submitted>failed', 'submitted>pending', 'submitted>unknown', 'submitted>scheduled',
        'pending>succeeded', 'pending>failed', 'pending>unknown', 'pending>canceled', 'unknown>submitted',
        'unknown>succeeded', 'unknown>failed', 'unknown>pending', 'succeeded>taken_back',
        'taken_back>succeeded', 'failed>succeeded', 'canceled>succeeded', 'scheduled>taken_back',
        'submitted>taken_back', 'pending>taken_back', 'unknown>taken_back', 'failed>taken_back',
        'canceled>taken_back', 'reserved>succeeded', 'reserved>taken_back');
CREATE TRIGGER refund_part_kept BEFORE DELETE ON refund_part FOR EACH ROW EXECUTE FUNCTION refuse_change();

CREATE FUNCTION refuse_part_edit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (NEW.merchant_id, NEW.refund_id, NEW.payment_id, NEW.capture_id, NEW.number, NEW.revision, NEW.destination,
        NEW.gateway, NEW.amount_minor, NEW.currency, NEW.tax_minor, NEW.idempotency_key, NEW.follows, NEW.created_at)
        IS DISTINCT FROM
        (OLD.merchant_id, OLD.refund_id, OLD.payment_id, OLD.capture_id, OLD.number, OLD.revision, OLD.destination,
        OLD.gateway, OLD.amount_minor, OLD.currency, OLD.tax_minor, OLD.idempotency_key, OLD.follows, OLD.created_at)
        OR (OLD.sends > 0 AND NEW.void <> OLD.void) THEN
        RAISE EXCEPTION 'what a refund part sends is never edited' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF NEW.sends < OLD.sends OR NEW.successes < OLD.successes THEN
        RAISE EXCEPTION 'a refund part can''t be unsent' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER refund_part_fixed BEFORE UPDATE ON refund_part FOR EACH ROW EXECUTE FUNCTION refuse_part_edit();

CREATE FUNCTION part_holds(state text) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    SELECT state IN ('reserved', 'scheduled', 'submitted', 'pending', 'unknown', 'succeeded')
$$;

-- Promise 4: every part that holds counts against its capture, under the capture's row lock and its CHECK.
CREATE FUNCTION hold_for_part() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    was bigint := CASE WHEN TG_OP = 'UPDATE' AND part_holds(OLD.state) THEN OLD.amount_minor ELSE 0 END;
    now_holds bigint := CASE WHEN part_holds(NEW.state) THEN NEW.amount_minor ELSE 0 END;
    over bigint;
BEGIN
    IF TG_OP = 'INSERT' AND NEW.state NOT IN ('reserved', 'scheduled')
        AND NOT EXISTS (SELECT FROM refund WHERE id = NEW.refund_id AND channel = 'reported') THEN
        RAISE EXCEPTION 'a refund part begins unsent' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF was = now_holds THEN
        RETURN NULL;
    END IF;
    IF NEW.capture_id IS NULL THEN
        UPDATE payment SET goodwill_minor = goodwill_minor + now_holds - was WHERE id = NEW.payment_id;
        RETURN NULL;
    END IF;
    UPDATE capture SET held_minor = held_minor + now_holds - was,
        over_minor = greatest(0, held_minor + now_holds - was + disputed_minor - amount_minor)
    WHERE id = NEW.capture_id AND currency = NEW.currency AND payment_id = NEW.payment_id
    RETURNING over_minor INTO over;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'a refund part goes over a capture of its payment, in its currency'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    -- only what a gateway tells may exceed a capture; what is asked for never does
    IF now_holds > was AND over > 0 AND NEW.state IN ('reserved', 'scheduled') THEN
        RAISE EXCEPTION 'refund exceeds refundable by % %', over, NEW.currency
            USING ERRCODE = 'check_violation', CONSTRAINT = 'capture_never_over';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER refund_part_holds AFTER INSERT OR UPDATE ON refund_part FOR EACH ROW EXECUTE FUNCTION hold_for_part();

-- Deferred: a decision, its refund, approvals and parts are written by one transaction in whatever order.
CREATE FUNCTION refuse_unapproved_refund() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    answer text;
    wanted integer;
    given integer;
BEGIN
    IF NEW.channel = 'reported' OR NEW.state <> 'approved' OR (TG_OP = 'UPDATE' AND OLD.state = 'approved'
        AND OLD.revision = NEW.revision) THEN
        RETURN NULL;
    END IF;
    -- how many levels there are is what the policy said, whatever the refund's row says by now
    SELECT outcome ->> 'type', jsonb_array_length(coalesce(outcome -> 'levels', NEW.levels)) INTO answer, wanted
        FROM decision WHERE id = NEW.decision_id AND refund_id = NEW.id;
    SELECT count(DISTINCT level) INTO given FROM refund_approval
        WHERE refund_id = NEW.id AND revision = NEW.revision AND verdict = 'approve' AND level < wanted;
    IF answer = 'approve' OR (answer = 'review' AND wanted > 0 AND given >= wanted) THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION 'refund % is approved by neither policy nor people', NEW.id
        USING ERRCODE = 'integrity_constraint_violation';
END $$;
CREATE CONSTRAINT TRIGGER refund_approved AFTER INSERT OR UPDATE OF state, revision ON refund
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse_unapproved_refund();

CREATE FUNCTION refuse_unapproved_part() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.state IN ('scheduled', 'submitted') AND EXISTS (
        SELECT FROM refund_part p JOIN refund r ON r.id = p.refund_id
        WHERE p.id = NEW.id AND p.state = NEW.state
            AND (r.state NOT IN ('approved', 'succeeded', 'failed', 'canceled')
                 -- what somebody made elsewhere is theirs to send; only our own parts have a key
                 OR (r.channel = 'reported' AND p.idempotency_key IS NOT NULL))) THEN
        RAISE EXCEPTION 'no part of a refund leaves before it is approved' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER refund_part_approved AFTER INSERT OR UPDATE OF state ON refund_part
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse_unapproved_part();

-- What was approved on a day, per merchant and per agent: what policies allow per day is counted here under a lock.
CREATE TABLE refund_tally (
    merchant_id text NOT NULL REFERENCES merchant,
    -- '' counts the merchant's day, else the principal's
    agent text NOT NULL,
    day date NOT NULL,
    currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    refunds integer NOT NULL CHECK (refunds >= 0),
    amount_minor numeric NOT NULL CHECK (amount_minor >= 0),
    PRIMARY KEY (merchant_id, agent, day, currency)
) WITH (fillfactor = 50);

-- ---------------------------------------------------------------- disputes

CREATE TABLE dispute (
    id uuid PRIMARY KEY,
    merchant_id text NOT NULL,
    payment_id uuid NOT NULL,
    capture_id uuid NOT NULL,
    gateway text NOT NULL,
    gateway_ref text NOT NULL,
    amount_minor bigint NOT NULL CHECK (amount_minor > 0),
    currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    state text NOT NULL CHECK (state IN ('inquiry', 'open', 'won', 'lost', 'closed')),
    reason text,
    evidence_due_at timestamptz,
    turns integer NOT NULL CHECK (turns >= 0),
    opened_at timestamptz NOT NULL,
    closed_at timestamptz,
    FOREIGN KEY (merchant_id, payment_id) REFERENCES payment (merchant_id, id),
    FOREIGN KEY (merchant_id, capture_id) REFERENCES capture (merchant_id, id),
    UNIQUE (gateway, gateway_ref),
    UNIQUE (merchant_id, id),
    CHECK ((state IN ('won', 'lost', 'closed')) = (closed_at IS NOT NULL))
);
CREATE INDEX dispute_payment ON dispute (payment_id, id);
CREATE INDEX dispute_unended ON dispute (opened_at) WHERE state IN ('inquiry', 'open');
CREATE TRIGGER dispute_state_table BEFORE UPDATE ON dispute FOR EACH ROW
    EXECUTE FUNCTION refuse_illegal_state(
        'inquiry>open', 'inquiry>closed', 'inquiry>won', 'inquiry>lost', 'closed>open', 'open>won',
        'open>lost', 'won>open', 'won>lost', 'lost>won');
CREATE TRIGGER dispute_kept BEFORE DELETE ON dispute FOR EACH ROW EXECUTE FUNCTION refuse_change();
ALTER TABLE refund ADD FOREIGN KEY (merchant_id, answers_dispute_id) REFERENCES dispute (merchant_id, id);
CREATE INDEX refund_answers ON refund (answers_dispute_id) WHERE answers_dispute_id IS NOT NULL;

CREATE FUNCTION freeze_for_dispute() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    was bigint := CASE WHEN TG_OP = 'UPDATE' AND OLD.state IN ('open', 'lost') THEN OLD.amount_minor ELSE 0 END;
    frozen bigint := CASE WHEN NEW.state IN ('open', 'lost') THEN NEW.amount_minor ELSE 0 END;
BEGIN
    IF was <> frozen THEN
        UPDATE capture SET disputed_minor = disputed_minor + frozen - was,
            over_minor = greatest(0, held_minor + disputed_minor + frozen - was - amount_minor)
        WHERE id = NEW.capture_id;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER dispute_freezes AFTER INSERT OR UPDATE ON dispute FOR EACH ROW EXECUTE FUNCTION freeze_for_dispute();

-- ---------------------------------------------------------------- decisions, events and tasks about refunds

ALTER TABLE decision
    ALTER COLUMN case_id DROP NOT NULL,
    ADD COLUMN refund_id uuid,
    ADD FOREIGN KEY (merchant_id, refund_id) REFERENCES refund (merchant_id, id),
    ADD CONSTRAINT decision_of_one CHECK ((case_id IS NULL) <> (refund_id IS NULL));
CREATE INDEX decision_refund ON decision (refund_id, id) WHERE refund_id IS NOT NULL;
ALTER TABLE refund ADD FOREIGN KEY (decision_id) REFERENCES decision DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE shadow_decision
    ALTER COLUMN case_id DROP NOT NULL,
    ADD COLUMN refund_id uuid,
    ADD FOREIGN KEY (merchant_id, refund_id) REFERENCES refund (merchant_id, id);

ALTER TABLE event ADD COLUMN refund_id uuid;
CREATE INDEX event_refund ON event (refund_id, id) WHERE refund_id IS NOT NULL;
CREATE INDEX event_payment ON event (payment_id, id) WHERE payment_id IS NOT NULL AND case_id IS NULL;
-- An event that names no refund keeps the digest it was sealed with.
CREATE OR REPLACE FUNCTION event_digest(e event) RETURNS bytea LANGUAGE sql IMMUTABLE STRICT AS $$
    SELECT sha256(convert_to((jsonb_build_array(
        e.id, e.txid::text, (extract(epoch FROM e.at) * 1000000)::bigint, e.merchant_id, e.kind, e.actor,
        e.case_id, e.payment_id, e.attempt_id, e.correlation_id, e.data)
        || CASE WHEN e.refund_id IS NULL THEN '[]' ELSE jsonb_build_array(e.refund_id) END)::text, 'UTF8'))
$$;

ALTER TABLE human_task
    ADD COLUMN refund_id uuid,
    ADD FOREIGN KEY (merchant_id, refund_id) REFERENCES refund (merchant_id, id);
-- resolved ones as well: a sweep asks whether anybody was asked lately
CREATE INDEX human_task_refund ON human_task (refund_id) WHERE refund_id IS NOT NULL;
CREATE INDEX human_task_dispute ON human_task (payment_id) WHERE kind = 'dispute_evidence';

-- a refund, a dispute or a capture may be told before the payment is known, under any name of its charge
CREATE INDEX inbound_event_early_news ON inbound_event USING gin ((
    jsonb_path_query_array(body, '$.*.charge_ref') || jsonb_path_query_array(body, '$.*.other_charge_refs[*]'))
    jsonb_path_ops) WHERE state IN ('received', 'ignored');

-- events about one refund or dispute come in any order: the last to have happened says how it stands
CREATE INDEX inbound_event_refund ON inbound_event (gateway, (body #>> '{refund,refund_ref}'))
    WHERE body #>> '{refund,refund_ref}' IS NOT NULL;
CREATE INDEX inbound_event_dispute ON inbound_event (gateway, (body #>> '{dispute,dispute_ref}'))
    WHERE body #>> '{dispute,dispute_ref}' IS NOT NULL;

-- ---------------------------------------------------------------- the whole ledger

ALTER TABLE ledger_entry
    DROP CONSTRAINT ledger_entry_kind_check,
    ADD CONSTRAINT ledger_entry_kind_check
        CHECK (kind IN ('capture', 'refund', 'tax', 'fee', 'dispute', 'write_off', 'reversal')),
    ALTER COLUMN attempt_id DROP NOT NULL,
    ADD COLUMN capture_id uuid REFERENCES capture,
    ADD COLUMN refund_id uuid REFERENCES refund,
    ADD COLUMN part_id uuid REFERENCES refund_part,
    ADD COLUMN dispute_id uuid REFERENCES dispute,
    ADD COLUMN case_id uuid REFERENCES recovery_case,
    ADD COLUMN reverses uuid REFERENCES ledger_entry,
    ADD COLUMN turn integer NOT NULL DEFAULT 1 CHECK (turn > 0),
    -- how many postings it has: none is added later, balanced or not
    ADD COLUMN lines integer NOT NULL DEFAULT 2 CHECK (lines >= 2),
    ADD COLUMN occurred_at timestamptz;

INSERT INTO capture (id, merchant_id, payment_id, attempt_id, gateway, gateway_ref, method, network, amount_minor, currency,
                     state, captured_at, created_at)
SELECT gen_random_uuid(), e.merchant_id, e.payment_id, a.id, a.gateway, a.gateway_ref, a.method, a.network,
       p.amount_minor, p.currency, 'captured', e.created_at, e.created_at
FROM ledger_entry e JOIN attempt a ON a.id = e.attempt_id
JOIN ledger_posting p ON p.entry_id = e.id AND p.amount_minor > 0 WHERE e.kind = 'capture';
UPDATE payment p SET paid_at = c.at
FROM (SELECT payment_id, max(captured_at) AS at FROM capture GROUP BY payment_id) c
WHERE c.payment_id = p.id AND p.state = 'paid';

ALTER TABLE ledger_entry DISABLE TRIGGER ledger_entry_append_only;
UPDATE ledger_entry e SET occurred_at = e.created_at,
    capture_id = (SELECT c.id FROM capture c WHERE c.attempt_id = e.attempt_id);
ALTER TABLE ledger_entry ENABLE TRIGGER ledger_entry_append_only;
ALTER TABLE ledger_entry
    ALTER COLUMN occurred_at SET NOT NULL,
    ALTER COLUMN occurred_at SET DEFAULT now(),
    ADD CHECK ((kind = 'reversal') = (reverses IS NOT NULL)),
    ADD CHECK ((kind = 'capture') <= (capture_id IS NOT NULL)),
    ADD CHECK ((kind = 'refund') <= (part_id IS NOT NULL));

-- A process of the release before may still be running and knows of no captures: what it books gets one all the same.
-- The payment's own count, which its statement before has raised, says how much it was.
CREATE FUNCTION capture_of_older_process() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.capture_id := gen_random_uuid();
    INSERT INTO capture (id, merchant_id, payment_id, attempt_id, gateway, gateway_ref, method, network, amount_minor,
                         currency, state, captured_at, created_at)
    SELECT NEW.capture_id, p.merchant_id, p.id, NEW.attempt_id, coalesce(a.gateway, p.gateway), a.gateway_ref,
           coalesce(a.method, p.method), a.network,
           p.captured_minor - (SELECT coalesce(sum(c.amount_minor), 0) FROM capture c WHERE c.payment_id = p.id),
           p.currency, 'captured', NEW.created_at, NEW.created_at
    FROM payment p LEFT JOIN attempt a ON a.id = NEW.attempt_id WHERE p.id = NEW.payment_id;
    RETURN NEW;
END $$;
CREATE TRIGGER ledger_entry_older_process BEFORE INSERT ON ledger_entry FOR EACH ROW
    WHEN (NEW.kind = 'capture' AND NEW.capture_id IS NULL) EXECUTE FUNCTION capture_of_older_process();
ALTER TABLE ledger_entry ENABLE ALWAYS TRIGGER ledger_entry_older_process;
CREATE UNIQUE INDEX ledger_entry_capture ON ledger_entry (capture_id) WHERE kind = 'capture';
CREATE UNIQUE INDEX ledger_entry_part ON ledger_entry (part_id, kind, turn) WHERE part_id IS NOT NULL AND kind <> 'reversal';
CREATE UNIQUE INDEX ledger_entry_dispute ON ledger_entry (dispute_id, kind, turn)
    WHERE dispute_id IS NOT NULL AND kind <> 'reversal';
CREATE UNIQUE INDEX ledger_entry_reversal ON ledger_entry (reverses) WHERE reverses IS NOT NULL;
CREATE INDEX ledger_entry_refund ON ledger_entry (refund_id) WHERE refund_id IS NOT NULL;
CREATE INDEX ledger_entry_booked ON ledger_entry (merchant_id, created_at, id);
CREATE INDEX ledger_entry_occurred ON ledger_entry (merchant_id, occurred_at, id);

ALTER TABLE ledger_posting ADD CONSTRAINT ledger_posting_chart CHECK (account ~
    '^(receivable|refunds|tax|fees|store_credit|goodwill|disputes|write_offs|bad_debt|gateway_clearing:.+)$');

CREATE OR REPLACE FUNCTION refuse_unbalanced_entry() RETURNS trigger LANGUAGE plpgsql SET enable_seqscan = off AS $$
DECLARE
    entry uuid := CASE WHEN TG_TABLE_NAME = 'ledger_entry' THEN (to_jsonb(NEW) ->> 'id')::uuid
                       ELSE (to_jsonb(NEW) ->> 'entry_id')::uuid END;
    written integer;
    said integer;
    off text;
BEGIN
    SELECT lines INTO said FROM ledger_entry WHERE id = entry;
    SELECT count(*) INTO written FROM ledger_posting WHERE entry_id = entry;
    SELECT string_agg(currency || ' ' || total, ', ') INTO off FROM (
        SELECT currency, sum(amount_minor) AS total FROM ledger_posting WHERE entry_id = entry
        GROUP BY currency HAVING sum(amount_minor) <> 0) unbalanced;
    IF written IS DISTINCT FROM said OR off IS NOT NULL THEN
        RAISE EXCEPTION 'ledger entry % is not balanced (% of % lines, off by %)', entry, written, said,
            coalesce(off, 'nothing') USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;

-- A reversal takes back exactly what it names.
CREATE FUNCTION refuse_false_reversal() RETURNS trigger LANGUAGE plpgsql SET enable_seqscan = off AS $$
BEGIN
    IF EXISTS (
        SELECT FROM (
            SELECT account, currency, amount_minor FROM ledger_posting WHERE entry_id = NEW.id
            UNION ALL
            SELECT account, currency, amount_minor FROM ledger_posting WHERE entry_id = NEW.reverses) both_sides
        GROUP BY account, currency HAVING sum(amount_minor) <> 0)
        OR EXISTS (SELECT FROM ledger_entry r WHERE r.id = NEW.reverses
                   AND (r.merchant_id <> NEW.merchant_id OR r.kind = 'reversal')) THEN
        RAISE EXCEPTION 'reversal % does not take back what it names', NEW.id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER ledger_entry_reverses AFTER INSERT ON ledger_entry DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (NEW.reverses IS NOT NULL) EXECUTE FUNCTION refuse_false_reversal();

-- Debts that were given up before the ledger knew of it: they ended then, and that is booked now.
INSERT INTO ledger_entry (id, merchant_id, kind, payment_id, case_id, occurred_at, created_at)
SELECT gen_random_uuid(), p.merchant_id, 'write_off', p.id, c.id, c.closed_at, now()
FROM recovery_case c JOIN payment p ON p.id = c.payment_id
WHERE c.state = 'written_off' AND p.captured_minor < p.amount_minor;
INSERT INTO ledger_posting (entry_id, line, account, amount_minor, currency)
SELECT e.id, s.line, s.account, s.sign * (p.amount_minor - p.captured_minor), p.currency
FROM ledger_entry e JOIN payment p ON p.id = e.payment_id
CROSS JOIN (VALUES (1, 'write_offs', 1), (2, 'receivable', -1)) s (line, account, sign) WHERE e.kind = 'write_off';
