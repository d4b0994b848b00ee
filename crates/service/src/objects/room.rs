//! Room for what is on its way: bytes that an account's uploads are about to store count against its limit while they
//! come. Nothing is kept of it: after a stop nothing is on its way.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use kiln_catalog::Tx;
use kiln_model::Uin;

use super::no_room;
use crate::{Caller, Refusal, Service};

/// Bytes that are on their way, by account.
#[derive(Clone, Default)]
pub(crate) struct Incoming(Arc<Mutex<HashMap<Uin, u64>>>);

/// The room that one body, or one object that Kiln writes, has; it is given back when this is dropped.
pub(crate) struct Room {
    incoming: Incoming,
    account: Uin,
    reserved_bytes: u64,
    used_bytes: u64,
    limit_bytes: u64,
}

impl Service {
    /// Room for a body of the caller's, which says how long it is, or does not.
    pub(super) async fn room(
        &self,
        tx: &mut Tx,
        caller: &Caller,
        announced_bytes: Option<u64>,
    ) -> Result<Room, Refusal> {
        let mut room = self.room_of(tx, caller.account.uin).await?;
        room.grow_to(announced_bytes.unwrap_or(0))?;
        Ok(room)
    }

    /// Room for what an account asked for before.
    pub(crate) async fn room_of(&self, tx: &mut Tx, account: Uin) -> Result<Room, Refusal> {
        let used_bytes = tx.bucket_bytes(account).await?;
        Ok(self.incoming.room(account, used_bytes, self.config.objects.account_bytes))
    }
}

impl Incoming {
    /// Room for a body of an account that holds so many bytes and may hold so many; it can grow.
    pub(super) fn room(&self, account: Uin, used_bytes: u64, limit_bytes: u64) -> Room {
        Room { incoming: self.clone(), account, reserved_bytes: 0, used_bytes, limit_bytes }
    }
}

impl Room {
    /// Makes sure that there is room for so many bytes in all.
    pub(super) fn grow_to(&mut self, bytes: u64) -> Result<(), Refusal> {
        let more = bytes.saturating_sub(self.reserved_bytes);
        if more == 0 {
            return Ok(());
        }
        let mut accounts = self.incoming.0.lock().unwrap_or_else(PoisonError::into_inner);
        let incoming = accounts.entry(self.account).or_default();
        let held = self.used_bytes.saturating_add(*incoming);
        if held.saturating_add(more) > self.limit_bytes {
            return Err(no_room(held, more, self.limit_bytes));
        }
        *incoming += more;
        self.reserved_bytes = bytes;
        Ok(())
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let mut accounts = self.incoming.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(incoming) = accounts.get_mut(&self.account) {
            *incoming -= self.reserved_bytes;
            if *incoming == 0 {
                accounts.remove(&self.account);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: Uin = Uin(100_000_000_001);
    const BOB: Uin = Uin(100_000_000_002);

    #[test]
    fn what_is_on_its_way_counts_until_it_has_arrived_or_ended() {
        let incoming = Incoming::default();
        let mut first = incoming.room(ALICE, 40, 100);
        let mut second = incoming.room(ALICE, 40, 100);
        assert!(first.grow_to(30).is_ok() && first.grow_to(20).is_ok());
        assert!(second.grow_to(30).is_ok() && second.grow_to(31).is_err());
        assert!(incoming.room(BOB, 40, 100).grow_to(60).is_ok(), "another account has its own");
        drop(first);
        assert!(second.grow_to(60).is_ok());
        drop(second);
        assert!(incoming.0.lock().expect("free").is_empty());
    }
}
