//! What of a store is garbage: a pure decision from the ledger's rows.
//!
//! A [`Plan`] is a proposal from one look at the rows. Whoever applies it checks the conditions of every step again,
//! in the transaction of that step: an object is condemned only if it has no reference and is old enough *then*, and
//! deleted only if it is still condemned, unreferenced and past its grace period. A deletion goes: check in a
//! transaction, delete the object, remove the row. A condemned object never becomes live again, since nothing may
//! take a reference on it (see [`crate::Ledger::hold`]).
//!
//! Deliberately absent: looking into the store. What a listing shows and the rows do not is only reported, by
//! [`crate::check()`].

use std::cmp::Reverse;

use crate::ObjectKey;

/// Where an object stands in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ObjectState {
    /// Registered; its object may not exist, or not be finished.
    Pending,
    /// Durable, and good to rely on.
    Live,
    /// To be deleted. No reference may be taken on it.
    Condemned,
}

/// A row of the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ObjectRow {
    /// The object.
    pub key: ObjectKey,
    /// Its state.
    pub state: ObjectState,
    /// Its length in bytes; 0 where it is not known yet.
    pub stored_bytes: u64,
    /// How many jobs and manifests (for a manifest: jobs, images and exports) need it.
    pub references: u64,
    /// Milliseconds: when it was condemned; else when it was registered, sealed, or last lost a reference.
    pub since_ms: i64,
}

/// How careful the collection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CollectionPolicy {
    /// How long nothing must have referenced an object before it is condemned, in milliseconds. Longer than a job
    /// that lost its lease can take to notice.
    pub min_age_ms: i64,
    /// How long it stays condemned before it is deleted, in milliseconds.
    pub grace_ms: i64,
    /// How much of the store may be condemned in one run, in percent of its bytes.
    pub max_share_percent: u8,
    /// Bytes that may be condemned in one run whatever their share: in a small store one image is most of it.
    pub always_allowed_bytes: u64,
    /// The operator's word that more than that may go in this run.
    pub whole_store_allowed: bool,
}

impl Default for CollectionPolicy {
    /// An hour, a day, a tenth of the store or 4 GiB.
    fn default() -> Self {
        Self {
            min_age_ms: 3_600_000,
            grace_ms: 86_400_000,
            max_share_percent: 10,
            always_allowed_bytes: 4 << 30,
            whole_store_allowed: false,
        }
    }
}

/// What to do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// To condemn now, those without a reference for longest first.
    pub condemn: Vec<ObjectKey>,
    /// To delete now: condemned, and past their grace period.
    pub delete: Vec<ObjectKey>,
    /// Garbage that would make more than the allowed share go in one run. Worth telling the operator.
    pub held_back: Vec<ObjectKey>,
    /// Condemned and yet referenced, which no rule allows: kept, and worth an alarm.
    pub contradictory: Vec<ObjectKey>,
    /// Bytes that `condemn` will free.
    pub condemned_bytes: u64,
    /// Bytes that `delete` frees.
    pub deleted_bytes: u64,
}

/// Decides what of a store is garbage at `now_ms`.
pub fn plan_collection(rows: &[ObjectRow], now_ms: i64, policy: &CollectionPolicy) -> Plan {
    let mut plan = Plan::default();
    let mut garbage = Vec::new();
    for row in rows {
        let age_ms = now_ms.saturating_sub(row.since_ms);
        match row.state {
            ObjectState::Condemned if row.references > 0 => plan.contradictory.push(row.key),
            ObjectState::Condemned if age_ms >= policy.grace_ms => {
                plan.delete.push(row.key);
                plan.deleted_bytes += row.stored_bytes;
            }
            ObjectState::Pending | ObjectState::Live
                if row.references == 0 && age_ms >= policy.min_age_ms =>
            {
                garbage.push(row);
            }
            _ => {}
        }
    }
    garbage.sort_unstable_by_key(|row| (row.since_ms, Reverse(row.stored_bytes), row.key));
    let allowed_bytes = allowed_bytes(rows, policy);
    for row in garbage {
        // Everything after the first object that does not fit waits too, so that the order stays that of age.
        let total = plan.condemned_bytes + row.stored_bytes;
        if plan.held_back.is_empty() && total <= allowed_bytes {
            plan.condemn.push(row.key);
            plan.condemned_bytes = total;
        } else {
            plan.held_back.push(row.key);
        }
    }
    plan
}

fn allowed_bytes(rows: &[ObjectRow], policy: &CollectionPolicy) -> u64 {
    if policy.whole_store_allowed {
        return u64::MAX;
    }
    let store_bytes: u128 = rows.iter().map(|row| u128::from(row.stored_bytes)).sum();
    let share = store_bytes * u128::from(policy.max_share_percent) / 100;
    u64::try_from(share).unwrap_or(u64::MAX).max(policy.always_allowed_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PackId;

    const POLICY: CollectionPolicy = CollectionPolicy {
        min_age_ms: 100,
        grace_ms: 1000,
        max_share_percent: 10,
        always_allowed_bytes: 0,
        whole_store_allowed: false,
    };

    fn row(state: ObjectState, references: u64, since_ms: i64, stored_bytes: u64) -> ObjectRow {
        ObjectRow { key: PackId::random().into(), state, stored_bytes, references, since_ms }
    }

    #[test]
    fn only_old_unreferenced_objects_are_condemned() {
        use ObjectState::{Live, Pending};
        let rows = [
            row(Live, 0, 900, 1),
            row(Live, 0, 901, 1),
            row(Live, 1, 0, 1),
            row(Pending, 0, 0, 0),
            row(Live, 2, 0, 100),
        ];
        let plan = plan_collection(&rows, 1000, &POLICY);
        assert_eq!(plan.condemn, [rows[3].key, rows[0].key]);
        assert_eq!((plan.delete, plan.held_back, plan.contradictory), (vec![], vec![], vec![]));
    }

    #[test]
    fn only_condemned_objects_past_their_grace_are_deleted() {
        use ObjectState::Condemned;
        let rows = [row(Condemned, 0, 0, 5), row(Condemned, 0, 1, 5), row(Condemned, 1, 0, 5)];
        let plan = plan_collection(&rows, 1000, &POLICY);
        assert_eq!((plan.delete, plan.deleted_bytes), (vec![rows[0].key], 5));
        assert_eq!(plan.contradictory, [rows[2].key]);
        assert!(plan.condemn.is_empty());
    }

    #[test]
    fn no_more_than_the_share_goes_in_one_run_unless_told_so() {
        let rows: Vec<_> = (0..100).map(|i| row(ObjectState::Live, 0, -i, 10)).collect();
        let plan = plan_collection(&rows, 1000, &POLICY);
        assert_eq!((plan.condemn.len(), plan.held_back.len(), plan.condemned_bytes), (10, 90, 100));
        assert!(plan.condemn.contains(&rows[99].key), "the oldest goes first");
        let told = CollectionPolicy { whole_store_allowed: true, ..POLICY };
        assert_eq!(plan_collection(&rows, 1000, &told).condemn.len(), 100);
        let small = CollectionPolicy { always_allowed_bytes: 500, ..POLICY };
        assert_eq!(plan_collection(&rows, 1000, &small).condemn.len(), 50);
    }
}
