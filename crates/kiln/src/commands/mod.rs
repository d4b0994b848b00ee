//! What each command does: the server's in `serve.rs`, the client's here, one file a noun.

mod account;
mod bucket;
mod catalog;
mod convert;
mod disk;
mod doctor;
mod image;
mod instance;
mod key_pair;
mod log;
mod market;
mod messages;
mod public_image;
mod report;
mod screen;
mod snapshot;
mod store;
mod task;
mod tls;
mod usage;

use std::io::IsTerminal;
use std::process::ExitCode;

use tracing_subscriber::EnvFilter;

use crate::arguments::{Arguments, Command, Connection, ImageFileCommand, ImageWork, Serve};
use crate::client::{Client, Error};
use crate::config::{self, Config, Overrides};
use crate::objects::Objects;
use crate::serve::serve;

/// Does what the arguments say.
pub(crate) async fn run(arguments: Arguments) -> Result<ExitCode, Error> {
    let Arguments { connection, command } = arguments;
    let form = connection.output;
    match command {
        Command::Serve(Serve { listen, config }) => {
            log_to_stderr();
            serve(load(config.as_deref(), listen, connection.data_dir)?).await?;
        }
        Command::Image(ImageWork::File(command)) => match command {
            ImageFileCommand::Inspect(wanted) => return report::inspect(form, &wanted),
            ImageFileCommand::Convert(wanted) => return convert::run(form, wanted).await,
        },
        Command::Confined => unreachable!("done before the runtime was started"),
        Command::Doctor => return doctor::run(form).await,
        Command::ExampleConfig => crate::output::line(config::EXAMPLE.trim_end()),
        Command::Store(command) => return store::run(&connection, command).await,
        Command::Tls(command) => tls::run(&connection, &command)?,
        Command::Account(command) => account::run(&Client::new(&connection)?, form, command).await?,
        Command::Messages => messages::run(&Client::new(&connection)?, form).await?,
        Command::Log(wanted) => log::run(&Client::new(&connection)?, form, wanted).await?,
        Command::Image(ImageWork::Service(command)) => {
            image::run(&Client::new(&connection)?, &connection, command).await?
        }
        Command::Catalog(command) => catalog::run(&connection, command).await?,
        Command::Image(ImageWork::Public(command)) => {
            public_image::run(&Client::new(&connection)?, form, command).await?
        }
        Command::Bucket(command) => bucket::run(&objects(&connection).await?, form, command).await?,
        Command::Object(command) => bucket::run_object(&objects(&connection).await?, form, command).await?,
        Command::Instance(command) => return instance::run(&Client::new(&connection)?, form, command).await,
        Command::Snapshot(command) => snapshot::run(&Client::new(&connection)?, form, command).await?,
        Command::Disk(command) => disk::run(&Client::new(&connection)?, form, command).await?,
        Command::KeyPair(command) => key_pair::run(&Client::new(&connection)?, form, command).await?,
        Command::Market(command) => market::run(&Client::new(&connection)?, form, command).await?,
        Command::Usage(wanted) => usage::run(&Client::new(&connection)?, form, wanted).await?,
        Command::Task(command) => task::run(&Client::new(&connection)?, form, command).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn objects(connection: &Connection) -> Result<Objects, Error> {
    Objects::find(&Client::new(connection)?, connection.objects_endpoint.as_deref()).await
}

/// The server's configuration: the file, and what arguments and environment say before it.
fn load(
    file: Option<&std::path::Path>,
    listen: Option<std::net::SocketAddr>,
    data_dir: Option<std::path::PathBuf>,
) -> Result<Config, Error> {
    let overrides = Overrides {
        listen,
        data_dir,
        accelerator: std::env::var("KILN_ACCEL").ok(),
        search_path: std::env::var_os("PATH").unwrap_or_default(),
    };
    Ok(config::load(file, overrides)?)
}

fn log_to_stderr() {
    // To s3s, every request that is refused is an error.
    let filter = EnvFilter::try_from_env("KILN_LOG").unwrap_or_else(|_| EnvFilter::new("info,s3s=off"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
}

/// Opens an image file of this machine. A pipe would be waited for, a directory cannot be read: both are refused.
fn open_image_file(path: &std::path::Path) -> Result<std::fs::File, Error> {
    let named = |error: &dyn std::fmt::Display| Error::from(format!("{}: {error}", path.display()));
    let kind = std::fs::metadata(path).map_err(|error| named(&error))?.file_type();
    if !(kind.is_file() || std::os::unix::fs::FileTypeExt::is_block_device(&kind)) {
        return Err(named(&"it is neither a file nor a block device"));
    }
    std::fs::File::open(path).map_err(|error| named(&error))
}
