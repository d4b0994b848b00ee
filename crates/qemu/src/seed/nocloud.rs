//! The NoCloud documents. All are written as JSON, which is YAML, so that no value can be read as anything but a
//! string.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{Addressing, Password, Seed, SeedFile, SeedNetwork, change, components};
use crate::error::{Error, Result};

/// The most user data, in bytes: what the EC2 and CVM interfaces allow.
pub const MAX_USER_DATA_BYTES: usize = 16 << 10;
/// The most authorized keys.
pub const MAX_KEYS: usize = 64;
/// The most files.
pub const MAX_FILES: usize = 16;
/// The longest line of a document's value: key, name or password, in bytes.
const MAX_LINE_BYTES: usize = 16 << 10;
/// The longest host name, in bytes (Linux's HOST_NAME_MAX).
const MAX_HOSTNAME_BYTES: usize = 64;
/// Separates the parts of vendor data; base64 and JSON lines cannot contain it.
const BOUNDARY: &str = "==kiln-vendor-data==";

/// The files of the seed, by name.
pub(super) fn documents(seed: &Seed) -> Result<Vec<(&'static str, Vec<u8>)>> {
    check(seed)?;
    // cloud-init wants the file even if there is nothing to say.
    let user_data = seed.user_data.clone().unwrap_or_else(|| b"#cloud-config\n{}\n".to_vec());
    Ok(vec![
        ("meta-data", document(&meta_data(seed))),
        ("network-config", document(&network_config(&seed.network))),
        ("user-data", user_data),
        ("vendor-data", vendor_data(seed)),
    ])
}

fn check(seed: &Seed) -> Result<()> {
    let wrong = |reason: String| Err(Error::Seed(reason));
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-.".contains(&byte);
    let name = &seed.hostname;
    if name.is_empty() || name.len() > MAX_HOSTNAME_BYTES || !name.bytes().all(allowed) {
        return wrong(format!("{name:?} is no host name"));
    }
    check_line("instance id", &seed.instance_id)?;
    if seed.ssh_authorized_keys.len() > MAX_KEYS || seed.files.len() > MAX_FILES {
        return wrong("too many keys or files".into());
    }
    seed.ssh_authorized_keys.iter().try_for_each(|key| check_line("SSH key", key))?;
    seed.password.iter().try_for_each(check_password)?;
    if let Some(change) = &seed.change {
        change.passwords.iter().try_for_each(check_password)?;
    }
    seed.components.iter().try_for_each(components::SeedComponents::check)?;
    if seed.user_data.as_ref().is_some_and(|data| data.len() > MAX_USER_DATA_BYTES) {
        return wrong(format!("user data are longer than {MAX_USER_DATA_BYTES} bytes"));
    }
    if let Addressing::Static { prefix: 33.., .. } = seed.network.addressing {
        return wrong("a prefix is at most 32 bits long".into());
    }
    seed.files.iter().try_for_each(check_file)
}

fn check_password(password: &Password) -> Result<()> {
    check_line("password", &password.secret)?;
    check_line("user name", &password.user)?;
    if password.user.contains(':') {
        return Err(Error::Seed("a user name cannot hold a colon".into()));
    }
    if matches!(password.secret.as_str(), "R" | "RANDOM") {
        return Err(Error::Seed("cloud-init takes this password as an order to make one up".into()));
    }
    Ok(())
}

fn check_line(what: &str, line: &str) -> Result<()> {
    if line.is_empty() || line.len() > MAX_LINE_BYTES || line.chars().any(char::is_control) {
        return Err(Error::Seed(format!("the {what} is empty, too long or more than one line")));
    }
    Ok(())
}

fn check_file(file: &SeedFile) -> Result<()> {
    check_line("file's path", &file.path)?;
    let plain = |part: &str| !matches!(part, "" | "." | "..");
    let named = file.path.strip_prefix('/').is_some_and(|rest| rest.split('/').all(plain));
    if !named || file.path.contains('\'') || file.mode > 0o7777 {
        return Err(Error::Seed(format!("{:?} cannot be written", file.path)));
    }
    Ok(())
}

fn meta_data(seed: &Seed) -> Value {
    json!({
        "instance-id": seed.instance_id,
        "local-hostname": seed.hostname,
        "public-keys": seed.ssh_authorized_keys,
    })
}

fn network_config(network: &SeedNetwork) -> Value {
    let mut card = json!({ "match": { "macaddress": network.mac.to_string() } });
    if let Some(interface) = &network.interface {
        card["set-name"] = json!(interface);
    }
    match &network.addressing {
        Addressing::Dhcp => card["dhcp4"] = json!(true),
        Addressing::Static { address, prefix, gateway, dns } => {
            card["addresses"] = json!([format!("{address}/{prefix}")]);
            // Not a route: releases of cloud-init before 18.5 know a gateway only under this name.
            card["gateway4"] = json!(gateway);
            card["nameservers"] = json!({ "addresses": dns });
        }
    }
    let id = network.interface.as_deref().unwrap_or("card0");
    json!({ "version": 2, "ethernets": { id: card } })
}

/// What Kiln configures and the user may override, and the files nobody should have to: these go into a boot hook,
/// since a `write_files` of the user's would replace one of ours.
fn vendor_data(seed: &Seed) -> Vec<u8> {
    let mut config = b"#cloud-config\n".to_vec();
    config.extend(document(&vendor_config(seed)));
    let mut parts = vec![("cloud-config", config)];
    if !seed.files.is_empty() || seed.change.is_some() {
        parts.push(("cloud-boothook", boot_hook(seed)));
    }
    if let Some(components) = &seed.components {
        parts.push(("x-shellscript", components::script(components)));
    }
    if let [(_, config)] = parts.as_mut_slice() {
        return std::mem::take(config);
    }
    let mut text = format!("MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"{BOUNDARY}\"\n\n");
    for (kind, body) in parts {
        text.push_str(&format!("--{BOUNDARY}\nContent-Type: text/{kind}; charset=\"utf-8\"\n"));
        text.push_str("Content-Transfer-Encoding: base64\n\n");
        for line in STANDARD.encode(body).as_bytes().chunks(76) {
            text.push_str(std::str::from_utf8(line).expect("base64 is ASCII"));
            text.push('\n');
        }
    }
    text.push_str(&format!("--{BOUNDARY}--\n"));
    text.into_bytes()
}

fn vendor_config(seed: &Seed) -> Value {
    let mut config = json!({
        "ssh_pwauth": seed.password.is_some(),
        "preserve_hostname": false,
        // The keys are for root as well, whom many images would send away to a default user of their own.
        "disable_root": false,
    });
    if let Some(password) = &seed.password {
        // The oldest form, which every release reads; it tells a hash by its `$6$`.
        let line = format!("{}:{}", password.user, password.secret);
        config["chpasswd"] = json!({ "expire": false, "list": [line] });
    }
    config
}

fn boot_hook(seed: &Seed) -> Vec<u8> {
    let mut script = "#cloud-boothook\n#!/bin/sh\nset -eu\numask 077\n".to_owned();
    for file in &seed.files {
        let path = &file.path;
        let directory = path.rsplit_once('/').map_or("/", |(directory, _)| directory);
        let content = STANDARD.encode(&file.content);
        // The paths hold no quotes (checked), base64 neither.
        script.push_str(&format!(
            "mkdir -p -m 755 '{directory}/'\nprintf %s '{content}' | base64 -d >'{path}.new'\n\
             chmod {:o} '{path}.new'\nmv -f '{path}.new' '{path}'\n",
            file.mode
        ));
    }
    if let Some(change) = &seed.change {
        script.push_str(&change::script(change, &seed.ssh_authorized_keys));
    }
    script.into_bytes()
}

/// JSON that YAML readers take for the same: the characters that YAML forbids or folds are escaped. They can only
/// stand inside strings.
fn document(value: &Value) -> Vec<u8> {
    let mut text = String::new();
    for character in value.to_string().chars() {
        match character {
            '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}' => {
                text.push_str(&format!("\\u{:04x}", u32::from(character)));
            }
            _ => text.push(character),
        }
    }
    text.push('\n');
    text.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::super::Password;
    use super::*;
    use crate::config::MacAddress;

    fn seed() -> Seed {
        Seed {
            instance_id: "ins-1".into(),
            hostname: "web-1".into(),
            ssh_authorized_keys: vec!["ssh-ed25519 AAAA me@here: #x".into()],
            password: None,
            user_data: None,
            network: SeedNetwork {
                mac: MacAddress::new([0x52, 0x54, 0, 1, 2, 3]).expect("a unicast address"),
                interface: Some("eth0".into()),
                addressing: Addressing::Dhcp,
            },
            files: Vec::new(),
            change: None,
            components: None,
        }
    }

    fn text(seed: &Seed, name: &str) -> String {
        let documents = documents(seed).expect("rendered");
        let (_, bytes) = documents.into_iter().find(|(known, _)| *known == name).expect("a document");
        String::from_utf8(bytes).expect("text")
    }

    #[test]
    fn user_data_are_passed_on_untouched() {
        let data = vec![0x1f, 0x8b, 0, 255, b'\r', b'\n'];
        let seed = Seed { user_data: Some(data.clone()), ..seed() };
        let documents = documents(&seed).expect("rendered");
        assert!(documents.contains(&("user-data", data)));
    }

    #[test]
    fn a_password_opens_ssh_to_passwords_and_nothing_else_does() {
        assert!(text(&seed(), "vendor-data").contains("\"ssh_pwauth\":false"));
        let password = Some(Password { user: "root".into(), secret: "$6$salt$hash".into() });
        let text = text(&Seed { password, ..seed() }, "vendor-data");
        assert!(text.starts_with("#cloud-config\n"), "{text}");
        for part in ["\"list\":[\"root:$6$salt$hash\"]", "\"disable_root\":false", "\"ssh_pwauth\":true"] {
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn a_static_address_is_bound_to_the_card() {
        let addressing = Addressing::Static {
            address: Ipv4::new(10, 0, 0, 5),
            prefix: 24,
            gateway: Ipv4::new(10, 0, 0, 1),
            dns: vec![Ipv4::new(10, 0, 0, 2)],
        };
        let network = SeedNetwork { addressing, ..seed().network };
        let config: Value =
            serde_json::from_str(&text(&Seed { network, ..seed() }, "network-config")).expect("JSON");
        let card = &config["ethernets"]["eth0"];
        assert_eq!(card["match"]["macaddress"], "52:54:00:01:02:03");
        assert_eq!(card["addresses"], json!(["10.0.0.5/24"]));
        assert_eq!(card["gateway4"], "10.0.0.1");
    }

    use std::net::Ipv4Addr as Ipv4;

    #[test]
    fn values_that_could_become_something_else_are_refused() {
        let file = |path: &str| SeedFile { path: path.into(), mode: 0o644, content: Vec::new() };
        let secret = |secret: &str| Some(Password { user: "root".into(), secret: secret.into() });
        let cases = [
            Seed { hostname: "a b".into(), ..seed() },
            Seed { ssh_authorized_keys: vec!["a\nb".into()], ..seed() },
            Seed { password: secret("a\nroot2:b"), ..seed() },
            Seed { password: secret("RANDOM"), ..seed() },
            Seed { user_data: Some(vec![0; MAX_USER_DATA_BYTES + 1]), ..seed() },
            Seed { files: vec![file("/etc/../x")], ..seed() },
            Seed { files: vec![file("/etc/a'b")], ..seed() },
            Seed { files: vec![file("etc/x")], ..seed() },
        ];
        for case in cases {
            assert!(matches!(documents(&case), Err(Error::Seed(_))), "{case:?}");
        }
    }

    #[test]
    fn characters_yaml_forbids_are_escaped() {
        let bytes = document(&json!("a\u{7f}\u{2028}é"));
        assert_eq!(String::from_utf8(bytes).expect("text"), "\"a\\u007f\\u2028é\"\n");
    }

    #[test]
    fn files_are_written_by_a_hook_that_a_shell_accepts() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("new/conf.ini").to_str().expect("text").to_owned();
        let file = SeedFile { path: path.clone(), mode: 0o640, content: b"a='b'\n$x".to_vec() };
        let script = boot_hook(&Seed { files: vec![file], ..seed() });
        let script =
            directory.path().join("hook").to_str().map(|path| (path.to_owned(), script)).expect("text");
        std::fs::write(&script.0, script.1).expect("written");
        let status = std::process::Command::new("sh").arg(&script.0).status().expect("sh runs");
        assert!(status.success());
        assert_eq!(std::fs::read(&path).expect("there"), b"a='b'\n$x");
    }
}
