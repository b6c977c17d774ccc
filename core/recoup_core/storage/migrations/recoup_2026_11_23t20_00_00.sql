SET LOCAL lock_timeout = '5s';

-- ---------------------------------------------------------------- credentials

ALTER TABLE credential
    -- names one card at all gateways (EMVCo's payment account reference)
    ADD COLUMN par text CHECK (length(par) BETWEEN 1 AND 64),
    ADD COLUMN blocked_because text CHECK (length(blocked_because) BETWEEN 1 AND 200),
    ADD CONSTRAINT credential_blocked_check CHECK (blocked_because IS NULL OR NOT valid);
CREATE INDEX credential_par ON credential (merchant_id, par) WHERE par IS NOT NULL;
-- what a gateway's event about a token is about, whosever it is
CREATE INDEX credential_token ON credential (merchant_id, gateway, token);

-- ---------------------------------------------------------------- tries on one object of a gateway

ALTER TABLE attempt
    ADD COLUMN try_ref text CHECK (length(try_ref) BETWEEN 1 AND 255),
    -- collected, and taken back by the customer's bank: it stays succeeded and counts as failed
    ADD COLUMN returned_at timestamptz,
    ADD CONSTRAINT attempt_returned_check CHECK (returned_at IS NULL OR (state = 'succeeded' AND decline IS NOT NULL));

-- failures told of one debt: whoever opens its case, at once or when its owner has given up, counts them all
CREATE INDEX inbound_event_failure ON inbound_event (gateway, (body #>> '{failure,payment_reference}'))
    WHERE body #>> '{failure,payment_reference}' IS NOT NULL;
-- who tries a debt again that is no payment of ours yet: asked once, answered when its case opens
CREATE INDEX human_task_owner ON human_task (merchant_id, reason)
    WHERE kind = 'two_owners' AND payment_id IS NULL AND resolved_at IS NULL;

-- ---------------------------------------------------------------- money that the customer's bank took back

ALTER TABLE capture
    DROP CONSTRAINT capture_state_check,
    ADD CONSTRAINT capture_state_check CHECK (state IN ('authorized', 'captured', 'voided', 'returned'));
DROP TRIGGER capture_state_table ON capture;
CREATE TRIGGER capture_state_table BEFORE UPDATE ON capture FOR EACH ROW
    EXECUTE FUNCTION refuse_illegal_state('authorized>captured', 'authorized>voided', 'captured>returned');

DROP TRIGGER payment_state_table ON payment;
CREATE TRIGGER payment_state_table BEFORE UPDATE ON payment FOR EACH ROW
    EXECUTE FUNCTION refuse_illegal_state('owed>paid', 'owed>closed', 'closed>paid', 'paid>owed');

DROP TRIGGER recovery_case_state_table ON recovery_case;
CREATE TRIGGER recovery_case_state_table BEFORE UPDATE ON recovery_case FOR EACH ROW
    EXECUTE FUNCTION refuse_illegal_state(
        'open>paused', 'open>recovered', 'open>exhausted', 'open>written_off', 'open>canceled',
        'paused>open', 'paused>recovered', 'paused>exhausted', 'paused>written_off', 'paused>canceled',
        'exhausted>recovered', 'exhausted>open', 'exhausted>written_off', 'exhausted>canceled',
        'recovered>open', 'written_off>recovered', 'canceled>recovered');
