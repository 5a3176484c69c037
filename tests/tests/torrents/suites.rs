//! What the test suites of libtorrent, Transmission and WebTorrent know to be wrong with a torrent, or merely odd: torrents
//! with the same peculiarity, made here, none of theirs. Each is named as it is there.
//!
//! Where a suite refuses, we refuse. Where it accepts, the info-hash is the same; but for what names could lead outside
//! the download folder, or where programs disagree about which bytes are meant: we guess at nothing ([`Here::Refused`]).

use torrent_common::ids::InfoHash;
use torrent_common::metainfo::{Metainfo, MetainfoLimits};
use torrent_tests::bencode::{Bencode, dict, list};

/// What we make of a torrent that another suite has.
enum Here {
    /// As there: refused, with these words in the reason.
    Invalid(&'static str),
    /// As there: accepted.
    Valid,
    /// Accepted there and refused here, with these words in the reason.
    Refused(&'static str),
}

use Here::{Invalid, Refused, Valid};

type Case = (&'static str, Bencode, Here);

const PIECE: i64 = 16_384;

/// An info dictionary of this name, with what says which files there are, and `pieces` hashes.
fn info(name: impl Into<Bencode>, files: (&str, Bencode), pieces: usize) -> Bencode {
    let mut info = dict([("name", name.into()), ("piece length", PIECE.into())]);
    info.set("pieces", vec![b'p'; 20 * pieces]).set(files.0, files.1);
    info
}

fn torrent(info: Bencode) -> Bencode {
    dict([("announce", "http://t/announce".into()), ("info", info)])
}

/// One file, right unless changed.
fn single(change: impl FnOnce(&mut Bencode)) -> Bencode {
    let mut info = info("one.bin", ("length", 20_000.into()), 2);
    change(&mut info);
    torrent(info)
}

/// The same, but for a key.
fn without(key: &str) -> Bencode {
    single(|info| {
        info.remove(key);
    })
}

/// A folder of these entries of `files`, in this many pieces.
fn folder(files: Vec<Bencode>, pieces: usize) -> Bencode {
    torrent(info("folder", ("files", Bencode::List(files)), pieces))
}

fn file(len: i64, path: &[&str]) -> Bencode {
    dict([("length", len.into()), ("path", list(path.iter().copied()))])
}

/// A file with attributes (BEP 47).
fn special(attributes: &str, mut file: Bencode) -> Bencode {
    file.set("attr", attributes);
    file
}

fn link(mut file: Bencode, target: Bencode) -> Bencode {
    file.set("symlink path", target);
    special("l", file)
}

/// Outside `info`.
fn with(key: &str, value: impl Into<Bencode>) -> Bencode {
    let mut torrent = single(|_| ());
    torrent.set(key, value);
    torrent
}

/// A file in a `file tree`.
fn leaf(len: i64) -> Bencode {
    dict([("", dict([("length", len.into()), ("pieces root", vec![b'r'; 32].into())]))])
}

/// Of version 2 alone.
fn version_2(tree: Bencode) -> Bencode {
    let info = dict([("file tree", tree), ("meta version", 2.into()), ("name", "one.bin".into())]);
    let mut torrent = torrent(info);
    let Bencode::Dict(entries) = &mut torrent else { unreachable!() };
    entries[1].1.set("piece length", PIECE);
    torrent.set("piece layers", Bencode::Dict(Vec::new()));
    torrent
}

/// Of both versions.
fn hybrid(mut torrent: Bencode, tree: Bencode) -> Bencode {
    let Bencode::Dict(entries) = &mut torrent else { unreachable!() };
    let info = &mut entries.iter_mut().find(|(key, _)| key == b"info").unwrap().1;
    info.set("file tree", tree).set("meta version", 2);
    torrent.set("piece layers", Bencode::Dict(Vec::new()));
    torrent
}

fn libtorrent_invalid() -> Vec<Case> {
    let set = |key: &'static str, value: Bencode| {
        single(|info| {
            info.set(key, value);
        })
    };
    let only = |entry: Bencode| folder(vec![entry], 1);
    let tree = |len: i64| dict([("one.bin", leaf(len))]);
    let deep = (0..500).fold(leaf(1), |inner, _| dict([("d", inner)]));
    let overlong = dict([("", dict([("length", Bencode::Raw(b"i07e".to_vec()))]))]);
    vec![
        ("missing_piece_len", without("piece length"), Invalid("piece length")),
        ("invalid_piece_len", set("piece length", "16384".into()), Invalid("piece length")),
        ("negative_piece_len", set("piece length", (-16_384).into()), Invalid("piece length")),
        ("no_name", without("name"), Invalid("name")),
        ("bad_name", set("name", list(["one.bin"])), Invalid("name")),
        ("invalid_name", set("name", 1348.into()), Invalid("name")),
        ("invalid_info", dict([("info", "files".into())]), Invalid("info")),
        ("string", "4:info".into(), Invalid("not a dictionary")),
        ("negative_size", set("length", (-425).into()), Invalid("negative")),
        ("negative_file_size", only(file(-425, &["a"])), Invalid("negative")),
        ("invalid_file_size", only(dict([("length", list([45])), ("path", list(["a"]))])), Invalid("length")),
        ("missing_path_list", only(dict([("length", 45.into())])), Invalid("path")),
        (
            "invalid_path_list",
            only(dict([("length", 45.into()), ("path", Bencode::List(vec![1242.into(), "a".into()]))])),
            Invalid("path"),
        ),
        ("invalid_pieces", set("pieces", (-23).into()), Invalid("pieces")),
        ("unaligned_pieces", set("pieces", vec![b'p'; 39].into()), Invalid("multiple of 20")),
        (
            "invalid_symlink",
            folder(
                vec![
                    file(0, &["a", "bar"]),
                    link(file(425, &["a", "foo"]), Bencode::List(vec!["foo".into(), 4.into()])),
                ],
                1,
            ),
            Invalid("link"),
        ),
        ("many_pieces", set("length", (1_i64 << 40).into()), Invalid("pieces")),
        ("no_files", folder(vec![], 1), Invalid("no files")),
        ("zero", torrent(info("one.bin", ("length", 0.into()), 0)), Invalid("no bytes")),
        (
            "zero2",
            folder(vec![file(0, &["a"]), special("p", file(0, &[".pad", "0"])), file(0, &["b"])], 0),
            Invalid("no bytes"),
        ),
        (
            "v2_mismatching_metadata",
            hybrid(single(|_| ()), dict([("/ne.bin", leaf(20_000))])),
            Invalid("separator"),
        ),
        (
            "v2_mismatching_metadata, a name",
            hybrid(single(|_| ()), dict([("two.bin", leaf(20_000))])),
            Invalid("version 1 and version 2"),
        ),
        (
            "v2_mismatching_metadata, a length",
            hybrid(single(|_| ()), tree(20_001)),
            Invalid("version 1 and version 2"),
        ),
        (
            "v2_mismatching_metadata, a file less",
            hybrid(single(|_| ()), Bencode::Dict(Vec::new())),
            Invalid("version 1 and version 2"),
        ),
        (
            "v2_mismatching_metadata, a file more",
            hybrid(single(|_| ()), dict([("one.bin", leaf(20_000)), ("two.bin", leaf(0))])),
            Invalid("version 1 and version 2"),
        ),
        (
            "v2_bad_file_alignment",
            hybrid(
                folder(vec![file(100, &["a"]), file(100, &["b"])], 1),
                dict([("a", leaf(100)), ("b", leaf(100))]),
            ),
            Invalid("version 1 and version 2"),
        ),
        (
            "v2_invalid_file",
            hybrid(single(|_| ()), dict([("one.bin", dict([("length", 20_000.into())]))])),
            Invalid("file tree"),
        ),
        ("v2_deep_recursion", version_2(deep), Invalid("deep")),
        ("v2_overlong_integer", version_2(dict([("one.bin", overlong)])), Invalid("zero")),
        ("v2_no_power2_piece and all of version 2 alone", version_2(tree(1 << 20)), Invalid("version 2")),
        ("v2_large_file", version_2(tree(1 << 50)), Invalid("version 2")),
        ("v2_invalid_pad_file", version_2(dict([("p", leaf(1))])), Invalid("version 2")),
        ("empty_file", Bencode::Raw(Vec::new()), Invalid("not a torrent file")),
    ]
}

fn libtorrent_valid() -> Vec<Case> {
    let path = |path: &[&str]| folder(vec![file(425, path)], 1);
    let named = |name: &'static str| torrent(info(name, ("length", 425.into()), 1));
    let framework = || {
        vec![
            link(special("xl", dict([("path", list(["SDL2"]))])), list(["Versions", "A", "SDL2"])),
            file(2514, &["Versions", "A", "CodeResources"]),
            file(0, &["Versions", "A", "SDL2"]),
            link(dict([("length", 0.into()), ("path", list(["Versions", "Current"]))]), list(["A"])),
        ]
    };
    let unordered = Bencode::Dict(vec![
        (b"name".to_vec(), "one.bin".into()),
        (b"length".to_vec(), 425.into()),
        (b"pieces".to_vec(), vec![b'p'; 20].into()),
        (b"piece length".to_vec(), PIECE.into()),
    ]);
    let urls = |urls: &[&str]| list(urls.iter().copied());
    let no_path = dict([("attr", "p".into()), ("length", 2124.into())]);
    let pad_link = special("pl", dict([("symlink path", list(["somewhere"]))]));
    let large_pieces = single(|info| {
        info.set("piece length", 1_i64 << 29).set("pieces", vec![b'p'; 20]);
    });
    vec![
        ("base", single(|_| ()), Valid),
        ("single_multi_file", path(&["foo", "bar"]), Valid),
        ("url_list", with("url-list", urls(&["http://w/a", "http://w/b"])), Valid),
        ("url_list3", with("url-list", "http://w/a"), Valid),
        ("duplicate_web_seeds", with("url-list", urls(&["http://w/a", "http://w/a"])), Valid),
        ("url_seed_multi_space", with("url-list", urls(&["http://w/test file/foo bar/"])), Valid),
        ("httpseed", with("httpseeds", urls(&["http://w/a"])), Valid),
        ("empty_httpseed", with("httpseeds", ""), Valid),
        ("whitespace_url", with("announce", "  udp://t/announce "), Valid),
        ("long_name", torrent(info("n".repeat(400).as_str(), ("length", 425.into()), 1)), Valid),
        ("pad_file", folder(vec![file(425, &["a"]), special("p", file(5, &[".pad", "5"]))], 1), Valid),
        ("pad_file_no_path", folder(vec![file(45, &["a"]), no_path], 1), Valid),
        ("pad_file_symlink", folder(vec![file(45, &["a"]), pad_link], 1), Valid),
        ("creation_date", with("creation date", 1_234_567), Valid),
        ("dht_nodes", with("nodes", list([Bencode::List(vec!["h".into(), 1.into()])])), Valid),
        ("similar", with("similar", list([vec![b's'; 20]])), Valid),
        ("collection", with("collections", urls(&["c"])), Valid),
        ("invalid_name3", named("foobar "), Valid),
        ("symlink2", folder(framework(), 1), Valid),
        (
            "symlink_zero_size",
            folder(vec![file(425, &["a"]), link(dict([("path", list(["b"]))]), list(["a"]))], 1),
            Valid,
        ),
        ("unordered", torrent(unordered), Valid),
        ("large_piece_size", large_pieces, Valid),
        ("v2, v2_hybrid", hybrid(single(|_| ()), dict([("one.bin", leaf(20_000))])), Valid),
        (
            "v2_multiple_files, hybrid",
            hybrid(
                folder(
                    vec![
                        file(100, &["a", "x"]),
                        special("p", file(PIECE - 100, &[".pad", "16284"])),
                        file(0, &["a", "y"]),
                        file(5, &["b"]),
                    ],
                    2,
                ),
                dict([("a", dict([("x", leaf(100)), ("y", leaf(0))])), ("b", leaf(5))]),
            ),
            Valid,
        ),
        // What is refused here: names that would have to be guessed at (promise 4), and what is not supported.
        ("empty_path", path(&["", ""]), Refused("empty name")),
        ("empty_path_multi", folder(vec![file(425, &["a"]), file(3, &[""])], 1), Refused("empty name")),
        ("parent_path", path(&["..", "..", "bar"]), Refused("outside")),
        ("hidden_parent_path", path(&["foo/../../../bar", "bar"]), Refused("outside")),
        ("slash_path", path(&["/", "bar"]), Refused("outside")),
        ("slash_path2", path(&["abc/../../def", "/", "bar"]), Refused("outside")),
        ("slash_path3", named("temp/../../abc"), Refused("outside")),
        ("backslash_path", path(&["\\", "\\", "bar"]), Refused("outside")),
        ("absolute_filename", folder(vec![file(425, &["a"]), file(5, &["/foobar"])], 1), Refused("outside")),
        ("invalid_filename", folder(vec![file(425, &["f"]), file(5, &["."])], 1), Refused("outside")),
        ("invalid_filename2", folder(vec![file(425, &["f"]), file(5, &["/", "."])], 1), Refused("outside")),
        ("invalid_name2", named(".."), Refused("outside")),
        ("invalid_name4", named("/"), Refused("outside")),
        ("duplicate_files", folder(vec![file(5, &["a", "b"]), file(4, &["a", "b"])], 1), Refused("twice")),
        // Counted as content by programs that know no links, and not by libtorrent.
        (
            "symlink1",
            folder(vec![file(425, &["a"]), link(file(425, &["b"]), list(["a"]))], 1),
            Refused("link with content"),
        ),
        ("v2_only", version_2(dict([("one.bin", leaf(1 << 20))])), Refused("version 2")),
    ]
}

fn transmission() -> Vec<Case> {
    let parts = |path: &[&str]| folder(vec![file(2, path), file(2, &["b.txt"])], 1);
    let pieces = |pieces: usize| {
        single(|info| {
            info.set("pieces", vec![b'p'; pieces]);
        })
    };
    let wrong = |value: Bencode| {
        single(|info| {
            info.set("pieces", value);
        })
    };
    let mut twice = single(|_| ());
    let Bencode::Dict(entries) = &mut twice else { unreachable!() };
    let Bencode::Dict(info) = &mut entries[1].1 else { unreachable!() };
    info.push((b"pieces".to_vec(), vec![b'p'; 40].into()));
    let not_utf8 = Bencode::List(vec![b"caf\xe9.txt".to_vec().into()]);
    vec![
        ("bucket: plain", parts(&["a.txt"]), Valid),
        ("bucket: all components empty", parts(&["", ""]), Invalid("empty name")),
        ("bucket: nothing", Bencode::Raw(Vec::new()), Invalid("not a torrent file")),
        ("missing-pieces-key", without("pieces"), Invalid("pieces")),
        ("bad-pieces-key", wrong(7.into()), Invalid("pieces")),
        ("empty-pieces-key", pieces(0), Invalid("pieces")),
        ("too-few-pieces", pieces(20), Invalid("pieces")),
        ("too-many-pieces", pieces(60), Invalid("pieces")),
        ("dup-pieces-key", twice, Invalid("twice")),
        ("invalid-pieces-length", pieces(39), Invalid("multiple of 20")),
        ("perfect-pieces", pieces(40), Valid),
        ("dup-files", folder(vec![file(7, &["a"]), file(8, &["b"]), file(9, &["a"])], 1), Invalid("twice")),
        ("webseed-getright-list", with("url-list", list(["http://w/", "http://x/"])), Valid),
        ("webseed-getright-string", with("url-list", "http://w/"), Valid),
        ("bad-utf8-path", folder(vec![dict([("length", 5.into()), ("path", not_utf8)])], 1), Valid),
        ("bucket: an empty component", parts(&["", "a.txt"]), Refused("empty name")),
        ("bucket: a separator", parts(&["a/a.txt"]), Refused("outside")),
        ("bucket: .", parts(&[".", "a.txt"]), Refused("outside")),
        ("bucket: . at the end", parts(&["a.txt", "."]), Refused("outside")),
        ("bucket: ..", parts(&["..", "a.txt"]), Refused("outside")),
        ("bucket: .. at the end", parts(&["a.txt", ".."]), Refused("outside")),
    ]
}

fn webtorrent() -> Vec<Case> {
    let bare = dict([("info", info("one.bin", ("length", 425.into()), 1))]);
    let again = list([list(["http://t/a"]), list(["http://t/a"])]);
    let numbers = vec![file(1, &["1.txt"]), file(2, &["big", "2.txt"]), file(3, &["big", "3.txt"])];
    let bunny = single(|info| {
        info.set("private", 1);
    });
    vec![
        ("corrupt", without("name"), Invalid("name")),
        ("leaves", single(|_| ()), Valid),
        ("leaves-metadata", bare, Valid),
        ("leaves-duplicate-tracker", with("announce-list", again), Valid),
        ("leaves-empty-announce-list", with("announce-list", Bencode::List(Vec::new())), Valid),
        ("leaves-empty-url-list", with("url-list", ""), Valid),
        ("leaves-url-list", with("url-list", "http://w/leaves.pdf"), Valid),
        ("numbers, lots-of-numbers", folder(numbers, 1), Valid),
        ("bunny", bunny, Valid),
        ("bittorrent-v2-hybrid-test", hybrid(single(|_| ()), dict([("one.bin", leaf(20_000))])), Valid),
        ("bittorrent-v2-test", version_2(dict([("one.bin", leaf(9))])), Refused("version 2")),
    ]
}

/// The hash of the `info` that stands in the torrent, without our parser.
fn info_hash(torrent: &Bencode) -> InfoHash {
    let Bencode::Dict(entries) = torrent else { panic!("{torrent:?}") };
    InfoHash::of(&entries.iter().find(|(key, _)| key == b"info").unwrap().1.encode())
}

#[test]
fn verdicts_of_other_suites() {
    let suites = [
        ("libtorrent", libtorrent_invalid()),
        ("libtorrent", libtorrent_valid()),
        ("transmission", transmission()),
        ("webtorrent", webtorrent()),
    ];
    let (mut invalid, mut valid, mut refused) = (0, 0, 0);
    for (suite, (what, torrent, here)) in
        suites.into_iter().flat_map(|(suite, cases)| cases.into_iter().map(move |case| (suite, case)))
    {
        let read = Metainfo::parse(&torrent.encode(), &MetainfoLimits::default());
        let reason = match here {
            Valid => {
                let metainfo = read.unwrap_or_else(|error| panic!("{suite}, {what}: {error}"));
                assert_eq!(metainfo.info_hash, info_hash(&torrent), "{suite}, {what}");
                valid += 1;
                continue;
            }
            Invalid(reason) => {
                invalid += 1;
                reason
            }
            Refused(reason) => {
                refused += 1;
                reason
            }
        };
        let error = read.expect_err(what).to_string();
        assert!(error.contains(reason), "{suite}, {what}: {error}");
        assert!(error.len() < 300 && !error.contains(char::is_control), "{suite}, {what}: {error}");
    }
    println!("{invalid} invalid, {valid} valid, {refused} valid there and refused here");
    assert_eq!((invalid, valid, refused), (44, 38, 23));
}
