/* schema.c - see schema.h */
#include "run/schema.h"

const char nas__run_schema[] =
    "PRAGMA page_size=4096; PRAGMA application_id=0x45535041; PRAGMA user_version=100;"
    "BEGIN;"
    "CREATE TABLE run(id INTEGER PRIMARY KEY CHECK(id=1), uuid TEXT, name TEXT, kind TEXT, strategy TEXT, space TEXT, "
    "space_hash TEXT, data TEXT, seed INT, threads INT, ranks INT, command TEXT, config TEXT, machine TEXT, version "
    "TEXT, "
    "created_unix_ms INT, segment INT, status TEXT, status_detail TEXT, pid INT, pid_start INT, boot_id TEXT, host "
    "TEXT, "
    "heartbeat_unix_ms INT, active_ms INT, cpu_ms INT, energy_j REAL, peak_rss_bytes INT, epoch INT, epochs INT, step "
    "INT, "
    "steps_per_epoch INT, log_every INT, primary_metric INT, best_evaluation INT, best_score REAL, evaluations INT, "
    "trend TEXT, "
    "warnings INT, errors INT);"
    "CREATE TABLE metric(id INTEGER PRIMARY KEY, name TEXT, split TEXT, unit TEXT, direction INT, per TEXT, "
    "UNIQUE(name,split,per));"
    "CREATE TABLE tick(step INTEGER PRIMARY KEY, epoch INT, t_ms INT, unix_ms INT);"
    "CREATE TABLE scalar(metric_id INT, step INT, value REAL, PRIMARY KEY(metric_id,step)) WITHOUT ROWID;"
    "CREATE TABLE epoch(epoch INTEGER PRIMARY KEY, step INT, t_ms INT, unix_ms INT, entropy REAL, skip_share REAL, "
    "rank_stable INT, images_per_s REAL, derived_architecture INT);"
    "CREATE TABLE epoch_metric(epoch INT, metric_id INT, value REAL, PRIMARY KEY(epoch,metric_id)) WITHOUT ROWID;"
    "CREATE TABLE stage(id INTEGER PRIMARY KEY, parent INT, name TEXT, repeat INT);"
    "CREATE TABLE node(id INTEGER PRIMARY KEY, stage_id INT, label TEXT, kind TEXT);"
    "CREATE TABLE mutable(id INTEGER PRIMARY KEY, key TEXT UNIQUE, kind TEXT, candidates INT, chosen_min INT, "
    "chosen_max INT, "
    "code_offset INT, code_bytes INT);"
    "CREATE TABLE candidate(mutable_id INT, idx INT, name TEXT, slot INT, params INT, macs INT, latency_ms REAL, "
    "PRIMARY KEY(mutable_id,idx)) WITHOUT ROWID;"
    "CREATE TABLE edge(id INTEGER PRIMARY KEY, stage_id INT, source INT, target INT, mutable_id INT, candidate_idx "
    "INT);"
    "CREATE TABLE probability(epoch INT, mutable_id INT, p BLOB, argmax INT, entropy REAL, PRIMARY "
    "KEY(epoch,mutable_id)) "
    "WITHOUT ROWID;"
    "CREATE TABLE architecture(id INTEGER PRIMARY KEY, hash BLOB UNIQUE, code BLOB, params INT, macs INT, latency_ms "
    "REAL, "
    "latency_kind INT, first_epoch INT);"
    "CREATE TABLE evaluation(id INTEGER PRIMARY KEY, architecture_id INT, epoch INT, step INT, t_ms INT, metric_id "
    "INT, score REAL, "
    "kind INT, seconds REAL);"
    "CREATE INDEX evaluation_score ON evaluation(metric_id, score);"
    "CREATE INDEX evaluation_architecture ON evaluation(architecture_id);"
    "CREATE TABLE event(id INTEGER PRIMARY KEY, unix_ms INT, segment INT, step INT, epoch INT, level INT, kind TEXT, "
    "mutable_id INT, "
    "message TEXT, data TEXT);"
    "CREATE TABLE sample(t_ms INTEGER PRIMARY KEY, unix_ms INT, rss_bytes INT, cpu_ms INT, threads INT, images_per_s "
    "REAL, "
    "step_ms REAL, data_wait_ms REAL, energy_j REAL);"
    "CREATE TABLE op(id INTEGER PRIMARY KEY, name TEXT, shape TEXT);"
    "CREATE TABLE profile(epoch INT, op_id INT, phase INT, calls INT, ns INT, flops INT, bytes INT, PRIMARY "
    "KEY(epoch,op_id,phase)) "
    "WITHOUT ROWID;"
    "COMMIT;";

/* Rows that a step may write again after a resume replace what is there. */
const char *const nas__run_sql[NAS__SQL_STATEMENTS] = {
    [NAS__SQL_METRIC] = "INSERT INTO metric VALUES(?,?,?,?,?,?)",
    [NAS__SQL_TICK] = "INSERT OR REPLACE INTO tick VALUES(?,?,?,?)",
    [NAS__SQL_SCALAR] = "INSERT OR REPLACE INTO scalar VALUES(?,?,?)",
    [NAS__SQL_EPOCH] = "INSERT OR REPLACE INTO epoch VALUES(?,?,?,?,?,?,?,?,?)",
    [NAS__SQL_EPOCH_METRIC] = "INSERT OR REPLACE INTO epoch_metric VALUES(?,?,?)",
    [NAS__SQL_STAGE] = "INSERT OR REPLACE INTO stage VALUES(?,?,?,?)",
    [NAS__SQL_NODE] = "INSERT OR REPLACE INTO node VALUES(?,?,?,?)",
    [NAS__SQL_MUTABLE] = "INSERT OR REPLACE INTO mutable VALUES(?,?,?,?,?,?,?,?)",
    [NAS__SQL_CANDIDATE] = "INSERT OR REPLACE INTO candidate VALUES(?,?,?,?,?,?,?)",
    [NAS__SQL_EDGE] = "INSERT OR REPLACE INTO edge VALUES(?,?,?,?,?,?)",
    [NAS__SQL_PROBABILITY] = "INSERT OR REPLACE INTO probability VALUES(?,?,?,?,?)",
    [NAS__SQL_ARCHITECTURE] = "INSERT INTO architecture VALUES(?,?,?,?,?,?,?,?)",
    [NAS__SQL_EVALUATION] = "INSERT INTO evaluation VALUES(?,?,?,?,?,?,?,?,?)",
    [NAS__SQL_EVENT] = "INSERT INTO event VALUES(NULL,?,?,?,?,?,?,?,?,?)",
    [NAS__SQL_SAMPLE] = "INSERT OR REPLACE INTO sample VALUES(?,?,?,?,?,?,?,?,?)",
    [NAS__SQL_SUMMARY] =
        "UPDATE run SET heartbeat_unix_ms=?, active_ms=?, cpu_ms=?, peak_rss_bytes=?, epoch=?, step=?, "
        "primary_metric=?, best_evaluation=?, best_score=?, evaluations=?, trend=?, warnings=?, errors=?, status=?, "
        "status_detail=?",
};

const char *const nas__run_rewind[] = {
    "DELETE FROM tick WHERE step>?2 OR epoch>?1",
    "DELETE FROM scalar WHERE step NOT IN (SELECT step FROM tick)",
    "DELETE FROM epoch WHERE epoch>?1 OR step>?2",
    "DELETE FROM epoch_metric WHERE epoch>?1",
    "DELETE FROM probability WHERE epoch>?1",
    "DELETE FROM architecture WHERE first_epoch>?1",
    "DELETE FROM evaluation WHERE epoch>?1 OR step>?2 OR (architecture_id NOT NULL AND architecture_id NOT IN (SELECT "
    "id FROM "
    "architecture))",
    "DELETE FROM profile WHERE epoch>?1",
    NULL,
};
