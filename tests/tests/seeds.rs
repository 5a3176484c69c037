//! Every seed of every fuzz target, as a plain test: what real clients send, and what was once found.

use torrent_tests::fuzz::TARGETS;
use torrent_tests::programs::workspace;

#[test]
fn what_must_hold_holds_for_every_seed() {
    for (name, target) in TARGETS {
        let folder = workspace().join("tests/fuzz/seeds").join(name);
        let mut seeds: Vec<_> = folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
        seeds.sort();
        assert!(seeds.len() >= 3, "{name} has few seeds");
        for seed in seeds {
            println!("{}", seed.display());
            target(&std::fs::read(&seed).unwrap());
        }
        target(b"");
    }
}

/// Who adds a target adds its program, and the other way round.
#[test]
fn every_target_has_a_program() {
    let folder = workspace().join("tests/fuzz");
    let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).unwrap();
    let mut programs: Vec<_> =
        folder.join("fuzz_targets").read_dir().unwrap().map(|e| e.unwrap().path()).collect();
    programs.sort();
    let stems: Vec<_> = programs.iter().map(|path| path.file_stem().unwrap().to_str().unwrap()).collect();
    assert_eq!(stems, TARGETS.map(|(name, _)| name));
    for (name, program) in stems.iter().zip(&programs) {
        let text = std::fs::read_to_string(program).unwrap();
        assert!(text.contains(&format!("targets::{name}(")), "{}", program.display());
        assert!(manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")), "{name}");
    }
}
