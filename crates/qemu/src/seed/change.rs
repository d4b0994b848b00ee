//! What a guest that was started before is to change about itself: a piece of the boot hook, carried out once.
//!
//! A boot hook runs at every boot before anything of the guest's takes logins, and it neither repeats what cloud-init
//! does for a new instance (host keys, the user's own data) nor only adds to what is there, as cloud-init's own key
//! handling does. The values come as base64, which no shell takes for anything else.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::Password;

/// Changes that a guest makes once, at its next boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeedChange {
    /// What tells this change from others: a guest that has made it passes it over.
    pub name: String,
    /// Passwords of users that the guest has.
    pub passwords: Vec<Password>,
    /// Public keys that open the guest no longer, in OpenSSH's format.
    pub former_keys: Vec<String>,
    /// Whether passwords open the guest's SSH; as it is, where absent.
    pub password_login: Option<bool>,
}

/// The script's piece for a change; `keys` are those that open the guest from now on.
pub(super) fn script(change: &SeedChange, keys: &[String]) -> String {
    let encode = |lines: Vec<String>| {
        STANDARD.encode(lines.into_iter().map(|line| line + "\n").collect::<String>().as_bytes())
    };
    let passwords = change.passwords.iter().map(|password| format!("{}:{}", password.user, password.secret));
    let former = change.former_keys.iter().filter_map(|key| key.split_whitespace().nth(1)).map(str::to_owned);
    let mut script = format!("if [ \"$(cat {DONE} 2>/dev/null)\" != {} ]; then\n", encode_name(&change.name));
    if !change.passwords.is_empty() {
        script.push_str(&format!("printf %s '{}' | base64 -d | chpasswd\n", encode(passwords.collect())));
    }
    if !keys.is_empty() || !change.former_keys.is_empty() {
        script.push_str(&format!("printf %s '{}' | base64 -d >/run/kiln-keys\n", encode(keys.to_vec())));
        script.push_str(&format!("printf %s '{}' | base64 -d >/run/kiln-former\n", encode(former.collect())));
        script.push_str(CHANGE_KEYS);
    }
    if let Some(allowed) = change.password_login {
        let (passwords, root) = if allowed { ("yes", "yes") } else { ("no", "prohibit-password") };
        script.push_str(&format!("passwords={passwords} root={root}\n{CHANGE_PASSWORD_LOGIN}"));
    }
    script.push_str(&format!("printf %s {} >{DONE}\nfi\n", encode_name(&change.name)));
    script
}

/// Where a guest keeps the name of the last change that it made.
const DONE: &str = "/var/lib/cloud/kiln-change";

fn encode_name(name: &str) -> String {
    STANDARD.encode(name)
}

/// The former keys leave every file that they are in, and the present ones come in their place; root has these anyway.
const CHANGE_KEYS: &str = r#"mkdir -p -m 700 /root/.ssh
[ -e /root/.ssh/authorized_keys ] || : >/root/.ssh/authorized_keys
for file in /root/.ssh/authorized_keys /home/*/.ssh/authorized_keys; do
[ -f "$file" ] && [ ! -L "$file" ] || continue
[ "$file" = /root/.ssh/authorized_keys ] || grep -qFf /run/kiln-former "$file" || continue
grep -vFf /run/kiln-former "$file" >/run/kiln-new || true
grep -vxFf /run/kiln-new /run/kiln-keys >/run/kiln-missing || true
cat /run/kiln-new /run/kiln-missing >/run/kiln-all
cat /run/kiln-all >"$file"
done
rm -f /run/kiln-keys /run/kiln-former /run/kiln-new /run/kiln-missing /run/kiln-all
"#;

/// The SSH server takes the first value that it reads; older ones have no directory of additions.
const CHANGE_PASSWORD_LOGIN: &str = r#"if [ -d /etc/ssh/sshd_config.d ]; then
printf 'PasswordAuthentication %s\nPermitRootLogin %s\n' "$passwords" "$root" >/etc/ssh/sshd_config.d/00-kiln.conf
elif [ -f /etc/ssh/sshd_config ]; then
sed -i '/^[[:space:]]*\(PasswordAuthentication\|PermitRootLogin\)[[:space:]]/d' /etc/ssh/sshd_config
sed -i "1i PasswordAuthentication $passwords\nPermitRootLogin $root" /etc/ssh/sshd_config
fi
"#;

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn no_value_gets_into_the_script_as_it_is() {
        let change = SeedChange {
            name: "$(reboot) '".to_owned(),
            passwords: vec![Password { user: "root".to_owned(), secret: "a'b$(reboot)".to_owned() }],
            former_keys: vec!["ssh-rsa AAAA' me".to_owned()],
            password_login: Some(false),
        };
        let script = script(&change, &["ssh-rsa BBBB'$(reboot)".to_owned()]);
        assert!(
            !script.contains("reboot") && !script.contains("AAAA") && !script.contains("BBBB"),
            "{script}"
        );
        let parsed = Command::new("sh").args(["-n", "-c", &script]).status().expect("there is a shell");
        assert!(parsed.success(), "{script}");
    }
}
