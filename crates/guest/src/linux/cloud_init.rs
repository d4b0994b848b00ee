//! cloud-init: whether it is installed, whether it will run, and where it looks for its data.
//!
//! Source: cloud-init's documentation on boot stages, on disabling it, and on `datasource_list`.

use serde::{Deserialize, Serialize};

use super::yaml::Value;
use crate::error::Result;
use crate::tree::Root;

/// What is known of cloud-init in a system.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CloudInit {
    /// Whether its program is there.
    pub installed: bool,
    /// Whether something starts it, and nothing keeps it from starting.
    pub enabled: bool,
    /// The data sources that its configuration lists; empty where it looks for all.
    pub datasources: Vec<String>,
    /// Whether it leaves the network alone.
    pub network_disabled: bool,
}

const PROGRAMS: [&str; 4] =
    ["/usr/bin/cloud-init", "/usr/local/bin/cloud-init", "/bin/cloud-init", "/usr/sbin/cloud-init"];
/// CoreOS has its own program for the same purpose.
const COREOS_PROGRAMS: [&str; 2] = ["/usr/bin/coreos-cloudinit", "/usr/bin/ignition"];
const DISABLED: &str = "/etc/cloud/cloud-init.disabled";
const CONFIGURATION: &str = "/etc/cloud/cloud.cfg";
const CONFIGURATION_DIRECTORY: &str = "/etc/cloud/cloud.cfg.d";
/// Files of a configuration directory that are read.
const FILES_MAX: usize = 128;
/// What starts it: systemd's generator and units, SysV and OpenRC links, an Upstart job.
const STARTERS: [&str; 12] = [
    "/lib/systemd/system-generators/cloud-init-generator",
    "/usr/lib/systemd/system-generators/cloud-init-generator",
    "/etc/systemd/system/multi-user.target.wants/cloud-init.service",
    "/etc/systemd/system/cloud-init.target.wants/cloud-init.service",
    "/etc/systemd/system/cloud-init.target.wants/cloud-init-network.service",
    "/etc/systemd/system/multi-user.target.wants/cloud-init.target",
    "/etc/init/cloud-init.conf",
    "/etc/runlevels/boot/cloud-init",
    "/etc/runlevels/default/cloud-init",
    "/etc/rc.d/rc3.d/S51cloud-init",
    "/etc/rc.d/rc3.d/S50cloud-init-local",
    "/etc/rc3.d/S01cloud-init",
];
const UNITS: [&str; 2] = ["/etc/systemd/system/cloud-init.service", "/etc/systemd/system/cloud-init.target"];

/// Looks for cloud-init.
pub(crate) fn read(root: &Root) -> Result<CloudInit> {
    let any = |paths: &[&str]| -> Result<bool> {
        for path in paths {
            if root.exists(path)? {
                return Ok(true);
            }
        }
        Ok(false)
    };
    if !any(&PROGRAMS)? {
        let installed = any(&COREOS_PROGRAMS)?;
        return Ok(CloudInit { installed, enabled: installed, ..CloudInit::default() });
    }
    let mut masked = root.exists(DISABLED)?;
    for unit in UNITS {
        masked |= root.link_target(unit)?.is_some_and(|target| target == "/dev/null");
    }
    let mut found =
        CloudInit { installed: true, enabled: any(&STARTERS)? && !masked, ..CloudInit::default() };
    for text in configuration_texts(root)? {
        apply(&mut found, &text);
    }
    Ok(found)
}

/// The main file, then those of the directory in their order: later ones win.
fn configuration_texts(root: &Root) -> Result<Vec<String>> {
    let mut texts: Vec<String> = root.text(CONFIGURATION)?.into_iter().collect();
    let names = root.list(CONFIGURATION_DIRECTORY)?;
    for name in names.iter().filter(|name| name.ends_with(".cfg")).take(FILES_MAX) {
        texts.extend(root.text(&format!("{CONFIGURATION_DIRECTORY}/{name}"))?);
    }
    Ok(texts)
}

/// What one configuration file says by itself.
pub(crate) fn parse(text: &str) -> CloudInit {
    let mut found = CloudInit::default();
    apply(&mut found, text);
    found
}

fn apply(found: &mut CloudInit, text: &str) {
    // A file that is no YAML is one that cloud-init ignores as well.
    let Ok(value) = Value::parse(text) else {
        return;
    };
    if let Some(list) = value.get("datasource_list").and_then(Value::items) {
        found.datasources = list.iter().filter_map(Value::text).map(str::to_owned).collect();
    }
    if let Some(network) = value.get("network") {
        found.network_disabled = network.get("config").and_then(Value::text) == Some("disabled");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::root;

    const PROGRAM: (&str, &str) = ("/usr/bin/cloud-init", "");
    const GENERATOR: (&str, &str) = ("/lib/systemd/system-generators/cloud-init-generator", "");

    #[test]
    fn installed_enabled_and_configured_are_three_things() {
        let read = |files: &[(&str, &str)]| read(&root(files)).expect("readable");
        assert_eq!(read(&[GENERATOR]), CloudInit::default());
        assert!(!read(&[PROGRAM]).enabled);
        assert!(read(&[PROGRAM, GENERATOR]).enabled);
        assert!(!read(&[PROGRAM, GENERATOR, (DISABLED, "")]).enabled);
        assert!(!read(&[PROGRAM, GENERATOR, (UNITS[0], "-> /dev/null")]).enabled);
        let configured = read(&[
            PROGRAM,
            GENERATOR,
            (CONFIGURATION, "datasource_list: [ Ec2 ]\nusers: [default]\n"),
            ("/etc/cloud/cloud.cfg.d/90_dpkg.cfg", "datasource_list:\n  - NoCloud\n  - ConfigDrive\n"),
            ("/etc/cloud/cloud.cfg.d/README", "not: [yaml"),
            ("/etc/cloud/cloud.cfg.d/99-net.cfg", "network: {config: disabled}"),
        ]);
        assert_eq!(configured.datasources, ["NoCloud", "ConfigDrive"]);
        assert!(configured.network_disabled);
    }
}
