//! The forms of KMS keyrings over moto.

use manila::keyring::{DiscoveryFilter, KmsKeyring, MultiKeyring};
use manila::testing::{ContextBinding, check_keyring, check_kms, check_two_keys};
use manila::{Client, ErrorKind, UnverifiedHeader};

use crate::world::{IRELAND, VIRGINIA, World, filter, open, seal};

/// Returns the ARNs that a message names.
fn named(message: &[u8]) -> Vec<String> {
    let header = UnverifiedHeader::parse(message).unwrap();
    header.encrypted_data_keys().iter().map(|key| String::from_utf8(key.provider_info.clone()).unwrap()).collect()
}

pub async fn the_sdks_client_keeps_the_contract_of_a_kms(world: &World) {
    let client = world.client(VIRGINIA);
    check_kms(&client, &world.key(VIRGINIA).await).await.unwrap();
    check_kms(&client, &world.multi_region_key().await.0).await.unwrap();
}

pub async fn the_sdks_client_keeps_two_keys_apart(world: &World) {
    let (one, other) = (world.key(VIRGINIA).await, world.key(VIRGINIA).await);
    check_two_keys(&world.client(VIRGINIA), &one, &other).await.unwrap();
}

pub async fn keyrings_of_one_key_keep_the_contract(world: &World) {
    let arn = world.key(VIRGINIA).await;
    let (primary, replica) = world.multi_region_key().await;
    check_keyring(&KmsKeyring::new(world.client(VIRGINIA), &arn).unwrap(), ContextBinding::DataKey).await.unwrap();
    check_keyring(&KmsKeyring::mrk_aware(world.client(VIRGINIA), &primary).unwrap(), ContextBinding::DataKey)
        .await
        .unwrap();
    check_keyring(&KmsKeyring::mrk_aware(world.client(IRELAND), &replica).unwrap(), ContextBinding::DataKey)
        .await
        .unwrap();
}

pub async fn a_strict_keyring_opens_what_its_own_key_sealed(world: &World) {
    let (one, other) = (world.key(VIRGINIA).await, world.key(VIRGINIA).await);
    let keyring = |arn: &str| KmsKeyring::new(world.client(VIRGINIA), arn).unwrap();
    let message = seal(keyring(&one)).await;
    assert_eq!(named(&message), [one.as_str()]);
    open(keyring(&one), &message).await.unwrap();
    let error = open(keyring(&other), &message).await.unwrap_err();
    assert_eq!((error.kind(), error.causes().len()), (ErrorKind::NoUsableDataKey, 0), "{error}");
}

pub async fn a_key_seals_by_id_alias_or_alias_arn(world: &World) {
    let arn = world.key(VIRGINIA).await;
    let (prefix, id) = arn.split_once(":key/").unwrap();
    let alias = format!("alias/of-{id}");
    world.client(VIRGINIA).as_client().create_alias().alias_name(&alias).target_key_id(id).send().await.unwrap();
    for name in [id, &alias, &format!("{prefix}:{alias}")] {
        check_kms(&world.client(VIRGINIA), name).await.unwrap();
        let named_so = || KmsKeyring::encrypt_only(world.client(VIRGINIA), name).unwrap();
        let message = seal(named_so()).await;
        assert_eq!(named(&message), [arn.as_str()]);
        open(KmsKeyring::new(world.client(VIRGINIA), &arn).unwrap(), &message).await.unwrap();
        let error = open(named_so(), &message).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    }
}

pub async fn discovery_opens_what_its_filter_admits(world: &World) {
    let arn = world.key(VIRGINIA).await;
    let message = seal(KmsKeyring::new(world.client(VIRGINIA), &arn).unwrap()).await;
    open(KmsKeyring::discovery(world.client(VIRGINIA), filter()), &message).await.unwrap();
    open(KmsKeyring::discovery_any_account(world.client(VIRGINIA)), &message).await.unwrap();
    for (partition, account) in [("aws", "111122223333"), ("aws-cn", "123456789012")] {
        let other = DiscoveryFilter::new(partition, [account]).unwrap();
        let error = open(KmsKeyring::discovery(world.client(VIRGINIA), other), &message).await.unwrap_err();
        assert_eq!((error.kind(), error.causes().len()), (ErrorKind::NoUsableDataKey, 0), "{error}");
    }
    let elsewhere = KmsKeyring::discovery(world.client(IRELAND), filter());
    assert_eq!(open(elsewhere, &message).await.unwrap_err().kind(), ErrorKind::KeyRefused);
}

pub async fn a_multi_region_key_opens_in_the_region_of_its_replica(world: &World) {
    let (primary, replica) = world.multi_region_key().await;
    let message = seal(KmsKeyring::mrk_aware(world.client(VIRGINIA), &primary).unwrap()).await;
    let back = seal(KmsKeyring::mrk_aware(world.client(IRELAND), &replica).unwrap()).await;
    assert_eq!((named(&message), named(&back)), (vec![primary.clone()], vec![replica.clone()]));
    let in_ireland = || world.client(IRELAND);
    open(KmsKeyring::mrk_aware(in_ireland(), &replica).unwrap(), &message).await.unwrap();
    open(KmsKeyring::mrk_aware(world.client(VIRGINIA), &primary).unwrap(), &back).await.unwrap();
    open(KmsKeyring::mrk_discovery(in_ireland(), IRELAND, filter()).unwrap(), &message).await.unwrap();
    open(KmsKeyring::mrk_discovery_any_account(in_ireland(), IRELAND).unwrap(), &message).await.unwrap();
    let strict = KmsKeyring::new(in_ireland(), &replica).unwrap();
    assert_eq!(open(strict, &message).await.unwrap_err().kind(), ErrorKind::NoUsableDataKey);
    let astray = KmsKeyring::mrk_discovery(in_ireland(), VIRGINIA, filter()).unwrap_err();
    assert_eq!(astray.kind(), ErrorKind::InvalidInput, "{astray}");
    // A single-region key is not looked up in another region.
    let single = world.key(VIRGINIA).await;
    let message = seal(KmsKeyring::new(world.client(VIRGINIA), &single).unwrap()).await;
    let error = open(KmsKeyring::mrk_discovery(in_ireland(), IRELAND, filter()).unwrap(), &message).await.unwrap_err();
    assert_eq!((error.kind(), error.causes().len()), (ErrorKind::NoUsableDataKey, 0), "{error}");
}

pub async fn either_region_opens_what_two_keys_sealed(world: &World) {
    let (virginia, ireland) = (world.key(VIRGINIA).await, world.key(IRELAND).await);
    let clients = world.clients();
    let message = seal(MultiKeyring::kms(&clients, &ireland, [&virginia]).unwrap()).await;
    assert_eq!(named(&message), [ireland.as_str(), &virginia]);
    for (region, arn) in [(VIRGINIA, &virginia), (IRELAND, &ireland)] {
        open(KmsKeyring::new(clients.get(region).unwrap(), arn).unwrap(), &message).await.unwrap();
        // If one of the keys is disabled, the other still decrypts.
        let multi = Client::new(MultiKeyring::kms(&clients, &ireland, [&virginia]).unwrap());
        clients.get(region).unwrap().as_client().disable_key().key_id(arn).send().await.unwrap();
        assert!(multi.decrypt_async(&message, crate::world::context()).await.is_ok(), "without {arn}");
        clients.get(region).unwrap().as_client().enable_key().key_id(arn).send().await.unwrap();
    }
}

pub async fn a_multi_keyring_is_multi_region_aware(world: &World) {
    let (primary, replica) = world.multi_region_key().await;
    let single = world.key(IRELAND).await;
    let clients = world.clients();
    let message = seal(MultiKeyring::kms_mrk_aware(&clients, &primary, [&single]).unwrap()).await;
    assert_eq!(named(&message), [primary.as_str(), &single]);
    let other_single = world.key(VIRGINIA).await;
    open(MultiKeyring::kms_mrk_aware(&clients, &replica, [&other_single]).unwrap(), &message).await.unwrap();
    open(MultiKeyring::kms_mrk_aware(&clients, &other_single, [&replica]).unwrap(), &message).await.unwrap();
    let strict = MultiKeyring::kms(&clients, &replica, [&other_single]).unwrap();
    assert_eq!(open(strict, &message).await.unwrap_err().kind(), ErrorKind::NoUsableDataKey);
    let both = MultiKeyring::kms_mrk_aware(&clients, &primary, [&replica]).unwrap_err();
    assert!(both.to_string().contains(&primary) && both.to_string().contains(&replica), "{both}");
}

pub async fn discovery_looks_in_several_regions(world: &World) {
    let (primary, _) = world.multi_region_key().await;
    let single = world.key(IRELAND).await;
    let clients = world.clients();
    let of_single = seal(KmsKeyring::new(world.client(IRELAND), &single).unwrap()).await;
    let of_primary = seal(KmsKeyring::new(world.client(VIRGINIA), &primary).unwrap()).await;
    for message in [&of_single, &of_primary] {
        open(MultiKeyring::kms_discovery(&clients, [VIRGINIA, IRELAND], &filter()).unwrap(), message).await.unwrap();
    }
    let far = "ap-south-1";
    for message in [&of_single, &of_primary] {
        open(MultiKeyring::kms_mrk_discovery(&clients, [far, IRELAND], &filter()).unwrap(), message).await.unwrap();
    }
    let plain = MultiKeyring::kms_discovery(&clients, [far], &filter()).unwrap();
    assert_eq!(open(plain, &of_single).await.unwrap_err().kind(), ErrorKind::KeyRefused);
}
