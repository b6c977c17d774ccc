SET LOCAL lock_timeout = '5s';

-- ---------------------------------------------------------------- what gateways say that they settled

CREATE TABLE settlement_report (
    id uuid PRIMARY KEY,
    merchant_id text NOT NULL REFERENCES merchant,
    gateway text NOT NULL,
    report_ref text NOT NULL CHECK (length(report_ref) BETWEEN 1 AND 255),
    currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    payout_ref text CHECK (length(payout_ref) BETWEEN 1 AND 255),
    paid_out_minor bigint,
    paid_out_at timestamptz,
    told integer NOT NULL CHECK (told >= 0),
    lines integer NOT NULL CHECK (lines >= 0),
    borrowed integer NOT NULL CHECK (borrowed >= 0),
    earned_minor bigint NOT NULL,
    payouts_minor bigint NOT NULL,
    received_at timestamptz NOT NULL,
    received_from text NOT NULL CHECK (length(received_from) BETWEEN 1 AND 200),
    UNIQUE (merchant_id, gateway, report_ref),
    UNIQUE (merchant_id, id)
);
CREATE INDEX settlement_report_list ON settlement_report (merchant_id, id);
CREATE TRIGGER settlement_report_kept BEFORE DELETE ON settlement_report FOR EACH ROW EXECUTE FUNCTION refuse_change();

CREATE FUNCTION refuse_report_edit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- a report may come in pieces: it grows, and is told more about itself; what was told is never told anew
    IF (NEW.merchant_id, NEW.gateway, NEW.report_ref, NEW.currency, NEW.received_at, NEW.received_from)
        IS DISTINCT FROM
        (OLD.merchant_id, OLD.gateway, OLD.report_ref, OLD.currency, OLD.received_at, OLD.received_from)
        OR (OLD.payout_ref IS NOT NULL AND NEW.payout_ref IS DISTINCT FROM OLD.payout_ref)
        OR (OLD.paid_out_minor IS NOT NULL AND NEW.paid_out_minor IS DISTINCT FROM OLD.paid_out_minor)
        OR NEW.told < OLD.told OR NEW.lines < OLD.lines OR NEW.borrowed < OLD.borrowed THEN
        RAISE EXCEPTION 'what a settlement report says is never edited'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER settlement_report_fixed BEFORE UPDATE ON settlement_report FOR EACH ROW
    EXECUTE FUNCTION refuse_report_edit();

-- Which contents have been taken in: the same bytes again are known before they are read.
CREATE TABLE settlement_content (
    merchant_id text NOT NULL REFERENCES merchant,
    gateway text NOT NULL,
    digest bytea NOT NULL CHECK (length(digest) = 32),
    report_id uuid NOT NULL REFERENCES settlement_report,
    received_at timestamptz NOT NULL,
    PRIMARY KEY (merchant_id, gateway, digest)
);
CREATE TRIGGER settlement_content_fixed BEFORE UPDATE OR DELETE ON settlement_content FOR EACH ROW
    EXECUTE FUNCTION refuse_change();

CREATE TABLE settlement_line (
    id uuid PRIMARY KEY,
    merchant_id text NOT NULL,
    report_id uuid NOT NULL,
    gateway text NOT NULL,
    number integer NOT NULL CHECK (number > 0),
    ref text NOT NULL CHECK (length(ref) BETWEEN 1 AND 255),
    kind text NOT NULL CHECK (kind IN ('charge', 'charge_returned', 'refund', 'refund_returned', 'dispute',
                                       'dispute_returned', 'fee', 'payout', 'other')),
    amount_minor bigint NOT NULL CHECK (amount_minor >= 0),
    currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    settled_minor bigint NOT NULL,
    settled_currency text NOT NULL CHECK (settled_currency ~ '^[A-Z]{3}$'),
    fee_minor bigint NOT NULL,
    charge_refs text[] NOT NULL,
    operation_ref text CHECK (length(operation_ref) BETWEEN 1 AND 255),
    attempt_ref uuid,
    part_ref uuid,
    payment_reference text,
    occurred_at timestamptz NOT NULL,
    description text NOT NULL,
    state text NOT NULL CHECK (state IN ('waiting', 'matched', 'unmatched')),
    payment_id uuid,
    capture_id uuid,
    part_id uuid,
    dispute_id uuid,
    booked_minor bigint NOT NULL,
    fee_booked_minor bigint NOT NULL,
    tries integer NOT NULL CHECK (tries >= 0),
    next_try_at timestamptz,
    FOREIGN KEY (merchant_id, report_id) REFERENCES settlement_report (merchant_id, id),
    FOREIGN KEY (merchant_id, payment_id) REFERENCES payment (merchant_id, id),
    FOREIGN KEY (merchant_id, capture_id) REFERENCES capture (merchant_id, id),
    FOREIGN KEY (merchant_id, part_id) REFERENCES refund_part (merchant_id, id),
    FOREIGN KEY (merchant_id, dispute_id) REFERENCES dispute (merchant_id, id),
    -- a movement that two reports tell of is one
    UNIQUE (merchant_id, gateway, ref),
    UNIQUE (report_id, number),
    CHECK (num_nonnulls(capture_id, part_id, dispute_id) <= 1),
    CHECK (capture_id IS NULL OR kind IN ('charge', 'charge_returned')),
    CHECK ((state = 'matched') OR (num_nonnulls(payment_id, capture_id, part_id, dispute_id) = 0
                                   AND booked_minor = 0 AND fee_booked_minor = 0)),
    CHECK ((state = 'unmatched') >= (next_try_at IS NOT NULL))
) WITH (fillfactor = 85);
CREATE INDEX settlement_line_waiting ON settlement_line (report_id, number) WHERE state = 'waiting';
CREATE INDEX settlement_line_again ON settlement_line (next_try_at) WHERE next_try_at IS NOT NULL;
-- a charge comes in once, and comes back once
CREATE UNIQUE INDEX settlement_line_capture ON settlement_line (capture_id, kind) WHERE capture_id IS NOT NULL;
CREATE INDEX settlement_line_part ON settlement_line (part_id, kind) WHERE part_id IS NOT NULL;
CREATE INDEX settlement_line_dispute ON settlement_line (dispute_id, kind) WHERE dispute_id IS NOT NULL;
CREATE INDEX settlement_line_payment ON settlement_line (payment_id) WHERE payment_id IS NOT NULL;
CREATE TRIGGER settlement_line_state_table BEFORE UPDATE ON settlement_line FOR EACH ROW
    EXECUTE FUNCTION refuse_illegal_state('waiting>matched', 'waiting>unmatched', 'unmatched>matched');
CREATE TRIGGER settlement_line_kept BEFORE DELETE ON settlement_line FOR EACH ROW EXECUTE FUNCTION refuse_change();

CREATE FUNCTION refuse_settled_line_edit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (NEW.merchant_id, NEW.report_id, NEW.gateway, NEW.number, NEW.ref, NEW.kind, NEW.amount_minor, NEW.currency,
        NEW.settled_minor, NEW.settled_currency, NEW.fee_minor, NEW.charge_refs, NEW.operation_ref, NEW.attempt_ref,
        NEW.part_ref, NEW.payment_reference, NEW.occurred_at, NEW.description)
        IS DISTINCT FROM
        (OLD.merchant_id, OLD.report_id, OLD.gateway, OLD.number, OLD.ref, OLD.kind, OLD.amount_minor, OLD.currency,
        OLD.settled_minor, OLD.settled_currency, OLD.fee_minor, OLD.charge_refs, OLD.operation_ref, OLD.attempt_ref,
        OLD.part_ref, OLD.payment_reference, OLD.occurred_at, OLD.description)
        OR (OLD.state = 'matched' AND NEW IS DISTINCT FROM OLD) THEN
        RAISE EXCEPTION 'what a settlement line says, and what it was matched to, is never edited'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER settlement_line_fixed BEFORE UPDATE ON settlement_line FOR EACH ROW
    EXECUTE FUNCTION refuse_settled_line_edit();

-- a report names the one try where an object of the gateway was tried many times
CREATE INDEX attempt_try_ref ON attempt (gateway, try_ref) WHERE try_ref IS NOT NULL;

-- ---------------------------------------------------------------- what does not fit

CREATE TABLE settlement_exception (
    id uuid PRIMARY KEY,
    merchant_id text NOT NULL REFERENCES merchant,
    gateway text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('unknown_charge', 'unknown_refund', 'unknown_dispute', 'amount_differs',
        'currency_differs', 'settled_twice', 'contradicts', 'not_settled', 'does_not_add_up', 'told_differently',
        'not_fetched')),
    subject text NOT NULL CHECK (length(subject) BETWEEN 1 AND 400),
    reason text NOT NULL CHECK (length(reason) BETWEEN 1 AND 1000),
    report_id uuid REFERENCES settlement_report,
    line_id uuid REFERENCES settlement_line,
    payment_id uuid,
    amount_minor bigint,
    currency text,
    owner text NOT NULL CHECK (length(owner) BETWEEN 1 AND 200),
    opened_at timestamptz NOT NULL,
    resolved_at timestamptz,
    resolved_by text,
    resolution text CHECK (length(resolution) BETWEEN 1 AND 1000),
    FOREIGN KEY (merchant_id, payment_id) REFERENCES payment (merchant_id, id),
    CHECK ((resolved_at IS NULL) = (resolved_by IS NULL)),
    CHECK ((resolved_at IS NULL) = (resolution IS NULL)),
    CHECK ((amount_minor IS NULL) = (currency IS NULL))
);
CREATE UNIQUE INDEX settlement_exception_once ON settlement_exception (kind, subject) WHERE resolved_at IS NULL;
-- the oldest first: age is what people look at
CREATE INDEX settlement_exception_open ON settlement_exception (merchant_id, opened_at, id) WHERE resolved_at IS NULL;
CREATE INDEX settlement_exception_list ON settlement_exception (merchant_id, opened_at, id);
CREATE INDEX settlement_exception_subject ON settlement_exception (subject);
CREATE INDEX settlement_exception_report ON settlement_exception (report_id) WHERE report_id IS NOT NULL;
CREATE TRIGGER settlement_exception_kept BEFORE DELETE ON settlement_exception FOR EACH ROW
    EXECUTE FUNCTION refuse_change();

CREATE FUNCTION refuse_exception_edit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (NEW.merchant_id, NEW.gateway, NEW.kind, NEW.subject, NEW.opened_at)
        IS DISTINCT FROM (OLD.merchant_id, OLD.gateway, OLD.kind, OLD.subject, OLD.opened_at)
        OR OLD.resolved_at IS NOT NULL THEN
        RAISE EXCEPTION 'what a settlement exception is about, and how it ended, is never edited'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER settlement_exception_fixed BEFORE UPDATE ON settlement_exception FOR EACH ROW
    EXECUTE FUNCTION refuse_exception_edit();

-- ---------------------------------------------------------------- what is wanted, and how far it was looked through

CREATE TABLE settlement_wanted (
    id uuid PRIMARY KEY,
    gateway text NOT NULL,
    report_ref text NOT NULL CHECK (length(report_ref) BETWEEN 1 AND 255),
    wanted_at timestamptz NOT NULL,
    tries integer NOT NULL CHECK (tries >= 0),
    fetched_at timestamptz,
    trouble text CHECK (length(trouble) BETWEEN 1 AND 300),
    UNIQUE (gateway, report_ref)
);
CREATE INDEX settlement_wanted_open ON settlement_wanted (wanted_at) WHERE fetched_at IS NULL;

CREATE TABLE settlement_coverage (
    merchant_id text NOT NULL REFERENCES merchant,
    gateway text NOT NULL,
    -- the earliest movement that any report of the gateway tells of: what was booked before is asked of none
    since timestamptz NOT NULL,
    -- up to which entry of the ledger it was asked whether a report tells of it
    seen_at timestamptz NOT NULL,
    seen_id uuid NOT NULL,
    PRIMARY KEY (merchant_id, gateway)
);

-- ---------------------------------------------------------------- payouts, exchange and suspense in the ledger

ALTER TABLE ledger_entry
    DROP CONSTRAINT ledger_entry_kind_check,
    ADD CONSTRAINT ledger_entry_kind_check
        CHECK (kind IN ('capture', 'refund', 'tax', 'fee', 'dispute', 'write_off', 'payout', 'exchange', 'adjustment',
                        'suspense', 'reversal')),
    ALTER COLUMN payment_id DROP NOT NULL,
    ADD COLUMN settlement_line_id uuid REFERENCES settlement_line,
    ADD CONSTRAINT ledger_entry_about CHECK (payment_id IS NOT NULL OR settlement_line_id IS NOT NULL),
    ADD CONSTRAINT ledger_entry_of_line
        CHECK (kind NOT IN ('payout', 'exchange', 'adjustment', 'suspense') OR settlement_line_id IS NOT NULL);
CREATE INDEX ledger_entry_line ON ledger_entry (settlement_line_id) WHERE settlement_line_id IS NOT NULL;
ALTER TABLE ledger_posting
    DROP CONSTRAINT ledger_posting_chart,
    ADD CONSTRAINT ledger_posting_chart CHECK (account ~
        '^(receivable|refunds|tax|fees|store_credit|goodwill|disputes|write_offs|bad_debt|bank|exchange|adjustments|suspense|gateway_clearing:.+)$');
