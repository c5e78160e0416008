//! Reports that a token was rejected.

use super::{MemoryStore, Op};
use crate::{
    domain::{ids::IntegrationId, integration::Status},
    ports::store::{RejectionReport, Reported, StoreResult},
};

impl MemoryStore {
    pub(super) async fn store_rejection(&self, report: &RejectionReport) -> StoreResult<Reported> {
        self.run(Op::ReportRejection, |tables, now| {
            let present = tables.integrations.get(&report.id.uuid).is_some_and(|row| {
                row.stored.standing.status != Status::Revoked
                    && row
                        .stored
                        .grant
                        .as_ref()
                        .is_some_and(|grant| grant.generation == report.generation)
            });
            if !present {
                return Ok(Reported::Moved);
            }
            let known = tables.rejections.entry(report.id.uuid).or_insert((0, None));
            let is_first = known.0 < report.generation;
            known.0 = known.0.max(report.generation);
            if report.claims.is_some() {
                known.1.clone_from(&report.claims);
            }
            if is_first {
                tables.record(&report.audit, now);
            }
            Ok(if is_first {
                Reported::First
            } else {
                Reported::Again
            })
        })
        .await
    }

    pub(super) async fn claims_of(&self, id: &IntegrationId) -> StoreResult<Option<String>> {
        self.run(Op::ClaimsWanted, |tables, _| {
            Ok(tables
                .rejections
                .get(&id.uuid)
                .and_then(|(_, claims)| claims.clone()))
        })
        .await
    }
}
