//! ApplyForProvider, DescribeProviders, ModifyProvider: who may sell images.

use std::sync::Arc;

use kiln_catalog::Tx;
use kiln_model::{ApplicationEvent, ApplicationState, Provider, Role, Timestamp};

use super::accounts::require_account;
use crate::notifications::{self, Notice};
use crate::{Answer, Caller, ModifyProvider, Refusal, Service, checks};

const MAX_NAME_CHARS: usize = 60;

pub(super) async fn apply(
    service: &Arc<Service>,
    caller: &Caller,
    name: String,
    reason: String,
) -> Result<Answer, Refusal> {
    checks::require_main(caller)?;
    checks::short_text("Name", &name, MAX_NAME_CHARS)?;
    checks::short_text("Reason", &reason, checks::MAX_TEXT_CHARS)?;
    let account = caller.account.uin;
    if caller.account.role == Role::Operator {
        return Err(Refusal::conflict(
            "UnsupportedOperation.Operator",
            "The operator publishes images for everybody and sells none. Use PublishImage and ModifyImageFee.",
        ));
    }
    for (parameter, text) in [("Name", &name), ("Reason", &reason)] {
        if text.trim().is_empty() {
            return Err(Refusal::invalid(
                "InvalidParameterValue",
                format!(
                    "{parameter} is empty. Say who you are and what you want to sell; the operator decides by it."
                ),
            ));
        }
    }
    let mut tx = service.catalog.write().await?;
    let state = match tx.provider(account).await? {
        None => Some(ApplicationState::Pending),
        Some(earlier) => earlier.state.transition(ApplicationEvent::Applied),
    };
    let state = state.ok_or_else(|| {
        Refusal::conflict(
            "FailedOperation.ApplicationPending",
            format!("Account {account} is a provider already, or has applied and waits for the operator's decision."),
        )
    })?;
    let notice = Notice::provider_application(account, &name, &reason);
    let applied_at = Timestamp::now();
    let provider =
        Provider { account, name, reason, state, applied_at, decided_at: None, answer: String::new() };
    tx.put_provider(&provider).await?;
    if let Some(operator) = tx.operator().await? {
        notifications::tell(service, &mut tx, operator.uin, notice).await?;
    }
    tx.commit().await?;
    Ok(Answer::Done)
}

pub(super) async fn describe(
    service: &Arc<Service>,
    caller: &Caller,
    state: Option<ApplicationState>,
) -> Result<Answer, Refusal> {
    let account = (caller.account.role != Role::Operator).then_some(caller.account.uin);
    Ok(Answer::Providers(service.catalog.read().await?.providers(account, state).await?))
}

/// Decides about an account that has applied. What it sells goes on when it is a provider no more, until withdrawn.
pub(super) async fn modify(
    service: &Arc<Service>,
    caller: &Caller,
    request: ModifyProvider,
) -> Result<Answer, Refusal> {
    checks::require_operator_itself(caller)?;
    checks::short_text("Answer", &request.answer, checks::MAX_TEXT_CHARS)?;
    let mut tx = service.catalog.write().await?;
    require_account(&mut tx, request.account).await?;
    let mut provider = tx.provider(request.account).await?.ok_or_else(|| {
        Refusal::not_found(
            "InvalidAccountId.NotFound",
            format!("Account {} has not applied for selling images (ApplyForProvider).", request.account),
        )
    })?;
    let event = if request.accepted { ApplicationEvent::Granted } else { ApplicationEvent::Refused };
    provider.state = provider.state.transition(event).unwrap_or(provider.state);
    provider.decided_at = Some(Timestamp::now());
    provider.answer.clone_from(&request.answer);
    tx.put_provider(&provider).await?;
    let notice = Notice::provider_decision(request.account, request.accepted, &request.answer);
    notifications::tell(service, &mut tx, request.account, notice).await?;
    tx.commit().await?;
    Ok(Answer::Done)
}

/// That the caller's account may sell images.
pub(super) async fn require_provider(tx: &mut Tx, caller: &Caller) -> Result<(), Refusal> {
    let provider = tx.provider(caller.account.uin).await?;
    if provider.is_some_and(|provider| provider.state == ApplicationState::Granted) {
        return Ok(());
    }
    Err(Refusal::denied(
        "UnauthorizedOperation.NotProvider",
        format!(
            "Your account {} is no provider. Apply for it with the action ApplyForProvider of the service kiln, or with \
             `kiln market apply`; the operator then decides.",
            caller.account.uin
        ),
    ))
}
