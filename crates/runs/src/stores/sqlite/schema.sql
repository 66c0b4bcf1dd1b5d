CREATE TABLE blob (
    id TEXT PRIMARY KEY,
    content BLOB NOT NULL,
    -- Nobody may name it yet: it is kept for a while after it was put.
    put_at INTEGER NOT NULL
) STRICT;
CREATE INDEX blob_put ON blob (put_at, id);
-- Which runs name which content.
CREATE TABLE blob_use (
    run_id TEXT NOT NULL,
    blob TEXT NOT NULL,
    PRIMARY KEY (run_id, blob)
) STRICT, WITHOUT ROWID;
CREATE INDEX blob_use_blob ON blob_use (blob);

CREATE TABLE workflow (
    id INTEGER PRIMARY KEY,
    owner TEXT NOT NULL,
    tag TEXT NOT NULL,
    last_seq INTEGER NOT NULL,
    created_by TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;
CREATE TABLE version (
    workflow INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    artifact_id TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    -- What it adds, and the whole workflow with it.
    content TEXT NOT NULL,
    whole TEXT NOT NULL,
    -- The version that a patch is made for.
    parent INTEGER,
    depth INTEGER NOT NULL,
    op_count INTEGER NOT NULL,
    description TEXT NOT NULL,
    created_by TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (workflow, seq)
) STRICT, WITHOUT ROWID;
CREATE INDEX version_content ON version (content);
CREATE INDEX version_whole ON version (whole);
CREATE TABLE tag (
    tag TEXT NOT NULL,
    owner TEXT NOT NULL,
    workflow INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    version INTEGER NOT NULL,
    moved_at INTEGER NOT NULL,
    created_by TEXT NOT NULL,
    moved_by TEXT NOT NULL,
    PRIMARY KEY (owner, tag)
) STRICT, WITHOUT ROWID;
CREATE TABLE tag_move (
    workflow INTEGER NOT NULL,
    version INTEGER NOT NULL,
    from_seq INTEGER,
    to_seq INTEGER NOT NULL,
    moved_by TEXT NOT NULL,
    moved_at INTEGER NOT NULL,
    why TEXT NOT NULL,
    PRIMARY KEY (workflow, version)
) STRICT, WITHOUT ROWID;

CREATE TABLE run (
    run_id TEXT PRIMARY KEY,
    shard INTEGER NOT NULL,
    owner TEXT NOT NULL,
    submitted_by TEXT NOT NULL,
    tag TEXT,
    base_kind TEXT NOT NULL,
    base_ref TEXT NOT NULL,
    tags_snapshot TEXT NOT NULL,
    labels TEXT NOT NULL,
    workflow TEXT NOT NULL,
    start BLOB NOT NULL,
    priority INTEGER NOT NULL,
    parent_run TEXT,
    parent_key TEXT,
    keep_ms INTEGER NOT NULL,
    keep_last INTEGER NOT NULL,
    status TEXT NOT NULL,
    error TEXT,
    submitted_at INTEGER NOT NULL,
    started_at INTEGER,
    ended_at INTEGER,
    -- It needs no runner's memory.
    idle INTEGER NOT NULL,
    -- When it is deleted, once it has ended.
    delete_at INTEGER
) STRICT;
CREATE INDEX run_time ON run (submitted_at, run_id);
CREATE INDEX run_owner ON run (owner, submitted_at, run_id);
CREATE INDEX run_tag ON run (tag, submitted_at, run_id);
CREATE INDEX run_owner_tag ON run (owner, tag, submitted_at, run_id);
CREATE INDEX run_status ON run (status, submitted_at, run_id);
CREATE INDEX run_error ON run (submitted_at, run_id) WHERE error IS NOT NULL;
CREATE INDEX run_queued ON run (priority, owner, (parent_run IS NULL), submitted_at, run_id, shard) WHERE status = 'QUEUED';
CREATE INDEX run_running ON run (shard) WHERE status = 'RUNNING' AND idle = 0;
CREATE INDEX run_under_way ON run (owner)
    WHERE started_at IS NOT NULL AND ended_at IS NULL AND parent_run IS NULL;
CREATE INDEX run_delete ON run (delete_at) WHERE delete_at IS NOT NULL;
CREATE INDEX run_last ON run (owner, tag, submitted_at, keep_last) WHERE keep_last > 0 AND ended_at IS NOT NULL;

CREATE TABLE run_label (
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    submitted_at INTEGER NOT NULL,
    run_id TEXT NOT NULL,
    PRIMARY KEY (key, value, submitted_at, run_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX run_label_run ON run_label (run_id);
CREATE TABLE idempotency (
    owner TEXT NOT NULL,
    key TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    run_id TEXT NOT NULL,
    PRIMARY KEY (owner, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_run ON idempotency (run_id);

-- Node records by their keys; the header is the one with the empty key, and has the active nodes.
CREATE TABLE node (
    run_id TEXT NOT NULL,
    key TEXT NOT NULL,
    record BLOB NOT NULL,
    active TEXT,
    PRIMARY KEY (run_id, key)
) STRICT, WITHOUT ROWID;
-- Events of one run that follow each other, up to the number `seq`, a JSON array.
CREATE TABLE event (
    shard INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    run_id TEXT NOT NULL,
    events BLOB NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (shard, seq)
) STRICT, WITHOUT ROWID;
CREATE INDEX event_run ON event (run_id, seq);
CREATE TABLE approval (
    key TEXT PRIMARY KEY,
    run_id TEXT NOT NULL,
    shard INTEGER NOT NULL,
    node_id TEXT,
    message TEXT NOT NULL,
    options TEXT NOT NULL,
    context TEXT NOT NULL,
    due_at INTEGER,
    -- The next reminder, step of escalation, or end.
    next_at INTEGER,
    state TEXT NOT NULL,
    decisions TEXT NOT NULL,
    escalated INTEGER NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX approval_time ON approval (created_at, key);
CREATE INDEX approval_pending ON approval (created_at, key) WHERE state = 'pending';
CREATE INDEX approval_run ON approval (run_id);
CREATE INDEX approval_next ON approval (next_at, shard) WHERE state = 'pending' AND next_at IS NOT NULL;
CREATE TABLE timer (
    run_id TEXT NOT NULL,
    key TEXT NOT NULL,
    shard INTEGER NOT NULL,
    due_at INTEGER NOT NULL,
    PRIMARY KEY (run_id, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX timer_due ON timer (due_at, shard);
-- Commands to the owners of shards, and their answers.
CREATE TABLE signal (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    shard INTEGER NOT NULL,
    run_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    body TEXT NOT NULL,
    status INTEGER,
    answer TEXT,
    answered_at INTEGER
) STRICT;
CREATE INDEX signal_waiting ON signal (number, shard) WHERE answered_at IS NULL;
CREATE INDEX signal_answered ON signal (answered_at) WHERE answered_at IS NOT NULL;
CREATE INDEX signal_run ON signal (run_id);
CREATE TABLE outbox (
    shard INTEGER NOT NULL,
    number INTEGER NOT NULL,
    run_id TEXT NOT NULL,
    effect BLOB NOT NULL,
    PRIMARY KEY (shard, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE runner (name TEXT PRIMARY KEY, expires_at INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE shard (
    shard INTEGER PRIMARY KEY,
    runner TEXT,
    epoch INTEGER NOT NULL,
    -- The numbers of its last event, and of the last one that was deleted.
    last_seq INTEGER NOT NULL,
    deleted_seq INTEGER NOT NULL
) STRICT;
WITH RECURSIVE number (shard) AS (SELECT 0 UNION ALL SELECT shard + 1 FROM number WHERE shard < 63)
INSERT INTO shard (shard, runner, epoch, last_seq, deleted_seq) SELECT shard, NULL, 0, 0, 0 FROM number;
-- What `check` writes.
CREATE TABLE checked (id INTEGER PRIMARY KEY, at INTEGER NOT NULL) STRICT;
