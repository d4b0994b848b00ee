//! Why a query failed, by cause. The service decides what its caller is told.

use kiln_model::IllegalTransition;

/// What a query gives, or why it does not.
pub type Result<T> = std::result::Result<T, Error>;

/// A query failed. Its transaction should be dropped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database was held by others for longer than callers are made to wait.
    #[error("the database is busy")]
    Busy,
    /// Something that may exist once exists already.
    #[error("{0:?} is already in use")]
    Conflict(Unique),
    /// The row's state does not allow what was to happen.
    #[error(transparent)]
    Illegal(#[from] IllegalTransition),
    /// The row is not (or no longer) as the caller took it to be: another fence, another holder, or absent.
    #[error("stale: {0}")]
    Stale(&'static str),
    /// The row refers to one that does not exist.
    #[error("a row that this one refers to does not exist")]
    Missing,
    /// A stored value cannot be understood.
    #[error("column {column} is unreadable: {reason}")]
    Corrupt {
        /// The column.
        column: &'static str,
        /// What is wrong with its value.
        reason: String,
    },
    /// A number does not fit a column.
    #[error("{0} is too large to be stored")]
    TooLarge(&'static str),
    /// The database failed.
    #[error("database: {0}")]
    Sql(#[source] sqlx::Error),
    /// The database's tables could not be brought to this version.
    #[error("migrating the database: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// The database's file could not be created.
    #[error("creating the database's file: {0}")]
    File(#[from] std::io::Error),
}

/// What may exist only once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unique {
    /// An account's Uin or AppId.
    AccountNumber,
    /// There is one operator.
    Operator,
    /// A sub-account's name among its main account's.
    SubAccountName,
    /// The public half of an API key.
    ApiKey,
    /// A key pair's name among its owner's.
    KeyPairName,
    /// A custom image's name among its owner's in the region.
    ImageName,
    /// An image and the account it is shared with.
    Share,
    /// An instance's ordinal among the living ones.
    Ordinal,
    /// A client token among its account's for the action.
    ClientToken,
    /// A bucket's name.
    BucketName,
    /// An identifier, or the key of a pack or manifest.
    Identifier,
}

/// What SQLite names (the table and the first column) where a unique index refuses a row, and its meaning.
const UNIQUE_COLUMNS: &[(&str, Unique)] = &[
    ("sub_accounts.owner", Unique::SubAccountName),
    ("accounts.uin", Unique::AccountNumber),
    ("accounts.app_id", Unique::AccountNumber),
    ("accounts.role", Unique::Operator),
    ("api_keys.secret_id", Unique::ApiKey),
    ("key_pairs.owner", Unique::KeyPairName),
    ("images.owner", Unique::ImageName),
    ("image_shares.image", Unique::Share),
    ("instances.ordinal", Unique::Ordinal),
    ("client_tokens.owner", Unique::ClientToken),
    ("buckets.name", Unique::BucketName),
];

/// SQLITE_BUSY and SQLITE_LOCKED; an extended code carries them in its low byte.
const BUSY_CODES: [i64; 2] = [5, 6];

fn is_busy(error: &dyn sqlx::error::DatabaseError) -> bool {
    let code = error.code().and_then(|code| code.parse::<i64>().ok());
    code.is_some_and(|code| BUSY_CODES.contains(&(code & 0xff)))
}

fn unique_of(message: &str) -> Unique {
    let known = UNIQUE_COLUMNS.iter().find(|(column, _)| message.contains(column));
    known.map_or(Unique::Identifier, |(_, unique)| *unique)
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::PoolTimedOut => Self::Busy,
            sqlx::Error::Database(cause) if cause.is_unique_violation() => {
                Self::Conflict(unique_of(cause.message()))
            }
            sqlx::Error::Database(cause) if cause.is_foreign_key_violation() => Self::Missing,
            sqlx::Error::Database(cause) if is_busy(cause.as_ref()) => Self::Busy,
            _ => Self::Sql(error),
        }
    }
}
