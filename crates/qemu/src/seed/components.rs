//! Components that a guest gets at its first boot: a script of the vendor data, which cloud-init runs once for an instance,
//! after everything else is configured and whatever the user's own data say.
//!
//! A list of packages in the vendor's cloud-config would not do: a user's own list takes its place.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::error::{Error, Result};

/// The most packages.
pub const MAX_PACKAGES: usize = 50;
/// The longest script, in bytes.
pub const MAX_SCRIPT_BYTES: usize = 16 << 10;
const MAX_PACKAGE_CHARS: usize = 128;

/// What a guest installs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SeedComponents {
    /// Names of packages, as the guest's own package manager knows them.
    pub packages: Vec<String>,
    /// A script that is run afterwards.
    pub script: Option<String>,
}

impl SeedComponents {
    /// That the names are names of packages and the script is one.
    ///
    /// # Errors
    /// [`Error::Seed`] says what is not.
    pub fn check(&self) -> Result<()> {
        let wrong = |reason: String| Err(Error::Seed(reason));
        if self.packages.len() > MAX_PACKAGES {
            return wrong(format!("there are more than {MAX_PACKAGES} packages"));
        }
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".+_:=~-".contains(&byte);
        let is_name = |name: &str| {
            name.len() <= MAX_PACKAGE_CHARS
                && name.bytes().all(plain)
                && name.starts_with(|first: char| first.is_ascii_alphanumeric())
        };
        if let Some(name) = self.packages.iter().find(|name| !is_name(name)) {
            return wrong(format!("{name:?} is no package's name"));
        }
        match &self.script {
            Some(script) if script.len() > MAX_SCRIPT_BYTES => {
                wrong(format!("the script is longer than {MAX_SCRIPT_BYTES} bytes"))
            }
            Some(script) if !script.starts_with("#!") => {
                wrong("the script does not say what runs it: begin it with #!/bin/sh".into())
            }
            _ => Ok(()),
        }
    }
}

/// The script that installs them. What it prints is kept in the guest.
pub(super) fn script(components: &SeedComponents) -> Vec<u8> {
    let mut text = format!("#!/bin/sh\numask 077\nexec >>{LOG} 2>&1\n");
    if !components.packages.is_empty() {
        // The names hold nothing that a shell takes for more (checked).
        text.push_str(&format!("set -- {}\n{INSTALL}", components.packages.join(" ")));
    }
    if let Some(script) = &components.script {
        let encoded = STANDARD.encode(script);
        text.push_str(&format!(
            "file=$(mktemp)\nprintf %s '{encoded}' | base64 -d >\"$file\"\nchmod 700 \"$file\"\n\"$file\"\n\
             status=$?\nrm -f \"$file\"\nexit $status\n"
        ));
    }
    text.into_bytes()
}

/// Where the guest keeps what the installation said.
const LOG: &str = "/var/log/kiln-components.log";

/// By whichever package manager there is. Lists that cannot be renewed may still do.
const INSTALL: &str = "if command -v apt-get >/dev/null; then
export DEBIAN_FRONTEND=noninteractive
apt-get -q update || echo 'the package lists are not renewed'
apt-get -q -y --no-install-recommends install \"$@\"
elif command -v dnf >/dev/null; then dnf -q -y install \"$@\"
elif command -v yum >/dev/null; then yum -q -y install \"$@\"
elif command -v zypper >/dev/null; then zypper -q -n install \"$@\"
else echo 'there is no package manager that is known'
fi || echo 'packages were not installed'
";

#[cfg(test)]
mod tests {
    use super::*;

    fn components(packages: &[&str], script: Option<&str>) -> SeedComponents {
        SeedComponents {
            packages: packages.iter().map(|&name| name.to_owned()).collect(),
            script: script.map(str::to_owned),
        }
    }

    #[test]
    fn names_are_names_and_scripts_are_scripts() {
        for good in
            [components(&["clamav", "libc++1", "a=1.2~3"], Some("#!/bin/sh\n")), components(&[], None)]
        {
            assert!(good.check().is_ok(), "{good:?}");
        }
        let (long, many) = ("#!".to_owned() + &" ".repeat(MAX_SCRIPT_BYTES), ["a"; MAX_PACKAGES + 1]);
        for bad in [
            components(&["a b"], None),
            components(&["--purge"], None),
            components(&[""], None),
            components(&["a;reboot"], None),
            components(&["$(reboot)"], None),
            components(&many, None),
            components(&[], Some("echo")),
            components(&[], Some(&long)),
        ] {
            assert!(bad.check().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_shell_runs_it_and_packages_that_fail_do_not_keep_the_script_from_running() {
        let directory = tempfile::tempdir().expect("a directory");
        let (log, done) = (directory.path().join("log"), directory.path().join("done"));
        let own = format!("#!/bin/sh\necho 'it'\"'\"'s done' >'{}'\nexit 3\n", done.display());
        let text = String::from_utf8(script(&components(&["no-such-package-1"], Some(&own)))).expect("text");
        // Nothing is installed here: the package managers are not found.
        let text = text.replace(LOG, &log.display().to_string()).replace("command -v", "false");
        let file = directory.path().join("script");
        std::fs::write(&file, text).expect("written");
        let status = std::process::Command::new("sh").arg(&file).status().expect("sh runs");
        assert_eq!(status.code(), Some(3));
        assert_eq!(std::fs::read_to_string(&done).expect("it ran"), "it's done\n");
        assert!(std::fs::read_to_string(&log).expect("there").contains("no package manager"));
    }
}
