//! Evaluations of the generator during training, in the study's store.

use std::collections::BTreeMap;

use rusqlite::params;

use super::{Store, Writer};
use crate::error::EngineError;
use crate::validation::{Evaluation, ProbeLoss, rank_correlation};

/// Tables that a study of an older schema may lack: the first two since schema 2.
pub(super) const TABLES: &str = "
CREATE TABLE IF NOT EXISTS evaluations (
    step INTEGER PRIMARY KEY,       -- training steps done
    loss REAL,                      -- mean over the probes that have a loss, nats
    stability REAL,                 -- Spearman's correlation of the probes' losses with those of
                                    -- the evaluation before
    scored INTEGER NOT NULL         -- probes that have a loss
) STRICT;
CREATE TABLE IF NOT EXISTS probe_losses (
    step INTEGER NOT NULL,          -- of the evaluation
    probe INTEGER NOT NULL,         -- from 0
    arch_hash TEXT NOT NULL,
    loss REAL,                      -- mean cross-entropy on the validation images, nats
    PRIMARY KEY (step, probe)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS trained_probes (
    probe INTEGER PRIMARY KEY,      -- from 0
    arch_hash TEXT NOT NULL,
    loss REAL                       -- the same after a brief training from scratch
) STRICT;
";

impl Store {
    /// The evaluations, in order.
    pub(crate) fn evaluations(&self) -> Result<Vec<Evaluation>, EngineError> {
        let sql = "SELECT step, arch_hash, loss FROM probe_losses ORDER BY step, probe";
        let rows: Vec<(u64, ProbeLoss)> = self.rows(sql, |row| {
            Ok((row.get(0)?, ProbeLoss { hash: row.get(1)?, loss: row.get(2)? }))
        })?;
        let mut rows = rows.into_iter().peekable();
        let trained: Vec<ProbeLoss> = self.trained_probes()?.into_values().collect();
        let sql = "SELECT step, loss, stability FROM evaluations ORDER BY step";
        self.rows(sql, |row| {
            let step = row.get(0)?;
            let mut probes = Vec::new();
            while let Some((_, probe)) = rows.next_if(|(of, _)| *of == step) {
                probes.push(probe);
            }
            let agreement = rank_correlation(&probes, &trained);
            Ok(Evaluation { step, loss: row.get(1)?, stability: row.get(2)?, agreement, probes })
        })
    }

    /// The probes that were trained briefly, by their numbers.
    pub(crate) fn trained_probes(&self) -> Result<BTreeMap<usize, ProbeLoss>, EngineError> {
        let sql = "SELECT probe, arch_hash, loss FROM trained_probes";
        let rows = self.rows(sql, |row| {
            Ok((row.get(0)?, ProbeLoss { hash: row.get(1)?, loss: row.get(2)? }))
        })?;
        Ok(rows.into_iter().collect())
    }
}

impl Writer<'_> {
    /// Adds an evaluation.
    pub(crate) fn add_evaluation(&self, evaluation: &Evaluation) -> rusqlite::Result<()> {
        // The agreement follows from the probes and the trained ones.
        let Evaluation { step, loss, stability, agreement: _, probes } = evaluation;
        let sql = "INSERT INTO evaluations VALUES (?1, ?2, ?3, ?4)";
        self.transaction.prepare_cached(sql)?.execute(params![
            step,
            loss,
            stability,
            evaluation.scored()
        ])?;
        let sql = "INSERT INTO probe_losses VALUES (?1, ?2, ?3, ?4)";
        let mut statement = self.transaction.prepare_cached(sql)?;
        for (index, ProbeLoss { hash, loss }) in probes.iter().enumerate() {
            statement.execute(params![step, index, hash, loss])?;
        }
        Ok(())
    }

    /// Adds probe number `index` after a brief training.
    pub(crate) fn add_trained_probe(
        &self,
        index: usize,
        ProbeLoss { hash, loss }: &ProbeLoss,
    ) -> rusqlite::Result<()> {
        let sql = "INSERT INTO trained_probes VALUES (?1, ?2, ?3)";
        self.transaction.prepare_cached(sql)?.execute(params![index, hash, loss])?;
        Ok(())
    }

    /// Removes the evaluations after `step` steps.
    pub(crate) fn remove_evaluations_after(&self, step: u64) -> rusqlite::Result<()> {
        self.transaction.execute("DELETE FROM evaluations WHERE step > ?1", [step])?;
        self.transaction.execute("DELETE FROM probe_losses WHERE step > ?1", [step])?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evaluation(step: u64, probes: &[Option<f64>]) -> Evaluation {
        let probe = |(at, &loss): (usize, &Option<f64>)| ProbeLoss { hash: at.to_string(), loss };
        let probes = probes.iter().enumerate().map(probe).collect();
        Evaluation { step, loss: Some(1.5), stability: None, agreement: None, probes }
    }

    #[test]
    fn evaluations_come_back_as_they_were() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("study.db");
        Store::create(&path).unwrap();
        let mut store = Store::open(&path).unwrap();
        let mut written =
            vec![evaluation(5, &[Some(2.0), None]), evaluation(9, &[]), evaluation(10, &[None])];
        (written[1].loss, written[2].stability) = (None, Some(-0.25));
        store
            .transaction(|writer| written.iter().try_for_each(|one| writer.add_evaluation(one)))
            .unwrap();
        assert_eq!(store.evaluations().unwrap(), written);
        store.transaction(|writer| writer.remove_evaluations_after(9)).unwrap();
        assert_eq!(store.evaluations().unwrap(), written[..2]);
    }

    #[test]
    fn a_store_from_before_evaluations_gets_their_tables() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("study.db");
        Store::create(&path).unwrap();
        let old = rusqlite::Connection::open(&path).unwrap();
        let script = "DROP TABLE evaluations; DROP TABLE probe_losses; DROP TABLE trained_probes; \
                      PRAGMA user_version = 1";
        old.execute_batch(script).unwrap();
        drop(old);
        for _ in 0..2 {
            let mut store = Store::open(&path).unwrap();
            assert_eq!(store.evaluations().unwrap(), []);
            let one = evaluation(5, &[Some(2.0)]);
            store.transaction(|writer| writer.add_evaluation(&one)).unwrap();
            assert_eq!(store.evaluations().unwrap(), [one]);
            store.transaction(|writer| writer.remove_evaluations_after(0)).unwrap();
            let version: u32 =
                store.connection.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
            assert_eq!(version, 3);
        }
    }
}
