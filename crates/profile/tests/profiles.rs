//! Profiles of this process itself. Only with the feature `pprof`.
#![cfg(all(feature = "pprof", target_os = "linux"))]

use std::{
    hint::black_box,
    io::Read as _,
    thread,
    time::{Duration, Instant},
};

use flate2::read::GzDecoder;
use mesh_profile::{Error, Kind, take};

const SECOND: Duration = Duration::from_secs(1);

fn strings(profile: &[u8]) -> String {
    let mut bytes = Vec::new();
    GzDecoder::new(profile).read_to_end(&mut bytes).unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[inline(never)]
fn turn_in_circles(until: Instant) -> u64 {
    let mut sum = 0_u64;
    while Instant::now() < until {
        for n in 0..10_000_u64 {
            sum = black_box(sum.wrapping_mul(31).wrapping_add(n));
        }
    }
    sum
}

#[inline(never)]
fn hoard() -> Vec<Vec<u8>> {
    (0..1000).map(|_| black_box(vec![1; 16 * 1024])).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn functions_have_names_and_one_profile_is_taken_at_a_time() {
    let busy = thread::spawn(|| turn_in_circles(Instant::now() + SECOND * 2));
    let first = tokio::task::JoinSet::from_iter([take(Kind::Cpu, SECOND)]);
    tokio::time::sleep(SECOND / 2).await;
    assert_eq!(take(Kind::Heap, SECOND).await, Err(Error::Busy));
    let cpu = first.join_all().await.remove(0).unwrap();
    assert!(strings(&cpu).contains("turn_in_circles"));
    busy.join().unwrap();

    let hoarded = hoard();
    let heap = strings(&take(Kind::Heap, SECOND).await.unwrap());
    assert!(heap.contains("hoard"), "16 MiB in use are noticed");
    drop(hoarded);
    let allocs = strings(&take(Kind::Allocs, SECOND).await.unwrap());
    assert!(allocs.contains("hoard"));

    // One that is given up makes room for the next.
    let given_up = take(Kind::Cpu, SECOND * 60);
    assert!(tokio::time::timeout(SECOND / 10, given_up).await.is_err());
    assert!(take(Kind::Heap, SECOND).await.is_ok());
}
