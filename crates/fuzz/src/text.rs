//! Short texts that others write.

use jobs::{JobId, Lane};
use mesh_relay::timeout;

pub(crate) fn timeouts() -> Vec<Vec<u8>> {
    [
        "1n",
        "99999999H",
        "500m",
        "3S",
        "07M",
        "u",
        "-1S",
        "123456789S",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}

pub(crate) fn timeout(data: &[u8]) {
    let Some(time) = timeout::read(data) else {
        return;
    };
    let written = timeout::write(time);
    let again = timeout::read(&written).expect("what we write, we read");
    assert!(again >= time, "{data:x?}: {written:?}");
    // Rounded in the eighth digit at most.
    assert!(again - time <= time / 1_000_000, "{data:x?}: {written:?}");
}

pub(crate) fn job_ids() -> Vec<Vec<u8>> {
    let lane = Lane::new("default", 0).expect("it is well formed");
    let id = JobId::new(&lane).to_string();
    vec![
        id.into_bytes(),
        b"default-0-".to_vec(),
        b"{default}:0:".to_vec(),
    ]
}

pub(crate) fn job_id(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let Ok(id) = text.parse::<JobId>() else {
        return;
    };
    assert_eq!(id.to_string(), text);
    // All that an id tells can be asked of any that was read.
    let lane = id.lane();
    assert_eq!(lane.to_string().parse::<Lane>().ok().as_ref(), Some(&lane));
    assert!(text.contains(id.queue()));
    std::hint::black_box(id.made_at());
}
