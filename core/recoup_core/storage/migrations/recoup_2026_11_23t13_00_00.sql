SET LOCAL lock_timeout = '5s';

-- ---------------------------------------------------------------- versions of policies

CREATE TABLE policy_version (
    id uuid PRIMARY KEY,
    -- null: the house's own, in force for every merchant that has none of the same kind and name
    merchant_id text REFERENCES merchant,
    kind text NOT NULL CHECK (kind ~ '^[a-z]{1,20}$'),
    name text NOT NULL CHECK (length(name) BETWEEN 1 AND 100),
    digest text NOT NULL REFERENCES policy_text,
    state text NOT NULL CHECK (state IN ('draft', 'shadow', 'experiment', 'live', 'retired')),
    origin text NOT NULL CHECK (origin IN ('file', 'api', 'cli')),
    author text NOT NULL CHECK (length(author) BETWEEN 1 AND 200),
    note text CHECK (length(note) <= 1000),
    created_at timestamptz NOT NULL,
    changed_at timestamptz NOT NULL,
    -- when it last went live; kept when it is retired, so that a rollback finds what was live before
    live_since timestamptz,
    retired_at timestamptz,
    -- the number under which it last went live: of those once live, the highest came last, whatever clocks say
    live_number bigint,
    CHECK (state <> 'live' OR live_since IS NOT NULL),
    CHECK ((state = 'retired') = (retired_at IS NOT NULL))
);
CREATE UNIQUE INDEX policy_version_text ON policy_version (coalesce(merchant_id, ''), digest);
CREATE UNIQUE INDEX policy_version_one_live ON policy_version (coalesce(merchant_id, ''), kind, name)
    WHERE state = 'live';
CREATE UNIQUE INDEX policy_version_one_experiment ON policy_version (coalesce(merchant_id, ''), kind, name)
    WHERE state = 'experiment';
CREATE INDEX policy_version_in_use ON policy_version (id) WHERE state IN ('shadow', 'experiment', 'live');
CREATE INDEX policy_version_list ON policy_version (coalesce(merchant_id, ''), id);

CREATE TRIGGER policy_version_state_table BEFORE UPDATE ON policy_version FOR EACH ROW
    EXECUTE FUNCTION refuse_illegal_state(
        'draft>shadow', 'draft>experiment', 'draft>live', 'draft>retired',
        'shadow>experiment', 'shadow>live', 'shadow>retired',
        'experiment>shadow', 'experiment>live', 'experiment>retired',
        'live>retired', 'retired>shadow', 'retired>live');

CREATE FUNCTION refuse_version_edit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (NEW.id, NEW.merchant_id, NEW.kind, NEW.name, NEW.digest, NEW.origin, NEW.author, NEW.note, NEW.created_at)
        IS DISTINCT FROM
        (OLD.id, OLD.merchant_id, OLD.kind, OLD.name, OLD.digest, OLD.origin, OLD.author, OLD.note, OLD.created_at) THEN
        RAISE EXCEPTION 'what a policy version is and who made it is never edited'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER policy_version_fixed BEFORE UPDATE ON policy_version FOR EACH ROW EXECUTE FUNCTION refuse_version_edit();
CREATE TRIGGER policy_version_kept BEFORE DELETE ON policy_version FOR EACH ROW EXECUTE FUNCTION refuse_change();

-- What is in use has a number: whoever decides compares it with the one its compiled policies were read under.
CREATE TABLE policy_epoch (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    number bigint NOT NULL
);
INSERT INTO policy_epoch (number) VALUES (1);
CREATE TRIGGER policy_epoch_kept BEFORE DELETE ON policy_epoch FOR EACH ROW EXECUTE FUNCTION refuse_change();

CREATE FUNCTION move_policy_epoch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE policy_epoch SET number = number + 1;
    RETURN NULL;
END $$;
-- by the database, so that a repair by hand is noticed by every process, too
CREATE TRIGGER policy_version_new_epoch AFTER INSERT ON policy_version FOR EACH ROW
    WHEN (NEW.state IN ('shadow', 'experiment', 'live')) EXECUTE FUNCTION move_policy_epoch();
CREATE TRIGGER policy_version_moves_epoch AFTER UPDATE OF state ON policy_version FOR EACH ROW
    WHEN (NEW.state <> OLD.state AND (NEW.state IN ('shadow', 'experiment', 'live')
                                      OR OLD.state IN ('shadow', 'experiment', 'live')))
    EXECUTE FUNCTION move_policy_epoch();

CREATE FUNCTION number_activation() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.live_number := (SELECT number FROM policy_epoch);
    RETURN NEW;
END $$;
CREATE TRIGGER policy_version_numbered_new BEFORE INSERT ON policy_version FOR EACH ROW
    WHEN (NEW.state = 'live') EXECUTE FUNCTION number_activation();
CREATE TRIGGER policy_version_numbered BEFORE UPDATE OF state ON policy_version FOR EACH ROW
    WHEN (NEW.state = 'live' AND OLD.state <> 'live') EXECUTE FUNCTION number_activation();

-- What was last put in force from the folder of files: a file that has not changed since never undoes what was
-- activated by other ways.
CREATE TABLE policy_file (
    kind text NOT NULL,
    name text NOT NULL,
    digest text NOT NULL REFERENCES policy_text,
    applied_at timestamptz NOT NULL,
    PRIMARY KEY (kind, name)
);

-- ---------------------------------------------------------------- experiments

CREATE TABLE policy_experiment (
    id uuid PRIMARY KEY,
    merchant_id text REFERENCES merchant,
    kind text NOT NULL,
    name text NOT NULL,
    version_id uuid NOT NULL REFERENCES policy_version,
    control_digest text NOT NULL REFERENCES policy_text,
    -- how many of 10,000 cases go to the version
    share_bp integer NOT NULL CHECK (share_bp BETWEEN 0 AND 10000),
    salt text NOT NULL CHECK (length(salt) BETWEEN 1 AND 64),
    maturity_days integer NOT NULL CHECK (maturity_days BETWEEN 0 AND 366),
    min_cases integer NOT NULL CHECK (min_cases > 0),
    started_at timestamptz NOT NULL,
    stopped_at timestamptz,
    stopped_because text,
    winner text CHECK (winner IN ('control', 'treatment')),
    -- what the stop rule said when a person was last asked about it
    told text,
    CHECK ((stopped_at IS NULL) = (stopped_because IS NULL)),
    CHECK (winner IS NULL OR stopped_at IS NOT NULL)
);
CREATE UNIQUE INDEX policy_experiment_one_running ON policy_experiment (coalesce(merchant_id, ''), kind, name)
    WHERE stopped_at IS NULL;
CREATE INDEX policy_experiment_list ON policy_experiment (coalesce(merchant_id, ''), id);

CREATE FUNCTION refuse_experiment_edit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- the share may be ramped and the experiment stopped, once; which case is in which arm never changes under it
    IF (NEW.id, NEW.merchant_id, NEW.kind, NEW.name, NEW.version_id, NEW.control_digest, NEW.salt, NEW.started_at)
        IS DISTINCT FROM
        (OLD.id, OLD.merchant_id, OLD.kind, OLD.name, OLD.version_id, OLD.control_digest, OLD.salt, OLD.started_at)
        OR OLD.stopped_at IS NOT NULL THEN
        RAISE EXCEPTION 'what an experiment compares is never edited'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER policy_experiment_fixed BEFORE UPDATE ON policy_experiment FOR EACH ROW
    EXECUTE FUNCTION refuse_experiment_edit();
CREATE TRIGGER policy_experiment_kept BEFORE DELETE ON policy_experiment FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER policy_experiment_moves_epoch AFTER INSERT OR UPDATE ON policy_experiment FOR EACH ROW
    EXECUTE FUNCTION move_policy_epoch();

-- The periods in which the share did not change: arms are compared inside them only.
CREATE TABLE policy_experiment_ramp (
    experiment_id uuid NOT NULL REFERENCES policy_experiment,
    number integer NOT NULL CHECK (number > 0),
    share_bp integer NOT NULL CHECK (share_bp BETWEEN 0 AND 10000),
    since timestamptz NOT NULL,
    PRIMARY KEY (experiment_id, number)
);
CREATE TRIGGER policy_experiment_ramp_fixed BEFORE UPDATE OR DELETE ON policy_experiment_ramp FOR EACH ROW
    EXECUTE FUNCTION refuse_change();

-- ---------------------------------------------------------------- what a case is pinned to

ALTER TABLE recovery_case
    ADD COLUMN experiment_id uuid REFERENCES policy_experiment,
    ADD COLUMN arm text CHECK (arm IN ('control', 'treatment')),
    ADD COLUMN experiment_ramp integer,
    ADD COLUMN dunning_name text,
    ADD COLUMN dunning_digest text REFERENCES policy_text,
    -- how often it was moved to other versions by an explicit, audited act
    ADD COLUMN migrations integer NOT NULL DEFAULT 0 CHECK (migrations >= 0),
    ADD CHECK ((experiment_id IS NULL) = (arm IS NULL)),
    ADD CHECK ((experiment_id IS NULL) = (experiment_ramp IS NULL)),
    ADD CHECK ((dunning_name IS NULL) = (dunning_digest IS NULL));
CREATE INDEX recovery_case_experiment ON recovery_case (experiment_id, id) WHERE experiment_id IS NOT NULL;
CREATE INDEX recovery_case_running_policy ON recovery_case (policy_digest, id) WHERE state IN ('open', 'paused');

CREATE OR REPLACE FUNCTION refuse_case_repin() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (NEW.payment_id, NEW.merchant_id, NEW.opened_at)
        IS DISTINCT FROM (OLD.payment_id, OLD.merchant_id, OLD.opened_at) THEN
        RAISE EXCEPTION 'a case stays with the payment it was opened for' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF NEW.migrations NOT IN (OLD.migrations, OLD.migrations + 1) THEN
        RAISE EXCEPTION 'the moves of a case are counted one by one' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF NEW.migrations = OLD.migrations AND
        (NEW.policy_name, NEW.policy_digest, NEW.dunning_name, NEW.dunning_digest)
        IS DISTINCT FROM (OLD.policy_name, OLD.policy_digest, OLD.dunning_name, OLD.dunning_digest) THEN
        RAISE EXCEPTION 'a case keeps the policy it opened with' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF (NEW.experiment_id, NEW.arm, NEW.experiment_ramp)
        IS DISTINCT FROM (OLD.experiment_id, OLD.arm, OLD.experiment_ramp) THEN
        RAISE EXCEPTION 'a case keeps the arm it opened in, whatever policy it is moved to'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;

-- ---------------------------------------------------------------- decisions, and what other versions would have decided

ALTER TABLE decision ADD COLUMN kind text NOT NULL DEFAULT 'retry';
-- replay walks all decisions in this order, page by page; a BRIN would have to sort the rest for every page
CREATE INDEX decision_replay ON decision (decided_at, id);

CREATE TABLE shadow_decision (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    version_id uuid NOT NULL REFERENCES policy_version,
    decision_id uuid NOT NULL REFERENCES decision,
    merchant_id text NOT NULL,
    case_id uuid NOT NULL,
    agrees boolean NOT NULL,
    outcome jsonb NOT NULL,
    note text,
    decided_at timestamptz NOT NULL,
    FOREIGN KEY (merchant_id, case_id) REFERENCES recovery_case (merchant_id, id)
);
CREATE UNIQUE INDEX shadow_decision_once ON shadow_decision (version_id, decision_id);
CREATE INDEX shadow_decision_differs ON shadow_decision (version_id, id) WHERE NOT agrees;
CREATE TRIGGER shadow_decision_fixed BEFORE UPDATE ON shadow_decision FOR EACH ROW EXECUTE FUNCTION refuse_change();

-- How far each shadow has followed the decisions.
CREATE TABLE policy_shadow (
    version_id uuid PRIMARY KEY REFERENCES policy_version,
    seen_until timestamptz NOT NULL
);
-- How many it has looked at, merchant by merchant: none is told about another's.
CREATE TABLE policy_shadow_count (
    version_id uuid NOT NULL REFERENCES policy_version,
    merchant_id text NOT NULL REFERENCES merchant,
    decided bigint NOT NULL DEFAULT 0,
    differed bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (version_id, merchant_id),
    CHECK (differed BETWEEN 0 AND decided)
);

-- ---------------------------------------------------------------- dunning steps on the one timeline

ALTER TABLE timeline_step
    -- what the step is within its policy: planned again only after it was skipped
    ADD COLUMN key text,
    -- what it says or does: template and channels, plan, the task's text
    ADD COLUMN detail jsonb NOT NULL DEFAULT '{}',
    -- the retry it precedes or follows
    ADD COLUMN retry_step_id uuid REFERENCES timeline_step,
    ADD CHECK ((kind = 'retry') = (key IS NULL));
CREATE UNIQUE INDEX timeline_step_once ON timeline_step (case_id, key) WHERE key IS NOT NULL AND state <> 'skipped';
CREATE INDEX timeline_step_other_due ON timeline_step (due_at) WHERE kind <> 'retry' AND state = 'planned';
-- what is done by writing it down goes from planned to done at once; a retry is under way in between
DROP TRIGGER timeline_step_state_table ON timeline_step;
CREATE TRIGGER timeline_step_state_table BEFORE UPDATE ON timeline_step FOR EACH ROW
    EXECUTE FUNCTION refuse_illegal_state('planned>running', 'planned>done', 'planned>skipped',
                                          'running>done', 'running>skipped');
CREATE FUNCTION refuse_retry_unmade() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'a retry can''t go from planned to done' USING ERRCODE = 'integrity_constraint_violation';
END $$;
CREATE TRIGGER timeline_step_retry_made BEFORE UPDATE ON timeline_step FOR EACH ROW
    WHEN (NEW.kind = 'retry' AND OLD.state = 'planned' AND NEW.state = 'done') EXECUTE FUNCTION refuse_retry_unmade();
