//! The permission to import: an account applies for it, the operator decides.

use std::sync::Arc;

use kiln_catalog::ImportApplicationQuery;
use kiln_model::{ApplicationEvent, ApplicationState, ImportApplication, Role, Timestamp};

use super::accounts::require_account;
use crate::notifications::{self, Notice};
use crate::{
    Answer, Caller, DescribeImportApplications, ImportApplications, ModifyImportPermission, Refusal, Service,
    checks,
};

pub(super) async fn apply(
    service: &Arc<Service>,
    caller: &Caller,
    reason: String,
) -> Result<Answer, Refusal> {
    checks::short_text("Reason", &reason, checks::MAX_TEXT_CHARS)?;
    if reason.trim().is_empty() {
        return Err(Refusal::invalid(
            "InvalidParameterValue",
            "Reason is empty. Say what you want to import and what for; the operator decides by it.",
        ));
    }
    let account = caller.account.uin;
    let mut tx = service.catalog.write().await?;
    if require_account(&mut tx, account).await?.may_import {
        return Err(Refusal::conflict(
            "FailedOperation.ImportPermissionHeld",
            format!("Account {account} may import images already."),
        ));
    }
    let state = match tx.import_application(account).await? {
        None => Some(ApplicationState::Pending),
        Some(earlier) => earlier.state.transition(ApplicationEvent::Applied),
    };
    let Some(state) = state else {
        return Err(Refusal::conflict(
            "FailedOperation.ApplicationPending",
            format!(
                "Account {account} has applied already, and the operator has not decided yet. Wait for it."
            ),
        ));
    };
    let applied_at = Timestamp::now();
    let application =
        ImportApplication { account, reason, state, applied_at, decided_at: None, answer: String::new() };
    tx.put_import_application(&application).await?;
    if let Some(operator) = tx.operator().await? {
        let notice = Notice::application(account, &application.reason);
        notifications::tell(service, &mut tx, operator.uin, notice).await?;
    }
    tx.commit().await?;
    Ok(Answer::Done)
}

pub(super) async fn describe(
    service: &Arc<Service>,
    caller: &Caller,
    request: DescribeImportApplications,
) -> Result<Answer, Refusal> {
    let query = ImportApplicationQuery {
        account: (caller.account.role != Role::Operator).then_some(caller.account.uin),
        state: request.state,
        offset: request.offset,
        limit: checks::page_limit(request.limit)?,
    };
    let (applications, total) = service.catalog.read().await?.import_applications(&query).await?;
    Ok(Answer::ImportApplications(ImportApplications { applications, total }))
}

/// Gives the permission or takes it; an application of the account's is decided with it.
pub(super) async fn modify(
    service: &Arc<Service>,
    caller: &Caller,
    request: ModifyImportPermission,
) -> Result<Answer, Refusal> {
    checks::require_operator(caller)?;
    checks::require_main(caller)?;
    checks::short_text("Answer", &request.answer, checks::MAX_TEXT_CHARS)?;
    let mut tx = service.catalog.write().await?;
    require_account(&mut tx, request.account).await?;
    tx.set_may_import(request.account, request.allowed).await?;
    if let Some(mut application) = tx.import_application(request.account).await? {
        let event = if request.allowed { ApplicationEvent::Granted } else { ApplicationEvent::Refused };
        application.state = application.state.transition(event).unwrap_or(application.state);
        application.decided_at = Some(Timestamp::now());
        application.answer.clone_from(&request.answer);
        tx.put_import_application(&application).await?;
    }
    let notice = Notice::decision(request.account, request.allowed, &request.answer);
    notifications::tell(service, &mut tx, request.account, notice).await?;
    tx.commit().await?;
    Ok(Answer::Done)
}
