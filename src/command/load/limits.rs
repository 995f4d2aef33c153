//! Whether the limits of the account at the destination allow the streams that will come. Pure: asks no server.
//!
//! The index has the size of every stream as the server of the dump counted it. The server of the account counts in the
//! same way. It counts a stream only when it is restored, so without this check a load would fail after some of the
//! streams.

use std::collections::BTreeMap;

use super::super::Failure;
use crate::exit::Exit;
use crate::jetstream::{Account, Usage};
use crate::names::{Size, counted};

/// What a stream takes of the limits.
#[derive(Clone, Copy, Debug)]
pub(super) struct StorageDemand {
    /// How many copies of it there are.
    pub replicas: u32,
    /// Whether it lives in memory.
    pub in_memory: bool,
    /// The size of one copy, in bytes.
    pub bytes: u64,
}

/// What a load adds to one tier and removes from it.
#[derive(Default)]
struct TierChange {
    coming: u64,
    going: u64,
    files: ByteChange,
    memory: ByteChange,
}

#[derive(Default)]
struct ByteChange {
    coming: u64,
    going: u64,
}

/// Refuses the streams that are `coming` if the account may not hold them, even after the streams that are `going` have
/// made room.
pub(super) fn check(
    account: &Account,
    coming: &[StorageDemand],
    going: &[StorageDemand],
) -> Result<(), Failure> {
    let mut tiers: BTreeMap<u32, TierChange> = BTreeMap::new();
    for (demands, comes) in [(coming, true), (going, false)] {
        for demand in demands {
            // Without tiers, all streams share one set of limits.
            let tier = if account.has_tiers() { demand.replicas } else { 1 };
            let change = tiers.entry(tier).or_default();
            let bytes = if demand.in_memory { &mut change.memory } else { &mut change.files };
            let (count, bytes) = match comes {
                true => (&mut change.coming, &mut bytes.coming),
                false => (&mut change.going, &mut bytes.going),
            };
            *count = count.saturating_add(1);
            *bytes = bytes.saturating_add(demand.bytes.saturating_mul(demand.replicas.into()));
        }
    }
    tiers.iter().try_for_each(|(tier, change)| match account.of(*tier) {
        Some((usage, factor)) => within(usage, factor, change),
        // The account has no such tier. The server's own message says it better.
        None => Ok(()),
    })
}

fn within(usage: &Usage, factor: u32, change: &TierChange) -> Result<(), Failure> {
    let after = |now: u64, going: u64, coming: u64| now.saturating_sub(going).saturating_add(coming);
    let streams = after(usage.streams, change.going, change.coming);
    if let Some(most) = usage.max_streams().filter(|most| streams > *most) {
        return Err(exceeded("max_streams", &counted(most, "stream"), &streams.to_string()));
    }
    let stores = [
        ("max_file", usage.max_storage(), usage.storage, &change.files),
        ("max_mem", usage.max_memory(), usage.memory, &change.memory),
    ];
    for (name, most, now, bytes) in stores {
        let total = after(now, bytes.going, bytes.coming);
        let most = most.map(|most| most.saturating_mul(factor.into()));
        if let Some(most) = most.filter(|most| bytes.coming > 0 && total > *most) {
            return Err(exceeded(name, &Size(most).to_string(), &Size(total).to_string()));
        }
    }
    Ok(())
}

fn exceeded(limit: &str, most: &str, total: &str) -> Failure {
    let what = format!("the account may hold {most}, and would hold {total} after this restore");
    Failure::new(Exit::Failed, what).hint(format!(
        "raise the account's JetStream limits ({limit}), or restore less with --stream or --exclude"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const R1: StorageDemand = StorageDemand { replicas: 1, in_memory: false, bytes: 100 };
    const R3: StorageDemand = StorageDemand { replicas: 3, ..R1 };
    const MEMORY: StorageDemand = StorageDemand { in_memory: true, ..R1 };

    fn account(json: &str) -> Account {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn an_account_without_limits_takes_everything() {
        for json in [
            r#"{"storage":5,"streams":9,"limits":{"max_storage":-1,"max_memory":-1,"max_streams":-1}}"#,
            r#"{"storage":5,"streams":9,"limits":{"max_storage":-1,"max_memory":-1,"max_streams":0}}"#,
            "{}",
        ] {
            assert!(check(&account(json), &[R1, R3, MEMORY], &[]).is_ok(), "{json}");
        }
    }

    #[test]
    fn every_replica_counts_and_what_is_replaced_makes_room() {
        let some = account(
            r#"{"storage":500,"streams":3,"limits":{"max_storage":800,"max_memory":0,"max_streams":4}}"#,
        );
        assert!(check(&some, &[R3], &[]).is_ok());
        assert!(check(&some, &[R3, R1], &[]).is_err());
        assert!(check(&some, &[R1, R1], &[]).is_err());
        assert!(check(&some, &[R3, R1], &[R1]).is_ok());
        assert!(check(&some, &[MEMORY], &[]).is_err());
        assert!(check(&some, &[], &[]).is_ok());
    }

    #[test]
    fn a_tiers_limit_is_for_one_replica() {
        let tiers = account(
            r#"{"streams":2,"tiers":{"R1":{"storage":0,"limits":{"max_storage":150,"max_memory":0,"max_streams":0}},
                "R3":{"storage":300,"streams":1,"limits":{"max_storage":200,"max_memory":0,"max_streams":2}}}}"#,
        );
        assert!(check(&tiers, &[R1, R3], &[]).is_ok());
        assert!(check(&tiers, &[R1, R1], &[]).is_err());
        assert!(check(&tiers, &[R3, R3], &[]).is_err());
        assert!(check(&tiers, &[StorageDemand { replicas: 5, ..R1 }], &[]).is_ok());
    }
}
