SET LOCAL lock_timeout = '5s';

-- ---------------------------------------------------------------- what billing systems are asked to do

CREATE TABLE subscription_request (
    id uuid PRIMARY KEY,
    merchant_id text NOT NULL,
    case_id uuid NOT NULL,
    payment_id uuid NOT NULL,
    step_id uuid REFERENCES timeline_step,
    wish text NOT NULL CHECK (wish IN ('pause', 'downgrade', 'cancel', 'restore')),
    plan text,
    subscription jsonb NOT NULL,
    state text NOT NULL CHECK (state IN ('asked', 'overdue', 'acknowledged', 'refused', 'withdrawn')),
    asked integer NOT NULL CHECK (asked >= 1),
    asked_at timestamptz NOT NULL,
    answered_by text,
    note text CHECK (length(note) <= 1000),
    created_at timestamptz NOT NULL,
    finished_at timestamptz,
    UNIQUE (merchant_id, id),
    FOREIGN KEY (merchant_id, case_id) REFERENCES recovery_case (merchant_id, id),
    FOREIGN KEY (merchant_id, payment_id) REFERENCES payment (merchant_id, id)
);
CREATE UNIQUE INDEX subscription_request_once ON subscription_request (step_id) WHERE step_id IS NOT NULL;
CREATE INDEX subscription_request_case ON subscription_request (case_id, id);
CREATE INDEX subscription_request_list ON subscription_request (merchant_id, id);
CREATE INDEX subscription_request_open ON subscription_request (asked_at) WHERE state IN ('asked', 'overdue');
CREATE TRIGGER subscription_request_state_table BEFORE UPDATE ON subscription_request FOR EACH ROW
    EXECUTE FUNCTION refuse_illegal_state(
        'asked>acknowledged', 'asked>refused', 'asked>overdue', 'asked>withdrawn', 'overdue>acknowledged',
        'overdue>refused', 'overdue>withdrawn');
CREATE TRIGGER subscription_request_kept BEFORE DELETE ON subscription_request FOR EACH ROW
    EXECUTE FUNCTION refuse_change();

-- what was taken away is given back by one request at a time
CREATE UNIQUE INDEX subscription_request_one_restore ON subscription_request (case_id)
    WHERE wish = 'restore' AND state IN ('asked', 'overdue');

-- what else a task is about: a request to the billing system
ALTER TABLE human_task ADD COLUMN about_id uuid;

-- ---------------------------------------------------------------- charges that are to come

-- the month on a card, where it is known
ALTER TABLE credential ADD COLUMN expires_on text CHECK (expires_on ~ '^[0-9]{4}-(0[1-9]|1[0-2])$');

CREATE TABLE upcoming_charge (
    id uuid PRIMARY KEY,
    merchant_id text NOT NULL REFERENCES merchant,
    reference text NOT NULL CHECK (length(reference) BETWEEN 1 AND 255),
    customer jsonb NOT NULL,
    amount_minor bigint NOT NULL CHECK (amount_minor > 0),
    currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    charge_at timestamptz NOT NULL,
    method text NOT NULL,
    network text,
    gateway text NOT NULL,
    expires_on text CHECK (expires_on ~ '^[0-9]{4}-(0[1-9]|1[0-2])$'),
    card_told_at timestamptz NOT NULL,
    subscription jsonb NOT NULL,
    state text NOT NULL CHECK (state IN ('announced', 'made', 'called_off', 'failed', 'passed')),
    policy_name text,
    policy_digest text REFERENCES policy_text,
    announced_at timestamptz NOT NULL,
    changed_at timestamptz NOT NULL,
    version integer NOT NULL CHECK (version >= 1),
    finished_at timestamptz,
    UNIQUE (merchant_id, id),
    UNIQUE (merchant_id, reference),
    CHECK ((finished_at IS NULL) = (state = 'announced'))
) WITH (fillfactor = 80);
CREATE INDEX upcoming_charge_list ON upcoming_charge (merchant_id, id);
CREATE INDEX upcoming_charge_open ON upcoming_charge (charge_at) WHERE state = 'announced';
CREATE INDEX upcoming_charge_customer ON upcoming_charge (merchant_id, (customer ->> 'ref')) WHERE state = 'announced';
CREATE TRIGGER upcoming_charge_state_table BEFORE UPDATE ON upcoming_charge FOR EACH ROW
    EXECUTE FUNCTION refuse_illegal_state(
        'announced>made', 'announced>called_off', 'announced>failed', 'announced>passed', 'passed>made');
CREATE TRIGGER upcoming_charge_kept BEFORE DELETE ON upcoming_charge FOR EACH ROW EXECUTE FUNCTION refuse_change();

ALTER TABLE decision
    ADD COLUMN charge_id uuid,
    ADD FOREIGN KEY (merchant_id, charge_id) REFERENCES upcoming_charge (merchant_id, id),
    DROP CONSTRAINT decision_of_one,
    ADD CONSTRAINT decision_of_one CHECK (num_nonnulls(case_id, refund_id, charge_id) = 1);
CREATE INDEX decision_charge ON decision (charge_id, id) WHERE charge_id IS NOT NULL;

CREATE TABLE notice (
    id uuid PRIMARY KEY,
    merchant_id text NOT NULL,
    charge_id uuid NOT NULL,
    key text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('message', 'human_task')),
    state text NOT NULL CHECK (state IN ('planned', 'done', 'skipped')),
    due_at timestamptz NOT NULL,
    latest_at timestamptz NOT NULL,
    rule text NOT NULL,
    decision_id uuid NOT NULL REFERENCES decision,
    detail jsonb NOT NULL,
    had_turn boolean NOT NULL,
    skipped_because text CHECK (length(skipped_because) <= 1000),
    held_until timestamptz,
    held_because text CHECK (length(held_because) <= 500),
    created_at timestamptz NOT NULL,
    finished_at timestamptz,
    UNIQUE (merchant_id, id),
    CHECK ((finished_at IS NULL) = (state = 'planned')),
    FOREIGN KEY (merchant_id, charge_id) REFERENCES upcoming_charge (merchant_id, id)
) WITH (fillfactor = 80);
-- what is planned, or had its turn, under a key is neither planned nor done under it again
CREATE UNIQUE INDEX notice_once ON notice (charge_id, key) WHERE state <> 'skipped' OR had_turn;
CREATE INDEX notice_charge ON notice (charge_id);
CREATE INDEX notice_open ON notice (due_at) WHERE state = 'planned';
CREATE TRIGGER notice_state_table BEFORE UPDATE ON notice FOR EACH ROW
    EXECUTE FUNCTION refuse_illegal_state('planned>done', 'planned>skipped');
CREATE TRIGGER notice_kept BEFORE DELETE ON notice FOR EACH ROW EXECUTE FUNCTION refuse_change();
