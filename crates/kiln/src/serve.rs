//! `kiln serve`: opens the data directory, starts the service, answers HTTP until it is told to stop.

use std::fs::File;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use kiln_catalog::Catalog;
use kiln_service::{Service, ServiceConfig};
use rustix::io::Errno;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::credentials::Credentials;
use crate::places;
use crate::tls::{self, Source, TlsListener};

/// How long a taken data directory is waited for, and how often it is looked at.
const LOCK_TIMEOUT: Duration = Duration::from_secs(2);
const LOCK_POLL: Duration = Duration::from_millis(50);

/// How long transfers of objects may go on after the server was told to stop.
const TRANSFER_GRACE: Duration = Duration::from_secs(5);

type Error = Box<dyn std::error::Error + Send + Sync>;

/// Runs the server until SIGINT or SIGTERM. Instances' machines go on.
pub(crate) async fn serve(config: Config) -> Result<(), Error> {
    let Config { listen, tls, objects_tls, api, objects: object_api, mut service } = config;
    // What is kept belongs to nobody else on this machine: seeds hold passwords, overlays hold everything.
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    let data_dir = service.data_dir.clone();
    std::fs::create_dir_all(&data_dir).map_err(|error| format!("{}: {error}", data_dir.display()))?;
    let _lock = lock(&data_dir).await?;
    places::claim(&service)?;
    let listener =
        TcpListener::bind(listen).await.map_err(|error| format!("listening on {listen}: {error}"))?;
    let own_authority = matches!(tls.as_ref().or(objects_tls.as_ref()), Some(Source::Authority { .. }));
    let speak = |source: Option<Source>, address: IpAddr| {
        source.map(|source| tls::server_config(&source, address, &data_dir)).transpose()
    };
    let tls = speak(tls, listen.ip())?;
    let (objects, objects_address) = listen_for_objects(&mut service).await?;
    let objects_tls = speak(objects_tls, objects_address.ip())?;
    let catalog = Catalog::open_sqlite(&ServiceConfig::catalog_path(&data_dir)).await?;
    introduce_operator(&catalog, &data_dir).await?;
    let service = Service::start(service, catalog).await?;
    let address = listener.local_addr()?;
    let scheme = |tls: &Option<_>| if tls.is_some() { "https" } else { "http" };
    let (objects_scheme, scheme) = (scheme(&objects_tls), scheme(&tls));
    tracing::info!(%address, scheme, data_dir = %data_dir.display(), "kiln serves");
    eprintln!("kiln serves objects at {objects_scheme}://{objects_address}");
    eprintln!("kiln serves at {scheme}://{address} (data in {})", data_dir.display());
    let router = kiln_tencent_api::router(kiln_tencent_api::Api::new(Arc::clone(&service), api))
        .merge(health(Arc::clone(&service)));
    if own_authority {
        eprintln!(
            "its certificate is signed by its own authority: `kiln tls trust` says how clients trust it"
        );
    }
    let stopping = CancellationToken::new();
    let buckets = kiln_object_api::router(Arc::clone(&service), object_api);
    let buckets = match objects_tls {
        None => tokio::spawn(kiln_object_api::serve(objects, buckets, stopping.clone())),
        Some(config) => {
            let objects = TlsListener::new(objects, config)?;
            tokio::spawn(kiln_object_api::serve(objects, buckets, stopping.clone()))
        }
    };
    match tls {
        None => axum::serve(listener, router).with_graceful_shutdown(told_to_stop()?).await?,
        Some(config) => {
            let listener = TlsListener::new(listener, config)?;
            axum::serve(listener, router).with_graceful_shutdown(told_to_stop()?).await?;
        }
    }
    stopping.cancel();
    if tokio::time::timeout(TRANSFER_GRACE, buckets).await.is_err() {
        tracing::warn!("transfers of objects were cut off; their clients begin them again");
    }
    service.stop().await;
    Ok(())
}

/// Listens for clients of buckets; the service learns the address, which its own objects' URLs have.
async fn listen_for_objects(service: &mut ServiceConfig) -> Result<(TcpListener, SocketAddr), Error> {
    let wanted = service.objects.address.ok_or("objects.listen is missing")?;
    let listener = TcpListener::bind(wanted)
        .await
        .map_err(|error| format!("listening on {wanted} for objects: {error}"))?;
    let address = listener.local_addr()?;
    service.objects.address = Some(address);
    Ok((listener, address))
}

/// Keeps a second server out of the same data directory for as long as the file is open.
///
/// A server that was killed while it started a machine leaves the file open in that machine's process for the moment
/// until it becomes QEMU, so a lock that is taken is waited for.
async fn lock(data_dir: &Path) -> Result<File, Error> {
    let path = data_dir.join("lock");
    let file = File::create(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let deadline = Instant::now() + LOCK_TIMEOUT;
    loop {
        match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(Errno::WOULDBLOCK) if Instant::now() < deadline => tokio::time::sleep(LOCK_POLL).await,
            Err(Errno::WOULDBLOCK) => {
                return Err(format!("another kiln serves {} already", data_dir.display()).into());
            }
            Err(error) => return Err(format!("{}: {error}", path.display()).into()),
        }
    }
}

/// On the first start: makes the operator's account, and prints and keeps its key.
///
/// The key is kept before anything else, so that a stop in between leaves no operator without a key.
async fn introduce_operator(catalog: &Catalog, data_dir: &Path) -> Result<(), Error> {
    if let Some((account, key)) = Service::ensure_operator(catalog).await? {
        let credentials = Credentials::new(&account, &key);
        credentials
            .write(data_dir)
            .map_err(|error| format!("credentials.json could not be written: {error}"))?;
        println!("{}", serde_json::to_string_pretty(&credentials)?);
    }
    Ok(())
}

fn health(service: Arc<Service>) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route(
            "/readyz",
            get(async |State(service): State<Arc<Service>>| match service.ready().await {
                Ok(()) => (StatusCode::OK, "ready\n".to_owned()),
                Err(refusal) => (StatusCode::SERVICE_UNAVAILABLE, format!("{refusal}\n")),
            }),
        )
        .with_state(service)
}

fn told_to_stop() -> std::io::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        tracing::info!("stopping; machines go on");
    })
}
