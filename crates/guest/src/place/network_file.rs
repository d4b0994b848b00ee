//! The network file's text: the INI form that Tencent's documents on imported images show for
//! `/etc/qcloud-network-config.ini` and `C:\qcloud-network-config.ini` (sections `[ip]` and `[dns]`), and beside it
//! what they do not show: the card's address and the host's name, in sections of their own, so that a reader of the
//! documented ones finds exactly those.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

/// The file's path in Linux.
pub const LINUX_PATH: &str = "/etc/qcloud-network-config.ini";
/// The file's path on Windows' system volume.
pub const WINDOWS_PATH: &str = "/qcloud-network-config.ini";

/// What a guest is to know of its network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkFacts {
    /// The card's address.
    pub ip: Ipv4Addr,
    /// Length of its network's prefix, 0 to 32.
    pub prefix: u8,
    /// The default gateway.
    pub gateway: Ipv4Addr,
    /// Name servers, most wanted first.
    pub dns: Vec<Ipv4Addr>,
    /// The card's Ethernet address, in hexadecimal with colons.
    pub mac: String,
    /// The host's name.
    pub hostname: String,
}

impl NetworkFacts {
    fn mask(&self) -> Ipv4Addr {
        let host_bits = 32 - u32::from(self.prefix.min(32));
        Ipv4Addr::from(u32::MAX.checked_shl(host_bits).unwrap_or(0))
    }
}

/// The file's text with Linux's line ends.
pub fn linux_text(facts: &NetworkFacts) -> String {
    let mut text =
        format!("[ip]\nip = {}\nmask = {}\ngateway = {}\n\n[dns]\n", facts.ip, facts.mask(), facts.gateway);
    for (index, server) in facts.dns.iter().enumerate() {
        // The documented key is the first server's: an INI file has no key twice.
        let key = if index == 0 { "dns".to_owned() } else { format!("dns{}", index + 1) };
        text.push_str(&format!("{key} = {server}\n"));
    }
    text.push_str(&format!(
        "\n[nic]\nmac = {}\n\n[host]\nhostname = {}\n",
        one_line(&facts.mac),
        one_line(&facts.hostname)
    ));
    text
}

/// The file's text with Windows' line ends.
pub fn windows_text(facts: &NetworkFacts) -> String {
    linux_text(facts).replace('\n', "\r\n")
}

/// A value can neither begin another line nor hold anything that is no text.
fn one_line(value: &str) -> String {
    value.chars().filter(|letter| !letter.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> NetworkFacts {
        NetworkFacts {
            ip: Ipv4Addr::new(10, 64, 1, 7),
            prefix: 10,
            gateway: Ipv4Addr::new(10, 127, 255, 253),
            dns: vec![Ipv4Addr::new(10, 127, 255, 254), Ipv4Addr::new(9, 9, 9, 9)],
            mac: "52:54:00:00:00:07".to_owned(),
            hostname: "web-1".to_owned(),
        }
    }

    #[test]
    fn the_documented_sections_come_first() {
        let expected = "[ip]\nip = 10.64.1.7\nmask = 255.192.0.0\ngateway = 10.127.255.253\n\n\
                        [dns]\ndns = 10.127.255.254\ndns2 = 9.9.9.9\n\n\
                        [nic]\nmac = 52:54:00:00:00:07\n\n[host]\nhostname = web-1\n";
        assert_eq!(linux_text(&facts()), expected);
        assert_eq!(windows_text(&facts()), expected.replace('\n', "\r\n"));
    }

    #[test]
    fn a_name_adds_no_lines_and_every_prefix_has_a_mask() {
        let facts = NetworkFacts { hostname: "a\n[ip]\r\nip = 1".into(), ..facts() };
        assert!(linux_text(&facts).ends_with("hostname = a[ip]ip = 1\n"));
        for (prefix, mask) in
            [(0, "0.0.0.0"), (24, "255.255.255.0"), (31, "255.255.255.254"), (32, "255.255.255.255")]
        {
            let facts = NetworkFacts { prefix, ..facts.clone() };
            assert!(linux_text(&facts).contains(&format!("mask = {mask}\n")));
        }
    }
}
