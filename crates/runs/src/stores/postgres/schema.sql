CREATE TABLE blob (
    id text COLLATE "C" PRIMARY KEY,
    content bytea NOT NULL,
    -- Nobody may name it yet: it is kept for a while after it was put.
    put_at bigint NOT NULL
);
CREATE INDEX blob_put ON blob (put_at, id);
-- Which runs name which content.
CREATE TABLE blob_use (
    run_id text COLLATE "C" NOT NULL,
    blob text COLLATE "C" NOT NULL,
    PRIMARY KEY (run_id, blob)
);
CREATE INDEX blob_use_blob ON blob_use (blob);

CREATE TABLE workflow (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    owner text COLLATE "C" NOT NULL,
    tag text COLLATE "C" NOT NULL,
    last_seq bigint NOT NULL,
    created_by text NOT NULL,
    created_at bigint NOT NULL
);
CREATE TABLE version (
    workflow bigint NOT NULL,
    seq bigint NOT NULL,
    artifact_id text COLLATE "C" NOT NULL UNIQUE,
    kind text NOT NULL,
    -- What it adds, and the whole workflow with it.
    content text COLLATE "C" NOT NULL,
    whole text COLLATE "C" NOT NULL,
    -- The version that a patch is made for.
    parent bigint,
    depth integer NOT NULL,
    op_count integer NOT NULL,
    description text NOT NULL,
    created_by text NOT NULL,
    created_at bigint NOT NULL,
    PRIMARY KEY (workflow, seq)
);
CREATE INDEX version_content ON version (content);
CREATE INDEX version_whole ON version (whole);
CREATE TABLE tag (
    tag text COLLATE "C" NOT NULL,
    owner text COLLATE "C" NOT NULL,
    workflow bigint NOT NULL,
    seq bigint NOT NULL,
    version bigint NOT NULL,
    moved_at bigint NOT NULL,
    created_by text NOT NULL,
    moved_by text NOT NULL,
    PRIMARY KEY (owner, tag)
);
CREATE TABLE tag_move (
    workflow bigint NOT NULL,
    version bigint NOT NULL,
    from_seq bigint,
    to_seq bigint NOT NULL,
    moved_by text NOT NULL,
    moved_at bigint NOT NULL,
    why text NOT NULL,
    PRIMARY KEY (workflow, version)
);

CREATE TABLE run (
    run_id text COLLATE "C" PRIMARY KEY,
    shard smallint NOT NULL,
    owner text COLLATE "C" NOT NULL,
    submitted_by text NOT NULL,
    tag text COLLATE "C",
    base_kind text NOT NULL,
    base_ref text NOT NULL,
    tags_snapshot text NOT NULL,
    labels text NOT NULL,
    workflow text NOT NULL,
    start bytea NOT NULL,
    -- 0 is taken first.
    rank smallint NOT NULL,
    parent_run text COLLATE "C",
    parent_key text,
    keep_ms bigint NOT NULL,
    keep_last bigint NOT NULL,
    status text COLLATE "C" NOT NULL,
    error text,
    submitted_at bigint NOT NULL,
    started_at bigint,
    ended_at bigint,
    -- It needs no runner's memory.
    idle boolean NOT NULL,
    -- When it is deleted, once it has ended.
    delete_at bigint
);
CREATE INDEX run_time ON run (submitted_at, run_id);
CREATE INDEX run_owner ON run (owner, submitted_at, run_id);
CREATE INDEX run_tag ON run (tag, submitted_at, run_id);
CREATE INDEX run_owner_tag ON run (owner, tag, submitted_at, run_id);
CREATE INDEX run_status ON run (status, submitted_at, run_id);
CREATE INDEX run_error ON run (submitted_at, run_id) WHERE error IS NOT NULL;
CREATE INDEX run_queued ON run (rank, owner, (parent_run IS NULL), submitted_at, run_id, shard)
    WHERE status = 'QUEUED';
CREATE INDEX run_running ON run (shard) WHERE status = 'RUNNING' AND NOT idle;
CREATE INDEX run_under_way ON run (owner)
    WHERE started_at IS NOT NULL AND ended_at IS NULL AND parent_run IS NULL;
CREATE INDEX run_delete ON run (delete_at) WHERE delete_at IS NOT NULL;
CREATE INDEX run_last ON run (owner, tag, submitted_at) WHERE keep_last > 0 AND ended_at IS NOT NULL;

CREATE TABLE run_label (
    key text COLLATE "C" NOT NULL,
    value text COLLATE "C" NOT NULL,
    submitted_at bigint NOT NULL,
    run_id text COLLATE "C" NOT NULL,
    PRIMARY KEY (key, value, submitted_at, run_id)
);
CREATE INDEX run_label_run ON run_label (run_id);
CREATE TABLE idempotency (
    owner text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    fingerprint text NOT NULL,
    run_id text COLLATE "C" NOT NULL,
    PRIMARY KEY (owner, key)
);
CREATE INDEX idempotency_run ON idempotency (run_id);

-- Node records by their keys; the header is the one with the empty key, and has the active nodes. A record
-- is written anew in its place, next to its former self.
CREATE TABLE node (
    run_id text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    record bytea NOT NULL,
    active text,
    PRIMARY KEY (run_id, key)
) WITH (fillfactor = 70);
-- Events of one run that follow each other, up to the number `seq`, a JSON array. A partition has those of
-- a week; without one they go to the default.
CREATE TABLE event (
    shard smallint NOT NULL,
    seq bigint NOT NULL,
    run_id text COLLATE "C" NOT NULL,
    events bytea NOT NULL,
    at bigint NOT NULL,
    PRIMARY KEY (shard, seq, at)
) PARTITION BY RANGE (at);
CREATE INDEX event_run ON event (run_id, seq);
-- What is written often is not compressed.
ALTER TABLE event ALTER events SET STORAGE EXTERNAL;
ALTER TABLE node ALTER record SET STORAGE EXTERNAL;
CREATE TABLE event_default PARTITION OF event DEFAULT;
CREATE TABLE approval (
    key text COLLATE "C" PRIMARY KEY,
    run_id text COLLATE "C" NOT NULL,
    shard smallint NOT NULL,
    node_id text,
    message text NOT NULL,
    options text NOT NULL,
    context text NOT NULL,
    due_at bigint,
    -- The next reminder, step of escalation, or end.
    next_at bigint,
    state text NOT NULL,
    decisions text NOT NULL,
    escalated bigint NOT NULL,
    created_at bigint NOT NULL
);
CREATE INDEX approval_time ON approval (created_at, key);
CREATE INDEX approval_pending ON approval (created_at, key) WHERE state = 'pending';
CREATE INDEX approval_run ON approval (run_id);
CREATE INDEX approval_next ON approval (shard, next_at) WHERE state = 'pending' AND next_at IS NOT NULL;
CREATE TABLE timer (
    run_id text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    shard smallint NOT NULL,
    due_at bigint NOT NULL,
    PRIMARY KEY (run_id, key)
);
CREATE INDEX timer_due ON timer (shard, due_at);
-- Commands to the owners of shards, and their answers.
CREATE TABLE signal (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id text COLLATE "C" NOT NULL UNIQUE,
    shard smallint NOT NULL,
    run_id text COLLATE "C" NOT NULL,
    kind text NOT NULL,
    body text NOT NULL,
    status integer,
    answer text,
    answered_at bigint
);
CREATE INDEX signal_waiting ON signal (shard, number) WHERE answered_at IS NULL;
CREATE INDEX signal_answered ON signal (answered_at) WHERE answered_at IS NOT NULL;
CREATE INDEX signal_run ON signal (run_id);
CREATE TABLE outbox (
    shard smallint NOT NULL,
    number bigint NOT NULL,
    run_id text NOT NULL,
    effect bytea NOT NULL,
    PRIMARY KEY (shard, number)
);

CREATE TABLE runner (name text COLLATE "C" PRIMARY KEY, expires_at timestamptz NOT NULL);
CREATE TABLE shard (
    shard smallint PRIMARY KEY,
    runner text COLLATE "C",
    epoch bigint NOT NULL,
    -- The numbers of its last event, and of the last one that was deleted.
    last_seq bigint NOT NULL,
    deleted_seq bigint NOT NULL
) WITH (fillfactor = 10);
INSERT INTO shard (shard, runner, epoch, last_seq, deleted_seq)
    SELECT number, NULL, 0, 0, 0 FROM generate_series(0, 63) AS number;
-- What `check` writes.
CREATE TABLE checked (id integer PRIMARY KEY, at timestamptz NOT NULL);
