//! The service itself: what all use cases share, how it starts, and how it stops.

use std::collections::HashMap;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use kiln_catalog::{Catalog, ImageQuery, KeyHolder};
use kiln_model::{
    Account, ApiKey, AppId, Contact, ImageId, InstanceEvent, InstanceState, Limits, Region, RegionId, Role,
    SecretId, Timestamp, Uin,
};
use kiln_nbd::{Listener, SocketAccess};
use kiln_transfer::Fetcher;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::actions::{OpenScreen, SCREEN_LIFE, ScreenTicket};
use crate::config::ServiceConfig;
use crate::exports::{EXPORT_LIFE, OperatorExports, TokenExports};
use crate::jobs::JobError;
use crate::machines::Machines;
use crate::notifications::Senders;
use crate::objects::Incoming;
use crate::recent::{Age, Recent};
use crate::region_store::RegionStore;
use crate::tickets::Tickets;
use crate::{
    Answer, Caller, Command, ImagePage, Refusal, actions, collection, jobs, notifications, objects, usage,
};

/// How long work in the background may take to end after a shutdown was asked for.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(10);

/// Connections to exports over TCP; those that say nothing are closed when their handshake takes too long.
const MAX_EXPORT_CONNECTIONS: usize = 512;

/// Keys and pages of images that are kept to be given again. A page is 20 kB as a rule and 200 kB at most.
const MAX_RECENT_KEYS: usize = 4096;
const MAX_RECENT_PAGES: usize = 256;

/// Why the service could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The catalogue.
    #[error("the catalogue: {0}")]
    Catalog(#[from] kiln_catalog::Error),
    /// A region's store.
    #[error("the store of region {region}: {source}")]
    Store {
        /// The region.
        region: RegionId,
        /// What was wrong.
        source: kiln_chunk_store::Error,
    },
    /// The fetcher of import sources.
    #[error("fetching: {0}")]
    Transfer(#[from] kiln_transfer::Error),
    /// Telling people.
    #[error("notifications: {0}")]
    Notify(#[from] kiln_notify::Error),
    /// Serving disks.
    #[error("serving disks: {0}")]
    Nbd(#[from] kiln_nbd::Error),
    /// A directory could not be made.
    #[error("{path}: {source}")]
    Directory {
        /// The directory.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// What ran before could not be taken up.
    #[error("taking up what ran before: {0}")]
    Adoption(String),
}

impl From<JobError> for StartError {
    fn from(error: JobError) -> Self {
        Self::Adoption(error.to_string())
    }
}

/// The image service.
pub struct Service {
    pub(crate) catalog: Catalog,
    pub(crate) config: ServiceConfig,
    stores: HashMap<RegionId, Arc<RegionStore>>,
    pub(crate) machines: Machines,
    pub(crate) fetcher: Fetcher,
    pub(crate) senders: Senders,
    /// To the disks of images, over TCP.
    pub(crate) export_tickets: Tickets<ImageId>,
    /// To the screens of instances.
    pub(crate) screen_tickets: Tickets<ScreenTicket>,
    recent_keys: Recent<SecretId, KeyHolder>,
    pub(crate) recent_images: Recent<ImageQuery, ImagePage>,
    /// Where TCP exports really are, when they are asked for.
    pub(crate) export_address: Option<std::net::SocketAddr>,
    /// What is on its way into buckets.
    pub(crate) incoming: Incoming,
    /// Rung when a task was added or has ended.
    pub(crate) task_announced: Notify,
    pub(crate) shutdown: CancellationToken,
    pub(crate) background: TaskTracker,
}

impl Service {
    /// Opens the stores, serves the exports, takes up the machines that run, and starts working on tasks.
    ///
    /// # Errors
    /// [`StartError`] names the part that could not be opened.
    pub async fn start(config: ServiceConfig, catalog: Catalog) -> Result<Arc<Self>, StartError> {
        let nbd = kiln_nbd::Server::new(kiln_nbd::Limits::default())?;
        let (instances_dir, disks_dir) = (config.instances_dir(), config.disks_dir());
        make_private_dir(&disks_dir)?;
        for dir in [instances_dir.as_path(), config.export_socket().parent().unwrap_or(&config.data_dir)] {
            std::fs::create_dir_all(dir)
                .map_err(|source| StartError::Directory { path: dir.display().to_string(), source })?;
        }
        let mut stores = HashMap::new();
        for region in &config.regions {
            let store = RegionStore::open(&config, &region.id)
                .map_err(|source| StartError::Store { region: region.id.clone(), source })?;
            stores.insert(region.id.clone(), Arc::new(store));
        }
        let tcp = match config.nbd_tcp {
            Some(address) => Some(Listener::tcp(address).await?.with_max_connections(MAX_EXPORT_CONNECTIONS)),
            None => None,
        };
        let unix = Listener::unix(&config.export_socket(), SocketAccess::private())?;
        let service = Arc::new(Self {
            machines: Machines::new(instances_dir, disks_dir, config.instances.clone(), nbd.clone()),
            fetcher: Fetcher::new(config.transfer.clone())?,
            senders: Senders::new(&config.notifications)?,
            export_tickets: Tickets::new(EXPORT_LIFE),
            screen_tickets: Tickets::new(SCREEN_LIFE),
            recent_keys: Recent::new(MAX_RECENT_KEYS),
            recent_images: Recent::new(MAX_RECENT_PAGES),
            export_address: tcp.as_ref().and_then(Listener::tcp_address),
            incoming: Incoming::default(),
            task_announced: Notify::new(),
            shutdown: CancellationToken::new(),
            background: TaskTracker::new(),
            catalog,
            config,
            stores,
        });
        service.serve_exports(&nbd, unix, tcp);
        service.take_up().await?;
        jobs::spawn_workers(&service);
        collection::spawn(&service);
        notifications::spawn(&service);
        objects::spawn(&service);
        Ok(service)
    }

    fn serve_exports(self: &Arc<Self>, nbd: &kiln_nbd::Server, unix: Listener, tcp: Option<Listener>) {
        let (server, stopped) = (nbd.clone(), self.shutdown.clone());
        let exports = Arc::new(OperatorExports::new(self));
        self.background.spawn(async move { server.serve(unix, exports, stopped.cancelled_owned()).await });
        if let Some(listener) = tcp {
            let (server, stopped) = (nbd.clone(), self.shutdown.clone());
            let exports = Arc::new(TokenExports::new(self));
            self.background
                .spawn(async move { server.serve(listener, exports, stopped.cancelled_owned()).await });
        }
    }

    /// Makes what the catalogue says true again after a stop, a crash or a reboot of the host.
    async fn take_up(self: &Arc<Self>) -> Result<(), StartError> {
        let mut tx = self.catalog.write().await?;
        tx.release_leases(Timestamp::now()).await?;
        tx.commit().await?;
        if let Err(error) = jobs::sweep_staging(self).await {
            tracing::warn!(%error, "what ended imports left could not be removed");
        }
        let disks = self.catalog.read().await?.living_disks().await?;
        if let Err(error) = self.machines.sweep_disks(&disks).await {
            tracing::warn!(%error, "what removed disks left could not be removed");
        }
        let living = self.catalog.read().await?.living_instances().await?;
        for instance in living {
            // One machine that cannot be taken up must not keep the others, and the service, from running.
            let runs = match self.machines.adopt(self, &instance).await {
                Ok(runs) => runs,
                Err(error) => {
                    tracing::error!(instance = %instance.id, %error, "a machine could not be taken up");
                    continue;
                }
            };
            let event = match (instance.state, runs) {
                (InstanceState::Running, false) => Some(InstanceEvent::Stopped),
                (InstanceState::Stopped, true) if instance.task.is_none() => {
                    // Its stop was recorded, its end was not seen: end it now.
                    if let Some(machine) = self.machines.get(&instance.id)
                        && let Err(error) = machine.force_off().await
                    {
                        tracing::error!(instance = %instance.id, %error, "a stopped instance's machine goes on");
                    }
                    None
                }
                _ => None,
            };
            if instance.state == InstanceState::Running && runs {
                // It may run since before usage was recorded.
                let mut tx = self.catalog.write().await?;
                usage::begin(&mut tx, &instance.id, Timestamp::now()).await?;
                tx.commit().await?;
            }
            if let Some(event) = event {
                let mut tx = self.catalog.write().await?;
                usage::transition(&mut tx, &instance.id, event, Timestamp::now()).await?;
                tx.commit().await?;
            }
        }
        Ok(())
    }

    /// Stops taking work and waits for what is under way to reach a safe point. Machines go on.
    pub async fn stop(&self) {
        self.shutdown.cancel();
        self.background.close();
        if tokio::time::timeout(SHUTDOWN_GRACE, self.background.wait()).await.is_err() {
            tracing::warn!("work in the background was cut off; the next start goes on with it");
        }
        self.catalog.close().await;
    }

    /// Whether the catalogue answers.
    ///
    /// # Errors
    /// What the catalogue says.
    pub async fn ready(&self) -> Result<(), Refusal> {
        self.catalog.read().await?.operator().await?;
        Ok(())
    }

    /// Carries out a command. The operation log has one that changes something before it begins, so that no change is
    /// missing there, however the process ends; then what it changed, or why it did not.
    ///
    /// # Errors
    /// A [`Refusal`]; then nothing but the operation log was changed.
    pub async fn perform(self: &Arc<Self>, caller: Caller, command: Command) -> Result<Answer, Refusal> {
        if !command.changes() {
            return actions::perform(self, &caller, command).await;
        }
        let mut tx = self.catalog.write().await?;
        let number = tx.append_operation(&actions::unfinished_operation(&caller, &command)).await?;
        tx.commit().await?;
        let outcome = actions::perform(self, &caller, command).await;
        let (code, message) = match &outcome {
            Ok(answer) => ("", actions::outcome(answer)),
            Err(refusal) => (refusal.code, refusal.message.clone()),
        };
        let ended = async {
            let mut tx = self.catalog.write().await?;
            tx.end_operation(number, code, &message).await?;
            tx.commit().await
        };
        // What is done is done: whoever asked for it is told so, whatever the log says.
        if let Err(error) = ended.await {
            tracing::error!(number, code, %message, %error, "the operation log was not told how an operation ended");
        }
        outcome
    }

    /// The key of a `SecretId` and whose it is, for checking a signature.
    ///
    /// # Errors
    /// Where the catalogue does not answer.
    pub async fn api_key(&self, secret_id: &SecretId) -> Result<Option<KeyHolder>, Refusal> {
        let now = Age::of(&self.catalog);
        if let Some(holder) = self.recent_keys.get(secret_id, now) {
            return Ok(Some(KeyHolder::clone(&holder)));
        }
        let Some(holder) = self.catalog.read().await?.api_key(secret_id).await? else { return Ok(None) };
        self.recent_keys.keep(secret_id.clone(), now, holder.clone());
        Ok(Some(holder))
    }

    /// The screen, keyboard and mouse that a ticket of [`Answer::Screen`] leads to.
    ///
    /// # Errors
    /// `Denied` where the ticket was used, is too old or made up; `Unavailable` where the machine shows no screen.
    pub async fn open_screen(&self, ticket: &str) -> Result<OpenScreen, Refusal> {
        actions::open_screen(self, ticket).await
    }

    /// What accounts may have and do that have no limits of their own.
    pub fn default_limits(&self) -> &Limits {
        &self.config.limits
    }

    /// The regions that are configured, the default first.
    pub fn regions(&self) -> &[Region] {
        &self.config.regions
    }

    /// How clients reach objects: `http` or `https`.
    pub fn object_scheme(&self) -> &'static str {
        if self.config.objects.tls { "https" } else { "http" }
    }

    /// The region of requests that need none.
    pub fn default_region(&self) -> &RegionId {
        &self.config.regions[0].id
    }

    /// The operator's account, made with its first key where there is none yet.
    ///
    /// # Errors
    /// Where the catalogue does not answer.
    pub async fn ensure_operator(
        catalog: &Catalog,
    ) -> Result<Option<(Account, ApiKey)>, kiln_catalog::Error> {
        let mut tx = catalog.write().await?;
        if tx.operator().await?.is_some() {
            return Ok(None);
        }
        let now = Timestamp::now();
        let account = Account {
            uin: Uin::random(),
            app_id: AppId::random(),
            nickname: "operator".to_owned(),
            role: Role::Operator,
            may_import: true,
            contact: Contact::default(),
            created_at: now,
        };
        let key = ApiKey::random(account.uin, now);
        tx.insert_account(&account).await?;
        tx.insert_api_key(&key).await?;
        tx.commit().await?;
        Ok(Some((account, key)))
    }

    pub(crate) fn store(&self, region: &RegionId) -> Option<Arc<RegionStore>> {
        self.stores.get(region).cloned()
    }

    pub(crate) fn region(&self, id: &RegionId) -> Option<&Region> {
        self.config.regions.iter().find(|region| region.id == *id)
    }

    pub(crate) fn stores(&self) -> impl Iterator<Item = &Arc<RegionStore>> {
        self.config.regions.iter().filter_map(|region| self.stores.get(&region.id))
    }

    /// What an account may have and do.
    pub(crate) async fn limits_of(&self, owner: Uin) -> kiln_catalog::Result<Limits> {
        let own = self.catalog.read().await?.limits_override(owner).await?;
        Ok(own.unwrap_or(self.config.limits))
    }
}

/// Nobody but the service reaches what is in there: guests' processes have names of their own for their files.
fn make_private_dir(dir: &Path) -> Result<(), StartError> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.map_err(|source| StartError::Directory { path: dir.display().to_string(), source })
}
