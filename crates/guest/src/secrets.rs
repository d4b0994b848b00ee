//! What must not leave a machine in an image: keys, credentials, histories, password hashes, a fixed identity.
//!
//! Looks where such things are kept, and into the homes a few levels deep; every walk is bounded. Only the heads of
//! files are read, and nothing of what is found is kept but its place.

use serde::{Deserialize, Serialize};

use crate::bytes::contains;
use crate::error::Result;
use crate::gap::{GapReason, Gaps, Part};
use crate::tree::{Node, NodeKind, Root};

/// Something that must not leave a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret {
    /// What it is.
    pub kind: SecretKind,
    /// Where it is.
    pub path: String,
    /// Whose it is, where that matters.
    pub user: Option<String>,
}

/// What a secret is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say all")]
pub enum SecretKind {
    SshHostKey,
    AuthorizedKeys,
    PrivateKey,
    ShellHistory,
    CloudCredentials,
    PasswordHash,
    MachineId,
}

/// Secrets of one kind that are listed; there is no use in more.
const LISTED_OF_A_KIND_MAX: usize = 100;
const HOMES_MAX: usize = 200;
/// How deep homes and key directories are searched for private keys, and how many files.
const WALK_DEPTH: u32 = 3;
const WALK_FILES_MAX: u32 = 20_000;
const KEY_HEAD_BYTES: u64 = 8 << 10;
/// Larger files are no keys.
const KEY_FILE_BYTES_MAX: u64 = 64 << 10;
const KEY_DIRECTORIES: [&str; 4] =
    ["/etc/ssl/private", "/etc/pki/tls/private", "/etc/letsencrypt", "/etc/ssl/certs"];
const HISTORIES: [&str; 9] = [
    ".bash_history",
    ".zsh_history",
    ".sh_history",
    ".ash_history",
    ".ksh_history",
    ".history",
    ".mysql_history",
    ".psql_history",
    ".python_history",
];
const CREDENTIALS: [&str; 21] = [
    ".aws/credentials",
    ".tccli/default.credential",
    ".tencentcloud/credentials",
    ".cos.conf",
    ".cos.yaml",
    ".qcloudcli/credentials",
    ".aliyun/config.json",
    ".config/gcloud/credentials.db",
    ".config/gcloud/application_default_credentials.json",
    ".azure/msal_token_cache.json",
    ".azure/accessTokens.json",
    ".kube/config",
    ".docker/config.json",
    ".oci/config",
    ".s3cfg",
    ".boto",
    ".config/rclone/rclone.conf",
    ".netrc",
    ".git-credentials",
    ".config/openstack/clouds.yaml",
    ".terraform.d/credentials.tfrc.json",
];

/// The secrets of a Linux system.
pub(crate) fn of_linux(root: &Root, gaps: &mut Gaps) -> Result<Vec<Secret>> {
    let mut search = Search { root, found: Vec::new(), files_left: WALK_FILES_MAX, is_cut_short: false };
    gaps.keep(Part::Secrets, search.host_keys("/etc/ssh"))?;
    gaps.keep(Part::Secrets, search.password_hashes())?;
    gaps.keep(Part::Secrets, search.machine_id())?;
    // What may take long comes last, so that it keeps nothing else from being looked at.
    gaps.keep(Part::Secrets, search.key_directories())?;
    gaps.keep(Part::Secrets, search.home("/root"))?;
    gaps.keep(Part::Secrets, search.homes("/home"))?;
    Ok(search.finish(gaps))
}

/// The secrets of a Windows system, as far as they are files of programs that came from elsewhere.
pub(crate) fn of_windows(root: &Root, gaps: &mut Gaps) -> Result<Vec<Secret>> {
    let mut search = Search { root, found: Vec::new(), files_left: WALK_FILES_MAX, is_cut_short: false };
    gaps.keep(Part::Secrets, search.host_keys("/ProgramData/ssh"))?;
    gaps.keep(Part::Secrets, search.homes("/Users"))?;
    Ok(search.finish(gaps))
}

struct Search<'a> {
    root: &'a Root,
    found: Vec<Secret>,
    files_left: u32,
    /// Whether there was more than is looked at.
    is_cut_short: bool,
}

impl Search<'_> {
    /// What was found; a gap, where more would have had to be looked at.
    fn finish(self, gaps: &mut Gaps) -> Vec<Secret> {
        if self.is_cut_short {
            let detail = "there are more homes, or more files in them, than are searched".to_owned();
            gaps.add(Part::Secrets, GapReason::Unsupported, detail);
        }
        self.found
    }

    fn add(&mut self, kind: SecretKind, path: String, user: Option<String>) {
        if self.found.iter().filter(|known| known.kind == kind).count() < LISTED_OF_A_KIND_MAX
            && !self.found.iter().any(|known| known.kind == kind && known.path == path && known.user == user)
        {
            self.found.push(Secret { kind, path, user });
        }
    }

    /// A file with something in it.
    fn filled(&self, path: &str) -> Result<Option<Node>> {
        Ok(self.root.stat(path)?.filter(|node| node.kind == NodeKind::File && node.size_bytes > 0))
    }

    fn host_keys(&mut self, directory: &str) -> Result<()> {
        for name in self.root.list(directory)? {
            let path = format!("{directory}/{name}");
            if name.starts_with("ssh_host_") && name.ends_with("_key") && self.filled(&path)?.is_some() {
                self.add(SecretKind::SshHostKey, path, None);
            }
        }
        Ok(())
    }

    fn homes(&mut self, directory: &str) -> Result<()> {
        let homes = self.root.list(directory)?;
        self.is_cut_short |= homes.len() > HOMES_MAX;
        for name in homes.iter().take(HOMES_MAX) {
            self.home(&format!("{directory}/{name}"))?;
        }
        Ok(())
    }

    fn home(&mut self, home: &str) -> Result<()> {
        for name in ["authorized_keys", "authorized_keys2"] {
            let path = format!("{home}/.ssh/{name}");
            let text = self.root.text(&path)?.unwrap_or_default();
            if text.lines().map(str::trim).any(|line| !line.is_empty() && !line.starts_with('#')) {
                self.add(SecretKind::AuthorizedKeys, path, None);
            }
        }
        for (names, kind) in
            [(&HISTORIES[..], SecretKind::ShellHistory), (&CREDENTIALS[..], SecretKind::CloudCredentials)]
        {
            for name in names {
                let path = format!("{home}/{name}");
                if self.filled(&path)?.is_some() {
                    self.add(kind, path, None);
                }
            }
        }
        self.private_keys(home, WALK_DEPTH)
    }

    fn key_directories(&mut self) -> Result<()> {
        KEY_DIRECTORIES.iter().try_for_each(|directory| self.private_keys(directory, WALK_DEPTH))
    }

    /// Files that begin like private keys, some levels below a directory. Links are not followed.
    fn private_keys(&mut self, directory: &str, depth: u32) -> Result<()> {
        let followed = self.root.link_target(directory)?.is_some();
        if depth == 0 || followed {
            return Ok(());
        }
        for name in self.root.list(directory)? {
            if self.files_left == 0 {
                self.is_cut_short = true;
                return Ok(());
            }
            self.files_left -= 1;
            let path = format!("{directory}/{name}");
            if self.root.link_target(&path)?.is_some() {
                continue;
            }
            match self.root.stat(&path)? {
                Some(Node { kind: NodeKind::Directory, .. }) => self.private_keys(&path, depth - 1)?,
                Some(Node { kind: NodeKind::File, size_bytes: 1..=KEY_FILE_BYTES_MAX }) => {
                    let head = self.root.read_head(&path, KEY_HEAD_BYTES)?.unwrap_or_default();
                    if is_private_key(&head) {
                        self.add(SecretKind::PrivateKey, path, None);
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Hashes of users who can log in and have a shell.
    fn password_hashes(&mut self) -> Result<()> {
        let passwd = self.root.text("/etc/passwd")?.unwrap_or_default();
        let shadow = self.root.text("/etc/shadow")?.unwrap_or_default();
        for (path, text) in [("/etc/shadow", &shadow), ("/etc/passwd", &passwd)] {
            for (user, hash) in text.lines().filter_map(user_and_hash) {
                if is_hash(hash) && has_shell(&passwd, user) {
                    self.add(SecretKind::PasswordHash, path.to_owned(), Some(user.to_owned()));
                }
            }
        }
        Ok(())
    }

    fn machine_id(&mut self) -> Result<()> {
        for path in ["/etc/machine-id", "/var/lib/dbus/machine-id"] {
            let is_link = self.root.link_target(path)?.is_some();
            let text = self.root.text(path)?.unwrap_or_default();
            let is_fixed =
                text.trim().len() == 32 && text.trim().bytes().all(|byte| byte.is_ascii_hexdigit());
            if is_fixed && !is_link {
                self.add(SecretKind::MachineId, path.to_owned(), None);
            }
        }
        Ok(())
    }
}

/// PEM and OpenSSH keys have `PRIVATE KEY` in their first line, PuTTY's their own.
fn is_private_key(head: &[u8]) -> bool {
    let pem = head
        .split(|byte| *byte == b'\n')
        .any(|line| line.starts_with(b"-----BEGIN ") && contains(line, b"PRIVATE KEY-----"));
    pem || head.starts_with(b"PuTTY-User-Key-File-")
}

fn user_and_hash(line: &str) -> Option<(&str, &str)> {
    let mut fields = line.split(':');
    Some((fields.next()?, fields.next()?))
}

/// Locked passwords begin with `!` or `*`; old hashes are 13 characters, newer ones begin with `$`.
fn is_hash(field: &str) -> bool {
    field.starts_with('$') || (field.len() >= 13 && !field.starts_with(['!', '*']))
}

fn has_shell(passwd: &str, user: &str) -> bool {
    let line = passwd.lines().find(|line| line.split(':').next() == Some(user));
    let shell = line.and_then(|line| line.split(':').nth(6)).unwrap_or("/bin/sh");
    !["/nologin", "/false", "/sync", "/shutdown", "/halt"].iter().any(|no| shell.trim_end().ends_with(no))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::root;

    fn check(files: &[(&str, &str)], expected: &[(SecretKind, &str)]) {
        let mut gaps = Gaps::default();
        let found = of_linux(&root(files), &mut gaps).expect("readable");
        let found: Vec<_> = found.iter().map(|secret| (secret.kind, secret.path.as_str())).collect();
        assert_eq!((found.as_slice(), gaps.found), (expected, vec![]));
    }

    #[test]
    fn each_secret_is_found_where_it_is_kept() {
        use SecretKind::{
            AuthorizedKeys, CloudCredentials, MachineId, PasswordHash, PrivateKey, ShellHistory, SshHostKey,
        };
        let key = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl\n";
        check(
            &[
                ("/etc/ssh/ssh_host_ed25519_key", key),
                ("/etc/ssh/ssh_host_ed25519_key.pub", "ssh-ed25519 A"),
                ("/root/.bash_history", "ls\n"),
                ("/root/.zsh_history", ""),
                ("/home/a/.ssh/authorized_keys", "# none\n\nssh-rsa AAAA\n"),
                ("/home/b/.ssh/authorized_keys", "# none\n"),
                ("/home/a/.aws/credentials", "[default]\n"),
                ("/home/a/keys/deploy/id", key),
                ("/home/a/a/b/c/too-deep", key),
                ("/etc/ssl/private/site.key", "some text\n-----BEGIN RSA PRIVATE KEY-----\n"),
                ("/etc/passwd", "root:x:0:0::/root:/bin/bash\nd:x:1:1::/:/usr/sbin/nologin\n"),
                ("/etc/shadow", "root:$y$j9T$abc:1::::::\nd:$6$x$y:1::::::\nlocked:!$6$x$y:1::::::\n"),
                ("/etc/machine-id", "0123456789abcdef0123456789abcdef\n"),
                ("/var/lib/dbus/machine-id", "-> /etc/machine-id"),
            ],
            &[
                (SshHostKey, "/etc/ssh/ssh_host_ed25519_key"),
                (PasswordHash, "/etc/shadow"),
                (MachineId, "/etc/machine-id"),
                (PrivateKey, "/etc/ssl/private/site.key"),
                (ShellHistory, "/root/.bash_history"),
                (AuthorizedKeys, "/home/a/.ssh/authorized_keys"),
                (CloudCredentials, "/home/a/.aws/credentials"),
                (PrivateKey, "/home/a/keys/deploy/id"),
            ],
        );
    }

    #[test]
    fn many_of_one_kind_hide_none_of_another_and_a_search_that_was_cut_short_says_so() {
        let key = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl\n";
        let homes: Vec<String> = (0..=HOMES_MAX).map(|number| format!("/home/{number:05}/id")).collect();
        let mut files: Vec<(&str, &str)> = homes.iter().map(|path| (path.as_str(), key)).collect();
        files.push(("/etc/machine-id", "0123456789abcdef0123456789abcdef\n"));
        let mut gaps = Gaps::default();
        let found = of_linux(&root(&files), &mut gaps).expect("readable");
        let keys = found.iter().filter(|secret| secret.kind == SecretKind::PrivateKey).count();
        assert_eq!((keys, found.len()), (LISTED_OF_A_KIND_MAX, LISTED_OF_A_KIND_MAX + 1));
        assert!(matches!(&gaps.found[..], [gap] if gap.part == Part::Secrets), "{:?}", gaps.found);
    }

    #[test]
    fn a_clean_image_has_none() {
        check(
            &[
                ("/etc/machine-id", "uninitialized\n"),
                ("/etc/shadow", "root:*:1::::::\nbin:!!:1::::::\n"),
                ("/home/a/loop", "-> /home/a"),
                ("/home/b", "-> /home"),
            ],
            &[],
        );
    }
}
