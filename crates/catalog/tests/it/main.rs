//! The catalogue through its public interface: one suite, to be run on every database that it speaks to.
//!
//! A case is an asynchronous function that is given an empty [`kiln_catalog::Catalog`]; [`on_every_database!`] makes
//! the tests of it. Not here: the service's rules.

mod accounts;
mod concurrency;
mod database_file;
mod disks;
mod garbage;
mod images;
mod instances;
mod market;
mod objects;
mod records;
mod references;
mod sample;
mod snapshots;
mod tags;
mod tasks;
mod usage;

/// A test per named case and database.
macro_rules! on_every_database {
    ($($case:ident),+ $(,)?) => {
        mod on_sqlite {
            $(
                #[tokio::test]
                async fn $case() {
                    let dir = tempfile::tempdir().expect("a directory for the database");
                    let path = dir.path().join("catalog.db");
                    let catalog = kiln_catalog::Catalog::open_sqlite(&path).await.expect("a new database opens");
                    super::$case(catalog.clone()).await;
                    catalog.close().await;
                }
            )+
        }
    };
}
use on_every_database;
