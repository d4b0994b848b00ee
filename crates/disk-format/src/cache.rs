//! A bounded cache of mapping tables, for formats whose tables are too many to be held.
//!
//! Invariants: no lock is held while a table is read; the cache never holds more than its bytes and one table.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, PoisonError, RwLock};

/// Tables of words `W` by their number, the oldest given up first.
pub(crate) struct TableCache<W> {
    max_bytes: usize,
    tables: RwLock<Tables<W>>,
}

/// The tables and the order in which they came.
struct Tables<W> {
    by_number: HashMap<u64, Arc<[W]>>,
    order: VecDeque<u64>,
}

impl<W> TableCache<W> {
    /// An empty cache of at most `max_bytes`, or one table where that is larger.
    pub(crate) fn new(max_bytes: usize) -> Self {
        let tables = Tables { by_number: HashMap::new(), order: VecDeque::new() };
        Self { max_bytes, tables: RwLock::new(tables) }
    }

    /// The table `number`, kept or read now.
    pub(crate) fn get(
        &self,
        number: u64,
        read: impl FnOnce() -> kiln_block::Result<Vec<W>>,
    ) -> kiln_block::Result<Arc<[W]>> {
        let tables = self.tables.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(table) = tables.by_number.get(&number) {
            return Ok(Arc::clone(table));
        }
        drop(tables);
        let table: Arc<[W]> = read()?.into();
        let mut tables = self.tables.write().unwrap_or_else(PoisonError::into_inner);
        tables.insert(number, Arc::clone(&table), self.max_bytes);
        Ok(table)
    }
}

impl<W> Tables<W> {
    fn insert(&mut self, number: u64, table: Arc<[W]>, max_bytes: usize) {
        let capacity = (max_bytes / size_of_val(&*table).max(1)).max(1);
        if self.by_number.insert(number, table).is_none() {
            self.order.push_back(number);
        }
        while self.by_number.len() > capacity
            && let Some(oldest) = self.order.pop_front()
        {
            self.by_number.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_table_goes_first_and_is_read_again() {
        let cache = TableCache::new(2 * 40);
        let reads = std::cell::Cell::new(0);
        let get = |number: u64| {
            let read = || {
                reads.set(reads.get() + 1);
                Ok(vec![number as u32; 10])
            };
            cache.get(number, read).expect("readable")[0]
        };
        assert_eq!([1, 2, 1, 2, 3, 2, 3].map(get), [1, 2, 1, 2, 3, 2, 3]);
        assert_eq!(reads.get(), 3);
        assert_eq!(get(1), 1);
        assert_eq!(reads.get(), 4);
    }
}
