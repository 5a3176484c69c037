//! The name of a part file: in it, beside the payload, wait the bytes of files that are not selected.

use torrent_common::ids::InfoHash;

const END: &str = ".parts";

/// A torrent's.
pub fn name(info_hash: &InfoHash) -> String {
    format!(".{info_hash}{END}")
}

/// Whether some torrent's part file may have this name, also where case makes no difference.
pub fn is_name(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    let hash = lower.strip_prefix('.').and_then(|rest| rest.strip_suffix(END));
    hash.is_some_and(|hash| hash.len() == 40 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn part_files_are_known_by_their_names() {
        let own = name(&InfoHash::new([0xa7; 20]));
        assert!(is_name(&own) && is_name(&own.to_uppercase()), "{own}");
        for other in
            ["", ".parts", "..parts", &own[1..], &own[..46], &format!("{own}.bad"), &own.replace('7', "g")]
        {
            assert!(!is_name(other), "{other}");
        }
    }
}
