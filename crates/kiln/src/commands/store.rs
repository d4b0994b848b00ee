//! `kiln store`: what the regions' stores hold, whether they are whole, and removing what nothing uses.
//!
//! Checking and collecting work on the data directory itself, also beside a running server: every change is a
//! transaction of the catalogue that checks its own condition.

use std::process::ExitCode;
use std::sync::Arc;

use indicatif::{ProgressBar, ProgressDrawTarget};
use kiln_catalog::Catalog;
use kiln_chunk_store::{CheckMode, DirectoryStore, ObjectStore};
use kiln_service::{CollectionReport, ServiceConfig, StoreCheck, check_store, collect_garbage};
use serde_json::{Value, json};

use crate::arguments::{Connection, OutputForm, StoreCommand};
use crate::client::{Client, Error};
use crate::output;
use crate::places;

pub(super) async fn run(connection: &Connection, command: StoreCommand) -> Result<ExitCode, Error> {
    match command {
        StoreCommand::Status => status(connection).await,
        StoreCommand::Check { quick, config } => {
            let config = super::load(config.as_deref(), None, connection.data_dir.clone())?.service;
            let mode = if quick { CheckMode::References } else { CheckMode::EveryByte };
            check(connection.output, &config, mode).await
        }
        StoreCommand::Gc { plan, whole_store, config } => {
            let mut config = super::load(config.as_deref(), None, connection.data_dir.clone())?.service;
            config.collection.policy.whole_store_allowed = whole_store;
            collect(connection.output, &config, plan).await
        }
    }
}

async fn status(connection: &Connection) -> Result<ExitCode, Error> {
    let mut answer = Client::new(connection)?.kiln("DescribeStores", &json!({})).await?;
    if connection.output == OutputForm::Table {
        for store in answer["StoreSet"].as_array_mut().into_iter().flatten() {
            for field in ["StoredBytes", "LogicalBytes"] {
                store[field] = output::bytes(store[field].as_u64().unwrap_or(0)).into();
            }
        }
    }
    let columns = [
        ("REGION", "/Region"),
        ("STORED", "/StoredBytes"),
        ("DISKS", "/LogicalBytes"),
        ("PACKS", "/Packs"),
        ("MANIFESTS", "/Manifests"),
    ];
    output::listing(connection.output, &answer, "StoreSet", &columns);
    Ok(ExitCode::SUCCESS)
}

async fn open_catalog(config: &ServiceConfig) -> Result<Catalog, Error> {
    let path = ServiceConfig::catalog_path(&config.data_dir);
    if !path.is_file() {
        return Err(format!(
            "{} holds no Kiln data. Name the server's data directory: --data-dir",
            config.data_dir.display()
        )
        .into());
    }
    places::check(config)?;
    Ok(Catalog::open_sqlite(&path).await?)
}

async fn check(form: OutputForm, config: &ServiceConfig, mode: CheckMode) -> Result<ExitCode, Error> {
    let catalog = open_catalog(config).await?;
    let mut rows: Vec<Value> = Vec::new();
    let mut problems = 0usize;
    for region in &config.regions {
        let objects: Arc<dyn ObjectStore> = Arc::new(DirectoryStore::open(&config.store_dir(&region.id))?);
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        let shown = bar.clone();
        let check = StoreCheck { catalog: catalog.clone(), region: region.id.clone(), objects, mode };
        let report = check_store(check, move |done, total| {
            shown.set_length(total);
            shown.set_position(done);
        })
        .await?;
        bar.finish_and_clear();
        for problem in &report.problems {
            eprintln!("{}: {problem:?}", region.id);
        }
        problems += report.problems.len();
        rows.push(json!({
            "Region": region.id.as_str(), "Packs": report.packs, "Manifests": report.manifests,
            "Chunks": report.chunks, "Unknown": report.unknown.len(), "Problems": report.problems.len(),
        }));
    }
    let columns = [
        ("REGION", "/Region"),
        ("PACKS", "/Packs"),
        ("MANIFESTS", "/Manifests"),
        ("CHUNKS", "/Chunks"),
        ("UNKNOWN", "/Unknown"),
        ("PROBLEMS", "/Problems"),
    ];
    output::listing(form, &json!({ "Stores": rows }), "Stores", &columns);
    Ok(if problems == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn collect(form: OutputForm, config: &ServiceConfig, plan_only: bool) -> Result<ExitCode, Error> {
    let catalog = open_catalog(config).await?;
    let policy = &config.collection.policy;
    let mut rows: Vec<Value> = Vec::new();
    for region in &config.regions {
        let objects: Arc<dyn ObjectStore> = Arc::new(DirectoryStore::open(&config.store_dir(&region.id))?);
        let report = collect_garbage(&catalog, &objects, &region.id, policy, plan_only).await?;
        rows.push(row(region.id.as_str(), &report));
    }
    let columns = [
        ("REGION", "/Region"),
        ("CONDEMNED", "/Condemned"),
        ("BYTES", "/CondemnedBytes"),
        ("DELETED", "/Deleted"),
        ("BYTES", "/DeletedBytes"),
        ("HELD BACK", "/HeldBack"),
    ];
    output::listing(form, &json!({ "Stores": rows }), "Stores", &columns);
    if form == OutputForm::Table && plan_only {
        output::line("This is the plan; nothing was changed.");
    }
    Ok(ExitCode::SUCCESS)
}

fn row(region: &str, report: &CollectionReport) -> Value {
    json!({
        "Region": region,
        "Condemned": report.condemned, "CondemnedBytes": report.condemned_bytes,
        "Deleted": report.deleted, "DeletedBytes": report.deleted_bytes, "HeldBack": report.held_back,
    })
}
