//! Leads each command about accounts to its use case, and names it for the operation log.

use std::sync::Arc;

use kiln_model::Uin;

use super::{accounts, import_permission, keys, limits, messages, operations, sub_accounts};
use crate::{AccountCommand, Answer, Caller, Refusal, Service};

pub(super) async fn perform(
    service: &Arc<Service>,
    caller: &Caller,
    command: AccountCommand,
) -> Result<Answer, Refusal> {
    match command {
        AccountCommand::CreateAccount(request) => accounts::create(service, caller, request).await,
        AccountCommand::DescribeAccounts => accounts::describe_all(service, caller).await,
        AccountCommand::DescribeAccount { account } => accounts::describe(service, caller, account).await,
        AccountCommand::ModifyAccountContact(request) => {
            accounts::modify_contact(service, caller, request).await
        }
        AccountCommand::CreateSubAccount { name, role } => {
            sub_accounts::create(service, caller, name, role).await
        }
        AccountCommand::DescribeSubAccounts { account } => {
            sub_accounts::describe(service, caller, account).await
        }
        AccountCommand::ModifySubAccount { sub_account, role } => {
            sub_accounts::modify(service, caller, sub_account, role).await
        }
        AccountCommand::DeleteSubAccount { sub_account } => {
            sub_accounts::delete(service, caller, sub_account).await
        }
        AccountCommand::ApplyForImportPermission { reason } => {
            import_permission::apply(service, caller, reason).await
        }
        AccountCommand::DescribeImportApplications(request) => {
            import_permission::describe(service, caller, request).await
        }
        AccountCommand::ModifyImportPermission(request) => {
            import_permission::modify(service, caller, request).await
        }
        AccountCommand::DescribeLimits { account } => limits::describe(service, caller, account).await,
        AccountCommand::ModifyAccountLimits { account, limits } => {
            limits::modify(service, caller, account, limits).await
        }
        AccountCommand::DescribeOperations(request) => operations::describe(service, caller, request).await,
        AccountCommand::DescribeMessages { offset, limit } => {
            messages::describe(service, caller, offset, limit).await
        }
        AccountCommand::CreateApiKey { account } => keys::create(service, caller, account).await,
        AccountCommand::DescribeApiKeys { account } => keys::describe(service, caller, account).await,
        AccountCommand::ModifyApiKey { secret_id, enabled } => {
            keys::modify(service, caller, &secret_id, enabled).await
        }
        AccountCommand::DeleteApiKey { secret_id } => keys::delete(service, caller, &secret_id).await,
    }
}

pub(super) fn name_and_subject(command: &AccountCommand) -> (&'static str, String) {
    fn named(account: Option<Uin>) -> String {
        account.map(|uin| uin.to_string()).unwrap_or_default()
    }
    match command {
        AccountCommand::CreateAccount(request) => ("CreateAccount", request.nickname.clone()),
        AccountCommand::ModifyAccountContact(request) => ("ModifyAccountContact", named(request.account)),
        AccountCommand::CreateSubAccount { name, .. } => ("CreateSubAccount", name.clone()),
        AccountCommand::ModifySubAccount { sub_account, .. } => ("ModifySubAccount", sub_account.to_string()),
        AccountCommand::DeleteSubAccount { sub_account } => ("DeleteSubAccount", sub_account.to_string()),
        AccountCommand::ApplyForImportPermission { .. } => ("ApplyForImportPermission", String::new()),
        AccountCommand::ModifyImportPermission(request) => {
            ("ModifyImportPermission", request.account.to_string())
        }
        AccountCommand::ModifyAccountLimits { account, .. } => ("ModifyAccountLimits", account.to_string()),
        AccountCommand::CreateApiKey { account } => ("CreateApiKey", named(*account)),
        AccountCommand::ModifyApiKey { secret_id, .. } => ("ModifyApiKey", secret_id.to_string()),
        AccountCommand::DeleteApiKey { secret_id } => ("DeleteApiKey", secret_id.to_string()),
        AccountCommand::DescribeAccounts
        | AccountCommand::DescribeAccount { .. }
        | AccountCommand::DescribeSubAccounts { .. }
        | AccountCommand::DescribeImportApplications(_)
        | AccountCommand::DescribeLimits { .. }
        | AccountCommand::DescribeApiKeys { .. }
        | AccountCommand::DescribeOperations(_)
        | AccountCommand::DescribeMessages { .. } => ("Describe", String::new()),
    }
}
