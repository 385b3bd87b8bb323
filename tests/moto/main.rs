//! AWS KMS through the SDK's own client, against moto: an independent implementation of the KMS.
//!
//! Runs if `MANILA_MOTO` names the folder that `tests/interop/setup.sh` set up; otherwise prints that it did not run.
//! The official SDKs use the same moto: they encrypt and we decrypt, we encrypt and they decrypt.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod exchange;
mod keyrings;
mod refusals;
mod world;

#[path = "../interop/peer.rs"]
mod peer;
#[path = "../support/set_up.rs"]
mod set_up;

use std::future::Future;
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;

use world::World;

type Case = (&'static str, fn(Arc<World>) -> Pin<Box<dyn Future<Output = ()> + Send>>);

macro_rules! cases {
    ($($module:ident::$case:ident),* $(,)?) => {
        [$((stringify!($case), |world| Box::pin(async move { $module::$case(&world).await }))),*]
    };
}

const CASES: &[Case] = &cases![
    keyrings::the_sdks_client_keeps_the_contract_of_a_kms,
    keyrings::the_sdks_client_keeps_two_keys_apart,
    keyrings::keyrings_of_one_key_keep_the_contract,
    keyrings::a_strict_keyring_opens_what_its_own_key_sealed,
    keyrings::a_key_seals_by_id_alias_or_alias_arn,
    keyrings::discovery_opens_what_its_filter_admits,
    keyrings::a_multi_region_key_opens_in_the_region_of_its_replica,
    keyrings::either_region_opens_what_two_keys_sealed,
    keyrings::a_multi_keyring_is_multi_region_aware,
    keyrings::discovery_looks_in_several_regions,
    refusals::a_disabled_key_is_refused_until_it_is_enabled,
    refusals::a_key_that_waits_for_deletion_is_refused,
    refusals::a_key_that_is_not_there_is_refused,
    refusals::another_context_is_refused,
    refusals::another_key_is_refused,
    exchange::strict,
    exchange::multi_region,
    exchange::discovery,
    exchange::multi_region_discovery,
    exchange::two_regions,
    exchange::discovery_in_two_regions,
];

#[tokio::main]
async fn main() -> ExitCode {
    let Some(folder) = set_up::folder("moto", "MANILA_MOTO") else { return ExitCode::SUCCESS };
    let world = Arc::new(World::start(&folder));
    let mut failed = 0;
    for (name, case) in CASES {
        // Runs as a separate task, so that a panic only ends this case.
        let passed = tokio::spawn(case(world.clone())).await.is_ok();
        println!("{name} ... {}", if passed { "ok" } else { "FAILED" });
        failed += usize::from(!passed);
    }
    println!("moto: {} passed, {failed} failed", CASES.len() - failed);
    ExitCode::from(u8::from(failed > 0))
}
