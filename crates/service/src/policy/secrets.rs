//! Criteria about what must not leave a machine in an image.

use kiln_guest::{Part, Secret, SecretKind, System};

use super::{Check, Subject};

/// Places that a sentence lists.
const PLACES_SHOWN: usize = 5;

/// Whether there is none of a kind.
pub(super) fn of_kind(subject: &Subject<'_>, kind: SecretKind) -> Check {
    if subject.inspection.system == System::None {
        return Check::unknown("No system was found in which to look.", fix(kind));
    }
    let found: Vec<_> = subject.inspection.secrets.iter().filter(|secret| secret.kind == kind).collect();
    if found.is_empty() {
        let mut gaps = subject.inspection.gaps.iter().filter(|gap| gap.part == Part::Secrets);
        return match gaps.next() {
            None => Check::met("None was found."),
            Some(gap) => Check::unknown(
                format!("None was found, but not all was searched: {}.", gap.detail),
                fix(kind),
            ),
        };
    }
    let places: Vec<_> = found.iter().take(PLACES_SHOWN).map(|secret| place(secret)).collect();
    let more = if found.len() > PLACES_SHOWN { " and others" } else { "" };
    Check::not_met(format!("Found {}: {}{more}.", found.len(), places.join(", ")), fix(kind))
}

fn place(secret: &Secret) -> String {
    match &secret.user {
        Some(user) => format!("{} ({user})", secret.path),
        None => secret.path.clone(),
    }
}

fn fix(kind: SecretKind) -> &'static str {
    match kind {
        SecretKind::SshHostKey => "Remove /etc/ssh/ssh_host_*_key: each instance must make its own.",
        SecretKind::AuthorizedKeys => "Remove the keys: whoever holds them could log in to every instance.",
        SecretKind::PrivateKey => "Remove the private keys: whoever launches the image could read them.",
        SecretKind::ShellHistory => "Remove the histories: commands often hold passwords.",
        SecretKind::CloudCredentials => {
            "Remove the credentials and revoke them if the image was ever shared."
        }
        SecretKind::PasswordHash => "Lock the passwords (passwd -l): a hash can be guessed offline.",
        SecretKind::MachineId => "Empty /etc/machine-id: each instance must make its own.",
    }
}
