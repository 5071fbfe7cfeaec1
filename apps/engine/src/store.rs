//! The study's SQLite store: every figure that a person may want to plot.
//!
//! All tables but `timings` are a function of configuration and seed.

mod evaluations;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ghnas_core::{Architecture, Command};
use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, Transaction, params};

use crate::error::EngineError;
use crate::fault;
use crate::scorer::Score;

/// The schema that this release writes, and the latest that it reads.
const SCHEMA: u32 = 3;

/// Marks a file as a store of ghnas ("GHNS"), in SQLite's header.
const APPLICATION: u32 = 0x4748_4e53;

const TABLES: &str = "
CREATE TABLE meta (
    key TEXT PRIMARY KEY,
    value ANY NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE training_steps (
    step INTEGER NOT NULL,          -- from 0
    slot INTEGER NOT NULL,          -- which architecture of the step, from 0
    arch_hash TEXT NOT NULL,        -- '' where the space gave no architecture
    loss REAL,                      -- mean cross-entropy of the batch, nats; null: not finite
    accuracy REAL,                  -- of the batch, 0 to 1; null: the loss is not finite
    gradient_norm REAL,             -- of the generator, before clipping; null: no step was made
    learning_rate REAL NOT NULL,
    applied INTEGER NOT NULL,       -- 1 where this architecture moved the generator
    PRIMARY KEY (step, slot)
) STRICT, WITHOUT ROWID;
CREATE TABLE candidates (
    id INTEGER PRIMARY KEY,         -- from 0, in the order of the searcher's commands
    command TEXT NOT NULL,          -- JSON
    arch TEXT,                      -- JSON
    hash TEXT,
    loss REAL,                      -- mean cross-entropy on the validation images, nats
    accuracy REAL,                  -- on the validation images, 0 to 1
    params INTEGER,
    multiply_adds INTEGER,          -- for one image
    state TEXT NOT NULL CHECK (state IN ('scored', 'failed')),
    error TEXT                      -- why it failed
) STRICT;
CREATE INDEX candidates_by_hash ON candidates (hash);
CREATE TABLE timings (
    id INTEGER PRIMARY KEY,
    phase TEXT NOT NULL,            -- 'train' or 'score'
    first INTEGER NOT NULL,         -- training step or candidate
    last INTEGER NOT NULL,
    seconds REAL NOT NULL           -- wall time of first to last
) STRICT;
";

/// One architecture of one training step.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainingStep {
    /// The step, from 0.
    pub step: u64,
    /// Which architecture of the step, from 0.
    pub slot: usize,
    /// Hash of the architecture, hexadecimal; empty where the space gave none.
    pub hash: String,
    /// Mean cross-entropy of the batch, in nats; not finite where the step was passed over.
    pub loss: f64,
    /// Share of the batch classified correctly.
    pub accuracy: f64,
    /// Norm of the generator's gradient before clipping; nothing where no step was made.
    pub gradient_norm: Option<f64>,
    /// The learning rate.
    pub learning_rate: f64,
    /// Whether this architecture moved the generator.
    pub applied: bool,
}

/// What came of a candidate.
#[derive(Debug, Clone, PartialEq)]
pub enum CandidateState {
    /// Scored.
    Scored(Score),
    /// Cannot be scored.
    Failed(String),
}

/// A candidate of the search.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// Its number, from 0, in the order of the searcher's commands.
    pub id: u64,
    /// What the searcher asked for.
    pub command: Command,
    /// The architecture; nothing where there is none for the command.
    pub arch: Option<Architecture>,
    /// What came of it.
    pub state: CandidateState,
}

/// A phase of a study, for its timings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Train,
    Score,
}

impl Phase {
    fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Score => "score",
        }
    }
}

/// Keys of the table `meta`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meta {
    /// SHA-256 of the validation images and labels, hexadecimal.
    Images,
    /// Training steps, where a time budget fixed them or training ended early.
    PlannedSteps,
    /// Candidates, where a time budget fixed them.
    PlannedCandidates,
    /// The searcher's state after it was told of all stored candidates.
    Searcher,
}

impl Meta {
    fn key(self) -> &'static str {
        match self {
            Self::Images => "images",
            Self::PlannedSteps => "planned_steps",
            Self::PlannedCandidates => "planned_candidates",
            Self::Searcher => "searcher",
        }
    }
}

/// An open store.
pub(crate) struct Store {
    path: PathBuf,
    connection: Connection,
}

impl Store {
    /// Makes the store at `path`, where no file may be.
    pub(crate) fn create(path: &Path) -> Result<(), EngineError> {
        let failed = |error| store_error(path, error);
        fault::point().map_err(|error| EngineError::write(path, error))?;
        let connection = Connection::open(path).map_err(failed)?;
        // Tables and versions come in one transaction of the classic journal, so that the file's
        // own header has the version before anything is in a write-ahead log.
        let script = format!(
            "PRAGMA synchronous = FULL; BEGIN; PRAGMA application_id = {APPLICATION}; \
             PRAGMA user_version = {SCHEMA}; {TABLES} {} COMMIT;",
            evaluations::TABLES
        );
        connection.execute_batch(&script).map_err(failed)?;
        connection.close().map_err(|(_, error)| failed(error))
    }

    /// Opens the store at `path` for reading and writing.
    pub(crate) fn open(path: &Path) -> Result<Self, EngineError> {
        check_header(path)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let failed = |error| store_error(path, error);
        let connection = Connection::open_with_flags(path, flags).map_err(failed)?;
        connection.busy_timeout(Duration::from_secs(5)).map_err(failed)?;
        // FULL, not NORMAL: rows must not be lost where the checkpoint after them is not.
        let pragmas = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;";
        connection.execute_batch(pragmas).map_err(failed)?;
        let check: String =
            connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(failed)?;
        if check != "ok" {
            return Err(EngineError::Corrupt { path: path.into(), reason: check });
        }
        let version: u32 =
            connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(failed)?;
        if version < SCHEMA {
            let tables = evaluations::TABLES;
            let script = format!("BEGIN; {tables} PRAGMA user_version = {SCHEMA}; COMMIT;");
            connection.execute_batch(&script).map_err(failed)?;
        }
        Ok(Self { path: path.into(), connection })
    }

    fn failed(&self) -> impl Fn(rusqlite::Error) -> EngineError + '_ {
        |error| store_error(&self.path, error)
    }

    /// Runs `write` in one transaction: all of it is stored, or nothing.
    pub(crate) fn transaction<T>(
        &mut self,
        write: impl FnOnce(&Writer<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, EngineError> {
        let path = &self.path;
        let failed = |error| store_error(path, error);
        let transaction = self.connection.transaction().map_err(failed)?;
        let result = write(&Writer { transaction: &transaction }).map_err(failed)?;
        let fault = |error| EngineError::write(path, error);
        fault::point().map_err(fault)?;
        transaction.commit().map_err(failed)?;
        fault::point().map_err(fault)?;
        Ok(result)
    }

    /// A number in `meta`.
    pub(crate) fn number(&self, key: Meta) -> Result<Option<u64>, EngineError> {
        self.meta(key)
    }

    /// A text in `meta`.
    pub(crate) fn text(&self, key: Meta) -> Result<Option<String>, EngineError> {
        self.meta(key)
    }

    /// Bytes in `meta`.
    pub(crate) fn bytes(&self, key: Meta) -> Result<Option<Vec<u8>>, EngineError> {
        self.meta(key)
    }

    fn meta<T: rusqlite::types::FromSql>(&self, key: Meta) -> Result<Option<T>, EngineError> {
        let sql = "SELECT value FROM meta WHERE key = ?1";
        self.connection
            .query_row(sql, [key.key()], |row| row.get(0))
            .optional()
            .map_err(self.failed())
    }

    /// The candidates, by id.
    pub(crate) fn candidates(&self) -> Result<Vec<Candidate>, EngineError> {
        let sql = "SELECT id, command, arch, loss, accuracy, params, multiply_adds, state, error \
                   FROM candidates ORDER BY id";
        self.rows(sql, candidate)
    }

    /// The training steps, in order.
    pub(crate) fn training_steps(&self) -> Result<Vec<TrainingStep>, EngineError> {
        let sql = "SELECT step, slot, arch_hash, loss, accuracy, gradient_norm, learning_rate, \
                   applied FROM training_steps ORDER BY step, slot";
        self.rows(sql, training_step)
    }

    fn rows<T>(
        &self,
        sql: &str,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, EngineError> {
        let mut statement = self.connection.prepare(sql).map_err(self.failed())?;
        let rows = statement.query_map([], read).map_err(self.failed())?;
        rows.collect::<rusqlite::Result<_>>().map_err(self.failed())
    }

    /// Steps in which no architecture moved the generator.
    pub(crate) fn skipped_steps(&self) -> Result<u64, EngineError> {
        let sql = "SELECT count(*) FROM \
                   (SELECT 1 FROM training_steps GROUP BY step HAVING max(applied) = 0)";
        self.connection.query_row(sql, [], |row| row.get(0)).map_err(self.failed())
    }

    /// The last step that moved the generator.
    pub(crate) fn last_applied_step(&self) -> Result<Option<u64>, EngineError> {
        let sql = "SELECT max(step) FROM training_steps WHERE applied = 1";
        self.connection.query_row(sql, [], |row| row.get(0)).map_err(self.failed())
    }

    /// Mean loss of the last `steps` rows that moved the generator.
    pub(crate) fn final_loss(&self, steps: usize) -> Result<Option<f64>, EngineError> {
        let sql = "SELECT avg(loss) FROM (SELECT loss FROM training_steps WHERE applied = 1 \
                   ORDER BY step DESC, slot DESC LIMIT ?1)";
        self.connection.query_row(sql, [steps], |row| row.get(0)).map_err(self.failed())
    }

    /// Seconds spent on a phase by all processes that worked on it.
    pub(crate) fn seconds(&self, phase: Phase) -> Result<f64, EngineError> {
        let sql = "SELECT total(seconds) FROM timings WHERE phase = ?1";
        self.connection.query_row(sql, [phase.name()], |row| row.get(0)).map_err(self.failed())
    }
}

/// Writes inside one transaction.
pub(crate) struct Writer<'a> {
    transaction: &'a Transaction<'a>,
}

impl Writer<'_> {
    /// Sets a value of `meta`.
    pub(crate) fn set(&self, key: Meta, value: impl Into<Value>) -> rusqlite::Result<()> {
        let sql = "INSERT INTO meta (key, value) VALUES (?1, ?2) \
                   ON CONFLICT (key) DO UPDATE SET value = excluded.value";
        self.transaction.prepare_cached(sql)?.execute(params![key.key(), value.into()])?;
        Ok(())
    }

    /// Removes a value of `meta`.
    pub(crate) fn unset(&self, key: Meta) -> rusqlite::Result<()> {
        self.transaction.execute("DELETE FROM meta WHERE key = ?1", [key.key()])?;
        Ok(())
    }

    /// Adds training steps.
    pub(crate) fn add_training_steps(&self, rows: &[TrainingStep]) -> rusqlite::Result<()> {
        let mut statement = self
            .transaction
            .prepare_cached("INSERT INTO training_steps VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?;
        for row in rows {
            let finite = row.loss.is_finite();
            statement.execute(params![
                row.step,
                row.slot,
                row.hash,
                finite.then_some(row.loss),
                finite.then_some(row.accuracy),
                row.gradient_norm.filter(|norm| norm.is_finite()),
                row.learning_rate,
                row.applied,
            ])?;
        }
        Ok(())
    }

    /// Removes the training steps from `step` on.
    pub(crate) fn remove_training_steps_from(&self, step: u64) -> rusqlite::Result<()> {
        let sql = "DELETE FROM training_steps WHERE step >= ?1";
        self.transaction.execute(sql, [step])?;
        Ok(())
    }

    /// Removes all candidates and the searcher's state.
    pub(crate) fn remove_candidates(&self) -> rusqlite::Result<()> {
        self.transaction.execute("DELETE FROM candidates", [])?;
        self.unset(Meta::Searcher)
    }

    /// Adds a candidate.
    pub(crate) fn add_candidate(&self, candidate: &Candidate) -> rusqlite::Result<()> {
        let mut statement = self.transaction.prepare_cached(
            "INSERT INTO candidates VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        )?;
        let (state, score, error) = match &candidate.state {
            CandidateState::Scored(score) => ("scored", Some(score), None),
            CandidateState::Failed(error) => ("failed", None, Some(error)),
        };
        statement.execute(params![
            candidate.id,
            serde_json::to_string(&candidate.command).expect("a command is plain data"),
            candidate.arch.as_ref().map(Architecture::to_string),
            candidate.arch.as_ref().map(|arch| arch.hash().to_string()),
            score.map(|score| score.loss),
            score.map(|score| score.accuracy),
            score.map(|score| score.params),
            score.map(|score| score.multiply_adds),
            state,
            error,
        ])?;
        Ok(())
    }

    /// Adds a duration.
    pub(crate) fn add_timing(
        &self,
        phase: Phase,
        first: u64,
        last: u64,
        spent: Duration,
    ) -> rusqlite::Result<()> {
        let sql = "INSERT INTO timings (phase, first, last, seconds) VALUES (?1, ?2, ?3, ?4)";
        self.transaction.prepare_cached(sql)?.execute(params![
            phase.name(),
            first,
            last,
            spent.as_secs_f64()
        ])?;
        Ok(())
    }
}

fn candidate(row: &Row<'_>) -> rusqlite::Result<Candidate> {
    let arch: Option<String> = row.get(2)?;
    let state: String = row.get(7)?;
    let state = match state.as_str() {
        "scored" => CandidateState::Scored(Score {
            loss: row.get(3)?,
            accuracy: row.get(4)?,
            params: row.get(5)?,
            multiply_adds: row.get(6)?,
        }),
        _ => CandidateState::Failed(row.get(8)?),
    };
    Ok(Candidate {
        id: row.get(0)?,
        command: serde_json::from_str(&row.get::<_, String>(1)?).map_err(|e| unreadable(1, e))?,
        arch: arch.map(|text| text.parse()).transpose().map_err(|error| unreadable(2, error))?,
        state,
    })
}

fn training_step(row: &Row<'_>) -> rusqlite::Result<TrainingStep> {
    Ok(TrainingStep {
        step: row.get(0)?,
        slot: row.get(1)?,
        hash: row.get(2)?,
        loss: row.get::<_, Option<f64>>(3)?.unwrap_or(f64::NAN),
        accuracy: row.get::<_, Option<f64>>(4)?.unwrap_or(f64::NAN),
        gradient_norm: row.get(5)?,
        learning_rate: row.get(6)?,
        applied: row.get(7)?,
    })
}

/// The text in a column is not what it should be.
fn unreadable(
    column: usize,
    error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, error.into())
}

/// Looks at the file itself, so that a store of a later release is not touched at all.
fn check_header(path: &Path) -> Result<(), EngineError> {
    let corrupt = |reason: &str| EngineError::Corrupt { path: path.into(), reason: reason.into() };
    // https://www.sqlite.org/fileformat.html: the first 100 bytes.
    let mut header = [0; 100];
    let mut file = std::fs::File::open(path).map_err(|error| EngineError::read(path, error))?;
    file.read_exact(&mut header).map_err(|_| corrupt("it is truncated"))?;
    if !header.starts_with(b"SQLite format 3\0") {
        return Err(corrupt("it is not an SQLite database"));
    }
    let number = |at: usize| u32::from_be_bytes(std::array::from_fn(|i| header[at + i]));
    let (version, application) = (number(60), number(68));
    if application != APPLICATION {
        return Err(corrupt("another program wrote it"));
    }
    if version > SCHEMA {
        return Err(EngineError::NewerSchema { path: path.into(), found: version, known: SCHEMA });
    }
    Ok(())
}

fn store_error(path: &Path, error: rusqlite::Error) -> EngineError {
    use rusqlite::ErrorCode;
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            EngineError::Corrupt { path: path.into(), reason: error.to_string() }
        }
        _ => EngineError::Store { path: path.into(), source: Box::new(error) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(steps: std::ops::Range<u64>) -> Vec<TrainingStep> {
        let row = |step| TrainingStep {
            step,
            slot: 0,
            hash: "00ff".repeat(8),
            loss: 2.0 / (step + 1) as f64,
            accuracy: 0.25,
            gradient_norm: Some(1.0),
            learning_rate: 1e-3,
            applied: true,
        };
        steps.map(row).collect()
    }

    #[test]
    fn training_steps_come_back_as_they_were() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("study.db");
        Store::create(&path).unwrap();
        let mut store = Store::open(&path).unwrap();
        let mut written = rows(0..3);
        written[1].gradient_norm = None;
        written[1].applied = false;
        store.transaction(|writer| writer.add_training_steps(&written)).unwrap();
        assert_eq!(store.training_steps().unwrap(), written);
        assert_eq!(store.skipped_steps().unwrap(), 1);
        assert_eq!(store.final_loss(1).unwrap(), Some(2.0 / 3.0));
        store.transaction(|writer| writer.remove_training_steps_from(1)).unwrap();
        assert_eq!(store.last_applied_step().unwrap(), Some(0));
    }

    #[test]
    fn a_full_disk_leaves_what_was_stored() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("study.db");
        Store::create(&path).unwrap();
        let mut store = Store::open(&path).unwrap();
        store.transaction(|writer| writer.add_training_steps(&rows(0..10))).unwrap();
        store.connection.execute_batch("PRAGMA max_page_count = 12").unwrap();
        let error = store
            .transaction(|writer| writer.add_training_steps(&rows(10..5000)))
            .expect_err("the pages do not suffice");
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(source.contains("disk is full"), "{source}");
        assert!(error.to_string().contains("study.db"), "{error}");
        assert_eq!(store.training_steps().unwrap(), rows(0..10));
    }
}
