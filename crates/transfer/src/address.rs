//! Which addresses a source may be fetched from: those of the public internet, and those the operator allows.
//!
//! The ranges are those of IANA's IPv4 and IPv6 Special-Purpose Address Registries (RFC 6890 and its updates) that
//! are not globally reachable, multicast, and forms of IPv6 that carry an IPv4 address. The metadata services of
//! clouds lie in link-local, shared or unique-local space, except the one that is listed by itself.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

const fn v6(a: u16, b: u16, c: u16, prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0), prefix)
}

const REFUSED_V4: [Ipv4Net; 16] = [
    v4(0, 0, 0, 0, 8),        // this network (RFC 791)
    v4(10, 0, 0, 0, 8),       // private (RFC 1918)
    v4(100, 64, 0, 0, 10),    // shared, carrier-grade NAT (RFC 6598)
    v4(127, 0, 0, 0, 8),      // loopback (RFC 1122)
    v4(168, 63, 129, 16, 32), // the host of a virtual machine on Azure
    v4(169, 254, 0, 0, 16),   // link-local, metadata services (RFC 3927)
    v4(172, 16, 0, 0, 12),    // private (RFC 1918)
    v4(192, 0, 0, 0, 24),     // protocol assignments (RFC 6890)
    v4(192, 0, 2, 0, 24),     // documentation (RFC 5737)
    v4(192, 88, 99, 0, 24),   // 6to4 relays, withdrawn (RFC 7526)
    v4(192, 168, 0, 0, 16),   // private (RFC 1918)
    v4(198, 18, 0, 0, 15),    // benchmarks (RFC 2544)
    v4(198, 51, 100, 0, 24),  // documentation (RFC 5737)
    v4(203, 0, 113, 0, 24),   // documentation (RFC 5737)
    v4(224, 0, 0, 0, 4),      // multicast (RFC 5771)
    v4(240, 0, 0, 0, 4),      // reserved, broadcast (RFC 1112, RFC 919)
];

/// Global unicast IPv6; everything outside it is special, except translated IPv4.
const GLOBAL_UNICAST_V6: Ipv6Net = v6(0x2000, 0, 0, 3);
/// IPv4 translated by NAT64 (RFC 6052); where only IPv6 is routed, every IPv4 host is reached by it.
const NAT64: Ipv6Net = v6(0x64, 0xff9b, 0, 96);

const REFUSED_V6: [Ipv6Net; 4] = [
    v6(0x2001, 0, 0, 23), // protocol assignments, among them Teredo, benchmarks, ORCHID (RFC 2928)
    v6(0x2001, 0xdb8, 0, 32), // documentation (RFC 3849)
    v6(0x2002, 0, 0, 16), // 6to4, withdrawn: any IPv4 address can hide in it (RFC 3056, RFC 7526)
    v6(0x3fff, 0, 0, 20), // documentation (RFC 9637)
];

/// Whether `address` is one that anybody on the internet could reach.
pub(crate) fn is_global(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => is_global_v4(v4),
        IpAddr::V6(v6) if NAT64.contains(&v6) => {
            let [.., a, b, c, d] = v6.octets();
            is_global_v4(Ipv4Addr::new(a, b, c, d))
        }
        IpAddr::V6(v6) => GLOBAL_UNICAST_V6.contains(&v6) && !REFUSED_V6.iter().any(|net| net.contains(&v6)),
    }
}

fn is_global_v4(address: Ipv4Addr) -> bool {
    !REFUSED_V4.iter().any(|net| net.contains(&address))
}

/// Whether a connection to `address` may be opened: it is global, or in a range that the operator allows.
pub(crate) fn is_allowed(address: IpAddr, allow_private: &[IpNet]) -> bool {
    let address = address.to_canonical();
    is_global(address) || allow_private.iter().any(|net| net.contains(&address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn special_addresses_are_not_global() {
        for text in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "10.255.255.255",
            "100.64.0.1",
            "100.100.100.200",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.254",
            "168.63.129.16",
            "169.254.0.23",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.0.192",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.7",
            "203.0.113.9",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::7f00:1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:169.254.169.254",
            "::ffff:0:7f00:1",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:0:4136:e378:8000:63bf:3fff:fdd2",
            "2001:2::1",
            "2001:10::1",
            "2001:20::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "2002:808:808::1",
            "3fff::1",
            "4000::1",
            "5f00::1",
            "fc00::1",
            "fd00:ec2::254",
            "fd20:ce::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!is_global(address(text)), "{text}");
        }
    }

    #[test]
    fn public_addresses_are_global() {
        for text in [
            "1.1.1.1",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.1",
            "169.253.255.255",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.1",
            "192.167.1.1",
            "198.17.0.1",
            "198.20.0.0",
            "223.255.255.255",
            "::ffff:8.8.8.8",
            "64:ff9b::808:808",
            "2001:200::1",
            "2001:4860:4860::8888",
            "2400:cb00::1",
            "2606:4700::1111",
            "2a00:1450::1",
        ] {
            assert!(is_global(address(text)), "{text}");
        }
    }

    #[test]
    fn the_operator_opens_exactly_what_is_listed() {
        let allow = ["127.0.0.1/32".parse().expect("a net"), "fd00::/8".parse().expect("a net")];
        for text in ["127.0.0.1", "::ffff:127.0.0.1", "fd00::7", "8.8.8.8"] {
            assert!(is_allowed(address(text), &allow), "{text}");
        }
        for text in ["127.0.0.2", "::1", "10.0.0.1", "fe80::1", "64:ff9b::7f00:1"] {
            assert!(!is_allowed(address(text), &allow), "{text}");
        }
    }
}
