//! Every target, with a bounded number of inputs.

use mesh_fuzz::{TARGETS, mutate};

const INPUTS: usize = 20_000;

#[test]
fn no_target_finds_anything_in_some_thousand_inputs() {
    for target in TARGETS {
        // The same in every run: what a run finds, the next finds too.
        mutate::run(target, INPUTS, 1);
    }
}

#[test]
fn every_target_has_a_program_for_cargo_fuzz() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/fuzz_targets");
    let files = std::fs::read_dir(folder).unwrap();
    let mut programs: Vec<String> = files
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    let mut wanted: Vec<String> = TARGETS.iter().map(|t| format!("{}.rs", t.name)).collect();
    programs.sort();
    wanted.sort();
    assert_eq!(programs, wanted);
}
