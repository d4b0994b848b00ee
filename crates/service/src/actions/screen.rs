//! DescribeInstanceVncUrl: a ticket to an instance's screen, keyboard and mouse.

use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use kiln_model::{InstanceId, InstanceState, Uin};

use crate::{Answer, Caller, Refusal, RefusalKind, Service, checks};

/// How long a ticket to a screen is valid; the public service's are as short.
pub(crate) const SCREEN_LIFE: Duration = Duration::from_secs(15);

/// What a ticket to a screen stands for.
#[derive(Clone)]
pub(crate) struct ScreenTicket {
    instance: InstanceId,
    owner: Uin,
}

/// A screen that is shown, and whose it is.
#[derive(Debug)]
pub struct OpenScreen {
    /// The account that owns the instance.
    pub owner: Uin,
    /// The connection; it speaks RFB from the far side.
    pub connection: UnixStream,
}

pub(super) async fn perform(
    service: &Arc<Service>,
    caller: &Caller,
    instance: &InstanceId,
) -> Result<Answer, Refusal> {
    // By its name it only looks; but whoever has the keyboard does more than that.
    if caller.is_read_only() {
        return Err(Refusal::denied(
            "UnauthorizedOperation",
            format!(
                "Sub-account {} may look only, and a screen has a keyboard. Use another key.",
                caller.uin()
            ),
        ));
    }
    let mut tx = service.catalog.read().await?;
    let instance = checks::own_instance(&mut tx, caller, instance).await?;
    checks::instance_state(&instance, &[InstanceState::Running, InstanceState::Rebooting])?;
    let screen = ScreenTicket { instance: instance.id, owner: instance.owner };
    let ticket = service.screen_tickets.issue(screen).ok_or_else(|| {
        Refusal::quota("LimitExceeded.Screens", "Too many screens are being opened. Try again in a minute.")
    })?;
    Ok(Answer::Screen { ticket })
}

/// The screen that a ticket leads to.
pub(crate) async fn open_screen(service: &Service, ticket: &str) -> Result<OpenScreen, Refusal> {
    let ScreenTicket { instance, owner } = service.screen_tickets.take(ticket).ok_or_else(|| {
        Refusal::denied(
            "UnauthorizedOperation",
            format!(
                "The address of a screen is valid once, for {} seconds. Ask for a new one: DescribeInstanceVncUrl.",
                SCREEN_LIFE.as_secs()
            ),
        )
    })?;
    let unavailable = |error| {
        let sentence =
            format!("The screen of {instance}: {error}. Stop the instance and start it, then ask again.");
        Refusal::new(RefusalKind::Unavailable, "ResourceUnavailable.Screen", sentence)
    };
    tracing::info!(%instance, "a screen is opened");
    let machine = service.machines.get(&instance);
    let machine = machine.ok_or(kiln_qemu::Error::NotRunning).map_err(unavailable)?;
    let connection = machine.open_screen().await.map_err(unavailable)?;
    Ok(OpenScreen { owner, connection })
}
