//! Tap devices for machines on a bridge of the host, made and removed with iproute2's `ip`.
//!
//! The device is made persistent and owned by QEMU's user, so that QEMU needs no privilege to open it and it
//! outlives Kiln. What a guest may send on the bridge is the bridge's business (ebtables, nftables), not ours.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use crate::config::Identity;
use crate::error::{Error, Result};

/// The longest name of a network interface, in bytes (Linux's IFNAMSIZ without the final NUL).
pub const MAX_INTERFACE_BYTES: usize = 15;
/// How long one `ip` command may take.
const IP_TIMEOUT: Duration = Duration::from_secs(20);

/// The name of a machine's tap device, made from its directory's. The pid file records which one was used.
pub(crate) fn tap_name(dir: &Path) -> String {
    let mut hasher = DefaultHasher::new();
    dir.hash(&mut hasher);
    format!("kiln{:010x}", hasher.finish() & 0xff_ffff_ffff)
}

/// Makes a tap device, owned by QEMU's user, and connects it to the bridge.
pub(crate) async fn add_tap(tap: &str, bridge: &str, identity: Option<Identity>) -> Result<()> {
    // One left by a machine whose end nobody saw would belong to the wrong user.
    remove_tap(tap).await;
    let uid = identity.map_or(rustix::process::geteuid().as_raw(), |identity| identity.uid).to_string();
    ip(&["tuntap", "add", "dev", tap, "mode", "tap", "user", &uid]).await?;
    let connected = ip(&["link", "set", "dev", tap, "master", bridge, "up"]).await;
    if connected.is_err() {
        remove_tap(tap).await;
    }
    connected
}

/// Removes a tap device, if it is there.
pub(crate) async fn remove_tap(tap: &str) {
    if Path::new("/sys/class/net").join(tap).exists()
        && let Err(error) = ip(&["link", "delete", "dev", tap]).await
    {
        tracing::warn!(tap, %error, "a tap device could not be removed");
    }
}

async fn ip(arguments: &[&str]) -> Result<()> {
    let mut command = tokio::process::Command::new("ip");
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    let what = || format!("`ip {}`", arguments.join(" "));
    let output = match tokio::time::timeout(IP_TIMEOUT, command.output()).await {
        Err(_) => return Err(Error::Timeout { what: what(), limit: IP_TIMEOUT }),
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(Error::Missing { program: "ip", package: "iproute2" });
        }
        Ok(output) => output.map_err(Error::io("run", Path::new("ip")))?,
    };
    if output.status.success() {
        return Ok(());
    }
    let reason = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Error::Config(format!("{} failed: {reason}", what())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tap_names_fit_and_differ() {
        let (one, two) = (tap_name(Path::new("/i/ins-1")), tap_name(Path::new("/i/ins-2")));
        assert!(one.len() <= MAX_INTERFACE_BYTES && one != two);
        assert_eq!(one, tap_name(Path::new("/i/ins-1")));
    }
}
