//! The seed image, read by foreign tools.

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;

use kiln_qemu::MacAddress;
use kiln_qemu::seed::{Addressing, Password, Seed, SeedFile, SeedNetwork};

use crate::world::run;

fn seed() -> Seed {
    Seed {
        instance_id: "ins-12345678".into(),
        hostname: "web-1".into(),
        ssh_authorized_keys: vec!["ssh-ed25519 AAAA somebody".into()],
        password: Some(Password { user: "root".into(), secret: "$6$salt$hash".into() }),
        user_data: Some(b"#!/bin/sh\necho \xff hello\n".to_vec()),
        network: SeedNetwork {
            mac: MacAddress::new([0x52, 0x54, 0, 1, 2, 3]).expect("unicast"),
            interface: Some("eth0".into()),
            addressing: Addressing::Static {
                address: Ipv4Addr::new(10, 0, 0, 5),
                prefix: 24,
                gateway: Ipv4Addr::new(10, 0, 0, 1),
                dns: vec![Ipv4Addr::new(10, 0, 0, 2)],
            },
        },
        files: vec![SeedFile { path: "/etc/kiln.ini".into(), mode: 0o644, content: vec![b'x'; 5000] }],
        change: None,
        components: None,
    }
}

fn written(directory: &Path) -> std::path::PathBuf {
    let path = directory.join("seed.iso");
    std::fs::write(&path, seed().image().expect("rendered")).expect("written");
    path
}

#[test]
fn blkid_finds_the_label_that_cloud_init_looks_for() {
    let directory = tempfile::tempdir().expect("a directory");
    let found = run(Command::new("blkid").args(["-p", "-o", "export"]).arg(written(directory.path())));
    assert!(found.lines().any(|line| line == "LABEL=cidata"), "{found}");
    assert!(found.lines().any(|line| line == "TYPE=iso9660"), "{found}");
}

#[test]
fn xorriso_reads_every_file_by_its_lower_case_name_in_both_trees() {
    let directory = tempfile::tempdir().expect("a directory");
    let iso = written(directory.path());
    for (number, options) in [&["-read_fs", "norock"][..], &["-read_fs", "nojoliet"]].into_iter().enumerate()
    {
        let out = directory.path().join(number.to_string());
        let mut command = Command::new("xorriso");
        command.args(["-abort_on", "WARNING", "-osirrox", "on"]).args(options).arg("-indev").arg(&iso);
        run(command.arg("-extract").arg("/").arg(&out));
        let mut names: Vec<_> = std::fs::read_dir(&out)
            .expect("extracted")
            .map(|entry| entry.expect("listed").file_name().into_string().expect("text"))
            .collect();
        names.sort();
        assert_eq!(names, ["meta-data", "network-config", "user-data", "vendor-data"], "{options:?}");
        assert_eq!(std::fs::read(out.join("user-data")).expect("there"), b"#!/bin/sh\necho \xff hello\n");
    }
}

#[test]
fn vendor_data_are_mime_parts_as_pythons_reader_sees_them() {
    let directory = tempfile::tempdir().expect("a directory");
    let iso = written(directory.path());
    let out = directory.path().join("vendor-data");
    run(Command::new("xorriso")
        .args(["-osirrox", "on", "-indev"])
        .arg(&iso)
        .arg("-extract")
        .args([Path::new("/vendor-data"), &out]));
    let script = "import email, sys\n\
        message = email.message_from_binary_file(open(sys.argv[1], 'rb'))\n\
        for part in message.get_payload():\n\
        \x20   print(part.get_content_type(), len(part.get_payload(decode=True).splitlines()))\n";
    let parts = run(Command::new("python3").args(["-c", script]).arg(out));
    assert_eq!(parts, "text/cloud-config 2\ntext/cloud-boothook 8\n");
}
