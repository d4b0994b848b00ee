//! `kiln tls`: how clients trust the server's own certificate authority. Works on the data directory, on the server's
//! own machine.

use std::path::Path;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::arguments::{Connection, OutputForm, TlsCommand};
use crate::client::Error;
use crate::config::DEFAULT_DATA_DIR;
use crate::output;
use crate::tls::Authority;

pub(super) fn run(connection: &Connection, command: &TlsCommand) -> Result<(), Error> {
    let data_dir = connection.data_dir.as_deref().unwrap_or(Path::new(DEFAULT_DATA_DIR));
    let path = Authority::certificate_path(&std::path::absolute(data_dir)?);
    let text = std::fs::read_to_string(&path).map_err(|error| {
        format!(
            "{}: {error}. The authority is made when the server first speaks TLS; name its data directory with --data-dir",
            path.display()
        )
    })?;
    match command {
        TlsCommand::Authority => output::line(text.trim_end()),
        TlsCommand::Trust => {
            let certificate = CertificateDer::from_pem_slice(text.as_bytes())
                .map_err(|error| format!("{}: {error}", path.display()))?;
            let digest = Sha256::digest(&certificate);
            let fingerprint = digest.iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":");
            match connection.output {
                OutputForm::Json => {
                    output::json(&json!({ "Authority": path.display().to_string(), "Sha256": fingerprint }));
                }
                OutputForm::Table => output::line(&advice(&path, &fingerprint)),
            }
        }
    }
    Ok(())
}

fn advice(path: &Path, fingerprint: &str) -> String {
    let path = path.display();
    format!(
        "The server's certificates are signed by its own authority:\n  \
         certificate  {path}\n  \
         SHA-256      {fingerprint}\n\n\
         On other machines, put that file somewhere (`kiln tls authority > kiln-authority.pem`), compare the SHA-256, \
         and name it:\n  \
         kiln                        export KILN_AUTHORITY=kiln-authority.pem\n  \
         Python SDK                  HttpProfile(certification=\"kiln-authority.pem\")\n  \
         tccli                       cat kiln-authority.pem >> \"$(python3 -m certifi)\"\n  \
         Go SDK, Terraform, Packer   export SSL_CERT_FILE=kiln-authority.pem\n  \
         Node.js SDK                 export NODE_EXTRA_CA_CERTS=kiln-authority.pem\n  \
         curl                        --cacert kiln-authority.pem\n  \
         boto3, aws                  export AWS_CA_BUNDLE=kiln-authority.pem\n  \
         coscmd, SDK of COS          export REQUESTS_CA_BUNDLE=kiln-authority.pem\n  \
         rclone                      --ca-cert kiln-authority.pem\n\
         or for the whole machine (Debian):\n  \
         cp kiln-authority.pem /usr/local/share/ca-certificates/kiln-authority.crt && update-ca-certificates"
    )
}
