//! Accounts, keys and key pairs.

use kiln_catalog::{Catalog, Error, ImportApplicationQuery, Unique};
use kiln_model::{
    ApiKey, ApplicationState, Contact, ImportApplication, KeyPair, KeyPairId, Limits, LimitsPreset, Role,
    SecretId, SubAccount, SubAccountRole, Uin,
};

use crate::sample::{ALICE, BOB, CAROL, OPERATOR, account, at, insert_accounts};

crate::on_every_database!(
    accounts_read_back,
    account_numbers_are_unique,
    there_is_one_operator,
    permission_and_limits_change,
    keys_belong_to_an_account,
    sub_accounts_have_keys_of_their_own,
    a_contact_changes,
    an_application_replaces_the_earlier_one,
    key_pair_names_are_unique_per_owner,
);

const NOBODY: Uin = Uin(100000000000);

async fn accounts_read_back(catalog: Catalog) {
    let mut tx = catalog.write().await.expect("a turn");
    insert_accounts(&mut tx).await;
    assert_eq!(tx.account(ALICE).await.expect("readable"), Some(account(ALICE, Role::Main)));
    assert_eq!(tx.account(NOBODY).await.expect("readable"), None);
    assert_eq!(tx.operator().await.expect("readable").map(|account| account.uin), Some(OPERATOR));
    assert_eq!(tx.accounts().await.expect("readable").len(), 3);
}

async fn account_numbers_are_unique(catalog: Catalog) {
    let mut tx = catalog.write().await.expect("a turn");
    tx.insert_account(&account(ALICE, Role::Main)).await.expect("new");
    let again = tx.insert_account(&account(ALICE, Role::Main)).await;
    assert!(matches!(again, Err(Error::Conflict(Unique::AccountNumber))), "{again:?}");
    let mut same_app_id = account(BOB, Role::Main);
    same_app_id.app_id = account(ALICE, Role::Main).app_id;
    let again = tx.insert_account(&same_app_id).await;
    assert!(matches!(again, Err(Error::Conflict(Unique::AccountNumber))), "{again:?}");
}

async fn there_is_one_operator(catalog: Catalog) {
    let mut tx = catalog.write().await.expect("a turn");
    assert_eq!(tx.operator().await.expect("readable"), None);
    tx.insert_account(&account(OPERATOR, Role::Operator)).await.expect("the first");
    let second = tx.insert_account(&account(BOB, Role::Operator)).await;
    assert!(matches!(second, Err(Error::Conflict(Unique::Operator))), "{second:?}");
}

async fn permission_and_limits_change(catalog: Catalog) {
    let mut tx = catalog.write().await.expect("a turn");
    insert_accounts(&mut tx).await;
    tx.set_may_import(ALICE, true).await.expect("she exists");
    assert!(tx.account(ALICE).await.expect("readable").expect("exists").may_import);
    assert!(!tx.account(BOB).await.expect("readable").expect("exists").may_import);
    assert!(matches!(tx.set_may_import(NOBODY, true).await, Err(Error::Stale(_))));

    assert_eq!(tx.limits_override(ALICE).await.expect("readable"), None);
    let limits = Limits { images_per_region: 3, ..Limits::preset(LimitsPreset::Current) };
    tx.set_limits_override(ALICE, Some(&limits)).await.expect("she exists");
    assert_eq!(tx.limits_override(ALICE).await.expect("readable"), Some(limits));
    assert_eq!(tx.limits_override(BOB).await.expect("readable"), None);
    tx.set_limits_override(ALICE, None).await.expect("she exists");
    assert_eq!(tx.limits_override(ALICE).await.expect("readable"), None);
}

async fn keys_belong_to_an_account(catalog: Catalog) {
    let mut tx = catalog.write().await.expect("a turn");
    insert_accounts(&mut tx).await;
    let key = ApiKey::random(ALICE, at(5));
    tx.insert_api_key(&key).await.expect("new");
    let found = tx.api_key(&key.secret_id).await.expect("readable").expect("exists");
    assert_eq!((&found.key, &found.account), (&key, &account(ALICE, Role::Main)));
    assert_eq!((found.sub_account, found.limits), (None, None));
    assert!(tx.api_key(&SecretId::random()).await.expect("readable").is_none());
    let again = tx.insert_api_key(&key).await;
    assert!(matches!(again, Err(Error::Conflict(Unique::ApiKey))), "{again:?}");
    let orphan = tx.insert_api_key(&ApiKey::random(NOBODY, at(5))).await;
    assert!(matches!(orphan, Err(Error::Missing)), "{orphan:?}");

    assert!(!tx.set_api_key_enabled(BOB, &key.secret_id, false).await.expect("runs"), "it is not his");
    assert!(tx.set_api_key_enabled(ALICE, &key.secret_id, false).await.expect("runs"));
    assert!(!tx.api_keys(ALICE).await.expect("readable")[0].enabled);
    assert!(!tx.delete_api_key(BOB, &key.secret_id).await.expect("runs"), "it is not his");
    assert!(tx.delete_api_key(ALICE, &key.secret_id).await.expect("runs"));
    assert!(tx.api_keys(ALICE).await.expect("readable").is_empty());
}

async fn sub_accounts_have_keys_of_their_own(catalog: Catalog) {
    let mut tx = catalog.write().await.expect("a turn");
    insert_accounts(&mut tx).await;
    let carol = SubAccount {
        uin: CAROL,
        owner: BOB,
        name: "carol".to_owned(),
        role: SubAccountRole::ReadOnly,
        created_at: at(1),
    };
    tx.insert_sub_account(&carol).await.expect("new");
    let same_name = SubAccount { uin: NOBODY, ..carol.clone() };
    let again = tx.insert_sub_account(&same_name).await;
    assert!(matches!(again, Err(Error::Conflict(Unique::SubAccountName))), "{again:?}");
    let orphan = tx.insert_sub_account(&SubAccount { owner: NOBODY, ..same_name }).await;
    assert!(matches!(orphan, Err(Error::Missing)), "{orphan:?}");

    let (hers, his) = (ApiKey::random_of(&carol, at(2)), ApiKey::random(BOB, at(2)));
    for key in [&hers, &his] {
        tx.insert_api_key(key).await.expect("new");
    }
    let limits = Limits::preset(LimitsPreset::Current);
    tx.set_limits_override(BOB, Some(&limits)).await.expect("he exists");
    let found = tx.api_key(&hers.secret_id).await.expect("readable").expect("exists");
    assert_eq!((&found.key, found.account.uin, found.limits), (&hers, BOB, Some(limits)));
    assert_eq!(found.sub_account.as_ref(), Some(&carol));
    assert_eq!(tx.api_keys(BOB).await.expect("readable"), [his], "hers is not his");
    assert_eq!(tx.api_keys(CAROL).await.expect("readable"), std::slice::from_ref(&hers));

    tx.set_sub_account_role(CAROL, SubAccountRole::Full).await.expect("she exists");
    assert_eq!(tx.sub_accounts(BOB).await.expect("readable")[0].role, SubAccountRole::Full);
    assert!(tx.sub_accounts(ALICE).await.expect("readable").is_empty());
    tx.delete_sub_account(CAROL).await.expect("she exists");
    assert_eq!(tx.sub_account(CAROL).await.expect("readable"), None);
    assert!(tx.api_key(&hers.secret_id).await.expect("readable").is_none());
    assert!(matches!(tx.delete_sub_account(CAROL).await, Err(Error::Stale(_))));
}

async fn a_contact_changes(catalog: Catalog) {
    let mut tx = catalog.write().await.expect("a turn");
    insert_accounts(&mut tx).await;
    let contact = Contact {
        email: Some("a@example.org".parse().expect("an address")),
        notify_sms: false,
        ..Contact::default()
    };
    tx.set_contact(ALICE, &contact).await.expect("she exists");
    assert_eq!(tx.account(ALICE).await.expect("readable").expect("exists").contact, contact);
    assert_eq!(tx.account(BOB).await.expect("readable").expect("exists").contact, Contact::default());
}

async fn an_application_replaces_the_earlier_one(catalog: Catalog) {
    let mut tx = catalog.write().await.expect("a turn");
    insert_accounts(&mut tx).await;
    let application = |account, state| ImportApplication {
        account,
        reason: "to move in".to_owned(),
        state,
        applied_at: at(1),
        decided_at: None,
        answer: String::new(),
    };
    for (account, state) in [(BOB, ApplicationState::Pending), (ALICE, ApplicationState::Pending)] {
        tx.put_import_application(&application(account, state)).await.expect("runs");
    }
    let refused = application(ALICE, ApplicationState::Refused);
    tx.put_import_application(&refused).await.expect("runs");
    assert_eq!(tx.import_application(ALICE).await.expect("readable"), Some(refused.clone()));
    let all = ImportApplicationQuery::default();
    assert_eq!(tx.import_applications(&all).await.expect("readable").1, 2);
    let pending = ImportApplicationQuery { state: Some(ApplicationState::Pending), ..all.clone() };
    assert_eq!(tx.import_applications(&pending).await.expect("readable").0[0].account, BOB);
    let hers = ImportApplicationQuery { account: Some(ALICE), ..all };
    assert_eq!(tx.import_applications(&hers).await.expect("readable"), (vec![refused], 1));
}

async fn key_pair_names_are_unique_per_owner(catalog: Catalog) {
    let mut tx = catalog.write().await.expect("a turn");
    insert_accounts(&mut tx).await;
    let pair = |owner| KeyPair {
        description: String::new(),
        id: KeyPairId::random(),
        owner,
        name: "laptop".to_owned(),
        public_key: "ssh-ed25519 AAAA laptop".to_owned(),
        created_at: at(1),
    };
    let hers = pair(ALICE);
    tx.insert_key_pair(&hers).await.expect("new");
    tx.insert_key_pair(&pair(BOB)).await.expect("another owner's");
    let again = tx.insert_key_pair(&pair(ALICE)).await;
    assert!(matches!(again, Err(Error::Conflict(Unique::KeyPairName))), "{again:?}");
    assert_eq!(tx.key_pair(&hers.id).await.expect("readable"), Some(hers.clone()));
    assert_eq!(tx.key_pairs(ALICE).await.expect("readable"), std::slice::from_ref(&hers));
    assert!(!tx.delete_key_pair(BOB, &hers.id).await.expect("runs"), "it is not his");
    assert!(tx.delete_key_pair(ALICE, &hers.id).await.expect("runs"));
    assert_eq!(tx.key_pair(&hers.id).await.expect("readable"), None);
}
