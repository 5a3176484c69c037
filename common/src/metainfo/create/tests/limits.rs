//! Torrents that would be too large.

use super::*;

/// Exactly as large as is allowed, and a byte larger: for lengths on both sides of where the number of digits changes.
#[test]
fn what_would_be_too_large_is_refused_before_it_is_hashed() {
    let folder = tempfile::tempdir().unwrap();
    write_files(folder.path(), &[("folder/a/b", 40_000), ("folder/c", 5), ("folder/empty", 0)]);
    let sparse = File::create(folder.path().join("large")).unwrap();
    for (input, sizes) in [("folder", &[3][..]), ("large", &[1, 4, 5, 49, 50])] {
        for pieces in sizes {
            sparse.set_len(pieces * MIN_PIECE_LEN).unwrap();
            let options = CreateOptions {
                comment: Some("about".into()),
                trackers: vec![vec!["http://a/".into()], vec!["http://b/".into()]],
                ..options(&folder.path().join(input))
            };
            let len = made(&options).0.bytes.len();
            let limited = |max_len| {
                let progress = Progress::default();
                let limits = MetainfoLimits { max_len, ..MetainfoLimits::default() };
                let result = create(&CreateOptions { limits, ..options.clone() }, &progress);
                (result.map(|created| created.bytes.len()), progress.get().0)
            };
            assert_eq!(limited(len).0.unwrap(), len);
            let (result, hashed) = limited(len - 1);
            let error = result.unwrap_err();
            let told = CreateError::TooLarge { len: len as u64, max_len: len as u64 - 1 };
            assert_eq!((error.to_string(), hashed), (told.to_string(), 0), "{input} {pieces}");
        }
    }
}
