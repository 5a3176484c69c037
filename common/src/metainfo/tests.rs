use proptest::prelude::*;

use super::MetainfoError as E;
use super::paths::PathError as P;
use super::*;
use crate::bencode::{BencodeError, write};
use crate::geometry::GeometryError;

fn limits() -> MetainfoLimits {
    MetainfoLimits::default()
}

fn parse(bytes: &[u8]) -> Result<Metainfo, E> {
    Metainfo::parse(bytes, &limits())
}

/// A torrent whose info dictionary has these keys and values, each already bencoded.
fn with_info(info: &str) -> Vec<u8> {
    format!("d4:infod{info}ee").into_bytes()
}

const PIECES: &str = "6:pieces20:aaaaaaaaaaaaaaaaaaaa";
const PIECE_LENGTH: &str = "12:piece lengthi16384e";

/// A folder torrent of these entries of `files`, in one piece.
fn with_files(files: &str) -> Vec<u8> {
    with_info(&format!("5:filesl{files}e4:name4:root{PIECE_LENGTH}{PIECES}"))
}

/// An entry of `files`.
fn file(len: i64, path: &[&str]) -> String {
    let path: String = path.iter().map(|part| format!("{}:{part}", part.len())).collect();
    format!("d6:lengthi{len}e4:pathl{path}ee")
}

/// A single-file torrent of this name.
fn named(name: &str) -> Vec<u8> {
    with_info(&format!("6:lengthi1e4:name{}:{name}{PIECE_LENGTH}{PIECES}", name.len()))
}

fn paths(metainfo: &Metainfo) -> Vec<&str> {
    metainfo.files.iter().map(|file| file.path.as_str()).collect()
}

#[test]
fn a_single_file() {
    let torrent = format!(
        "d8:announce10:http://a/x7:comment2:hi10:created by1:p13:creation datei5e\
         4:infod6:lengthi20000e4:name5:a.bin{PIECE_LENGTH}6:pieces40:{}{}7:privatei1eee",
        "a".repeat(20),
        "b".repeat(20)
    );
    let metainfo = parse(torrent.as_bytes()).unwrap();
    assert_eq!(
        (metainfo.name.as_str(), metainfo.root.as_str(), metainfo.single_file),
        ("a.bin", "a.bin", true)
    );
    let only = File { path: metainfo.root.clone(), given: None, len: 20_000, offset: 0, padding: false };
    assert_eq!(metainfo.files, [only]);
    assert_eq!((metainfo.total_len(), metainfo.geometry.piece_count()), (20_000, 2));
    let pieces: Vec<_> = metainfo.geometry.pieces().map(|piece| metainfo.piece_hash(piece)).collect();
    assert_eq!(pieces, [&[b'a'; 20], &[b'b'; 20]]);
    assert!(metainfo.private && metainfo.sorted);
    assert_eq!(metainfo.trackers, [["http://a/x"]]);
    assert_eq!((metainfo.comment.as_deref(), metainfo.created_by.as_deref()), (Some("hi"), Some("p")));
    assert_eq!(metainfo.creation_date_s, Some(5));
}

#[test]
fn the_info_hash_is_that_of_the_original_bytes() {
    // Unknown keys, and keys out of order: what a re-encoding would lose or mend.
    let info = format!("d4:name1:x6:lengthi1e{PIECE_LENGTH}{PIECES}7:unknownld1:z0:eee");
    let metainfo = parse(format!("d5:outer1:x4:info{info}e").as_bytes()).unwrap();
    assert_eq!(metainfo.info_hash, InfoHash::of(info.as_bytes()));
    assert!(!metainfo.sorted);
}

#[test]
fn a_folder_with_empty_files_padding_and_links() {
    let metainfo = parse(&with_files(
        &[
            file(5, &["a", "b"]),
            file(0, &["empty"]),
            "d4:attr1:p6:lengthi11e4:pathl4:.pad2:11ee".into(),
            file(7, &["c"]),
            // Padding of the same name, padding without a path, and padding that would lead outside.
            "d4:attr1:p6:lengthi11e4:pathl4:.pad2:11ee".into(),
            "d4:attr2:xp6:lengthi1ee".into(),
            "d4:attr1:p6:lengthi2e4:pathl2:..ee".into(),
            "d4:attr1:l4:pathl4:linke12:symlink pathl2:..2:..3:etcee".into(),
            "d4:attr2:hx6:lengthi1e4:pathl1:xee".into(),
        ]
        .concat(),
    ))
    .unwrap();
    let files: Vec<_> =
        metainfo.files.iter().map(|file| (file.path.as_str(), file.offset, file.len, file.padding)).collect();
    assert_eq!(
        files,
        [
            ("root/a/b", 0, 5, false),
            ("root/empty", 5, 0, false),
            ("root/.pad/11", 5, 11, true),
            ("root/c", 16, 7, false),
            ("root/.pad/11", 23, 11, true),
            ("root/.pad/1", 34, 1, true),
            ("root/.pad/2", 35, 2, true),
            ("root/x", 37, 1, false),
        ]
    );
    assert_eq!(metainfo.payload_files().count(), 4);
    assert_eq!(metainfo.total_len(), 38);
}

#[test]
fn utf8_variants_of_names_are_preferred() {
    let torrent = with_info(&format!(
        "5:filesld6:lengthi1e4:pathl1:ae10:path.utf-8l2:é1:beee4:name1:n10:name.utf-82:ñ{PIECE_LENGTH}{PIECES}"
    ));
    let metainfo = parse(&torrent).unwrap();
    assert_eq!((metainfo.name.as_str(), paths(&metainfo)), ("ñ", vec!["ñ/é/b"]));
    // Ones that are of no use are not.
    let torrent = with_info(&format!(
        "5:filesld6:lengthi1e4:pathl1:ae10:path.utf-81:bee4:name1:n10:name.utf-8i5e{PIECE_LENGTH}{PIECES}"
    ));
    assert_eq!(paths(&parse(&torrent).unwrap()), ["n/a"]);
}

#[test]
fn awkward_names_are_made_safe_and_kept_as_given() {
    let metainfo = parse(&with_files(&[file(1, &["12:30", "x?"]), file(1, &["NUL"])].concat())).unwrap();
    assert_eq!(paths(&metainfo), ["root/12_30/x_", "root/_NUL"]);
    let given: Vec<_> = metainfo.files.iter().map(|file| file.given.as_ref().unwrap().as_str()).collect();
    assert_eq!(given, ["root/12:30/x?", "root/NUL"]);
    let metainfo = parse(&named("a:b")).unwrap();
    assert_eq!((metainfo.name.as_str(), metainfo.root.as_str()), ("a:b", "a_b"));
    assert_eq!(metainfo.files[0].given.as_ref().unwrap().as_str(), "a:b");
}

#[test]
fn cases_are_told_apart_and_prefixes_are_no_folders() {
    let files =
        [file(1, &["a"]), file(1, &["A"]), file(1, &["a-b"]), file(1, &["a.", "x"]), file(1, &["ab"])]
            .concat();
    assert_eq!(parse(&with_files(&files)).unwrap().files.len(), 5);
}

#[test]
fn what_is_outside_info_is_worth_no_refusal() {
    let junk = "8:announcei5e13:announce-list1:x7:commentle10:created byi5e13:creation date1:x";
    let torrent = format!(
        "d{junk}4:infod6:lengthi1e4:name1:x{PIECE_LENGTH}{PIECES}7:private1:1e5:nodesi1e8:url-listd1:ai1eee"
    );
    let metainfo = parse(torrent.as_bytes()).unwrap();
    assert!(metainfo.trackers.is_empty() && metainfo.url_list.is_empty() && metainfo.nodes.is_empty());
    assert!(
        metainfo.comment.is_none() && metainfo.created_by.is_none() && metainfo.creation_date_s.is_none()
    );
    assert!(!metainfo.private);
}

#[test]
fn private_is_a_number_that_is_not_zero() {
    for (value, expected) in
        [("i1e", true), ("i2e", true), ("i-1e", true), ("i0e", false), ("0:", false), ("le", false)]
    {
        let torrent = with_info(&format!("6:lengthi1e4:name1:x{PIECE_LENGTH}{PIECES}7:private{value}"));
        assert_eq!(parse(&torrent).unwrap().private, expected, "{value}");
    }
}

#[test]
fn a_hybrid_torrent_is_read_as_version_1() {
    let torrent = with_info(&format!(
        "9:file treed1:xd0:d6:lengthi1eeee6:lengthi1e12:meta versioni2e4:name1:x{PIECE_LENGTH}{PIECES}"
    ));
    assert_eq!(parse(&torrent).unwrap().total_len(), 1);
}

#[test]
fn long_texts_are_cut_between_characters() {
    let long = "é".repeat(20_000);
    let torrent = format!(
        "d7:comment{}:{long}4:infod6:lengthi1e4:name{}:x{long}{PIECE_LENGTH}{PIECES}ee",
        long.len(),
        long.len() + 1
    );
    let metainfo = parse(torrent.as_bytes()).unwrap();
    assert_eq!(metainfo.comment.unwrap(), "é".repeat(8192));
    assert_eq!(metainfo.name, format!("x{}", "é".repeat(511)));
    assert!(metainfo.root.as_str().len() <= 255);
}

#[test]
fn hostile_torrents_are_refused_each_for_its_own_reason() {
    let info = |keys: &str| with_info(keys);
    let usual = format!("{PIECE_LENGTH}{PIECES}");
    let one = |path: &[&str]| with_files(&file(1, path));
    let two = |a: &[&str], b: &[&str]| with_files(&[file(1, a), file(1, b)].concat());
    let shown = |text: &str| text.to_owned();
    let path = |text: &str| {
        paths::SafePath::new(b"root").unwrap().join(text.split('/').map(str::as_bytes)).unwrap().path
    };
    let huge = i64::MAX;
    let deep = ["d4:info".repeat(100_000)].concat().into_bytes();

    let cases: Vec<(&str, Vec<u8>, E)> = vec![
        ("nothing", vec![], BencodeError::Truncated(0).into()),
        ("a web page", b"<html>".to_vec(), BencodeError::UnexpectedByte(0).into()),
        ("cut off", named("x")[..40].to_vec(), BencodeError::Truncated(28).into()),
        ("something after it", [named("x"), b"x".to_vec()].concat(), BencodeError::TrailingBytes(83).into()),
        ("a bomb of lists", b"l".repeat(400_000), BencodeError::TooDeep(32).into()),
        ("a bomb of dictionaries", deep, BencodeError::TooDeep(32 * 7).into()),
        ("two infos", b"d4:infode4:infodee".to_vec(), BencodeError::DuplicateKey(9).into()),
        (
            "a number with zeros",
            info(&format!("6:lengthi01e4:name1:x{usual}")),
            BencodeError::LeadingZero(16).into(),
        ),
        (
            "a number too large",
            info(&format!("6:lengthi18446744073709551616e4:name1:x{usual}")),
            BencodeError::IntegerOverflow(16).into(),
        ),
        ("a list", b"le".to_vec(), E::NotDictionary),
        ("no info", b"d8:announce3:urle".to_vec(), E::Missing("info")),
        ("info is no dictionary", b"d4:info0:e".to_vec(), E::WrongType("info")),
        ("no name", info(&format!("6:lengthi1e{usual}")), E::Missing("name")),
        ("name is a number", info(&format!("6:lengthi1e4:namei1e{usual}")), E::WrongType("name")),
        ("an empty name", named(""), P::Empty.into()),
        ("a name that leads up", named(".."), P::Dots("..").into()),
        ("a name that leads nowhere", named("."), P::Dots(".").into()),
        ("an absolute name", named("/etc/passwd"), P::Separator(shown("/etc/passwd")).into()),
        ("a Windows share", named("\\\\host\\share"), P::Separator(shown("\\\\host\\share")).into()),
        ("a drive", named("C:"), P::Drive(shown("C:")).into()),
        ("a zero byte", named("a\0.txt"), P::Nul(shown("a\0.txt")).into()),
        ("an empty component", one(&["a", "", "b"]), P::Empty.into()),
        ("an escape", one(&["..", "..", "etc", "passwd"]), P::Dots("..").into()),
        ("an escape in one", one(&["../../etc/passwd"]), P::Separator(shown("../../etc/passwd")).into()),
        ("an escape for Windows", one(&["..\\x"]), P::Separator(shown("..\\x")).into()),
        ("a path of no components", one(&[]), P::NoComponents.into()),
        (
            "a path too long",
            one(&["a"; 1600]),
            P::PathTooLong(["root"].into_iter().chain(["a"; 48]).collect::<Vec<_>>().join("/")).into(),
        ),
        ("path is a string", with_files("d6:lengthi1e4:path1:ae"), E::WrongType("path")),
        ("a component is a number", with_files("d6:lengthi1e4:pathli1eee"), E::WrongType("path")),
        ("no path", with_files("d6:lengthi1ee"), E::Missing("path")),
        ("the same file twice", two(&["a", "b"], &["a", "b"]), E::DuplicateFile(path("a/b"))),
        ("the same after making safe", two(&["a?"], &["a*"]), E::DuplicateFile(path("a_"))),
        (
            "a file that is a folder",
            with_files(&[file(1, &["a", "b", "c"]), file(1, &["a", "b-"]), file(1, &["a", "b"])].concat()),
            E::FileIsFolder { file: path("a/b"), below: path("a/b/c") },
        ),
        (
            "a link with content",
            with_files("d4:attr1:l6:lengthi5e4:pathl1:aee"),
            E::LinkWithContent(path("a")),
        ),
        ("no files", with_files(""), E::NoFiles),
        ("only padding", with_files("d4:attr1:p6:lengthi5e4:pathl1:aee"), E::NoFiles),
        ("files is a number", info(&format!("5:filesi1e4:name1:x{usual}")), E::WrongType("files")),
        ("a file is a number", with_files("i1e"), E::WrongType("files")),
        ("a negative length", with_files(&file(-1, &["a"])), E::Negative("length")),
        ("a file without length", with_files("d4:pathl1:aee"), E::Missing("length")),
        ("a length in words", info(&format!("6:length3:one4:name1:x{usual}")), E::WrongType("length")),
        (
            "lengths that overflow",
            with_files(&[file(huge, &["a"]), file(huge, &["b"]), file(huge, &["c"])].concat()),
            E::TotalOverflow,
        ),
        ("more pieces than can be named", with_files(&file(huge, &["a"])), {
            GeometryError::TooManyPieces(1 << 49).into()
        }),
        ("no bytes", with_files(&file(0, &["a"])), GeometryError::Empty.into()),
        ("length and files", info(&format!("5:filesle6:lengthi1e4:name1:x{usual}")), E::LengthAndFiles),
        ("neither", info(&format!("4:name1:x{usual}")), E::Missing("length")),
        ("version 2", info("9:file treede12:meta versioni2e4:name1:x12:piece lengthi16384e"), E::VersionTwo),
        (
            "version 2 in disguise",
            info("6:lengthi1e12:meta versioni2e4:name1:x12:piece lengthi16384e"),
            E::VersionTwo,
        ),
        ("no piece length", info(&format!("6:lengthi1e4:name1:x{PIECES}")), E::Missing("piece length")),
        (
            "a piece length in words",
            info(&format!("6:lengthi1e4:name1:x12:piece length1:x{PIECES}")),
            E::WrongType("piece length"),
        ),
        (
            "a negative piece length",
            info(&format!("6:lengthi1e4:name1:x12:piece lengthi-1e{PIECES}")),
            E::Negative("piece length"),
        ),
        (
            "piece length 0",
            info(&format!("6:lengthi1e4:name1:x12:piece lengthi0e{PIECES}")),
            GeometryError::PieceLength(0).into(),
        ),
        (
            "a huge piece length",
            info(&format!("6:lengthi1e4:name1:x12:piece lengthi{}e{PIECES}", 1_u64 << 40)),
            GeometryError::PieceLength(1 << 40).into(),
        ),
        ("no pieces", info(&format!("6:lengthi1e4:name1:x{PIECE_LENGTH}")), E::Missing("pieces")),
        (
            "pieces is a list",
            info(&format!("6:lengthi1e4:name1:x{PIECE_LENGTH}6:piecesle")),
            E::WrongType("pieces"),
        ),
        ("half a hash", info(&format!("6:lengthi1e4:name1:x{PIECE_LENGTH}6:pieces1:x")), E::PiecesLength(1)),
        (
            "hashes for no piece",
            info(&format!("6:lengthi1e4:name1:x{PIECE_LENGTH}6:pieces0:")),
            E::PieceCount { expected: 1, found: 0 },
        ),
        (
            "hashes for more pieces",
            info(&format!("6:lengthi1e4:name1:x{PIECE_LENGTH}6:pieces40:{}", "a".repeat(40))),
            E::PieceCount { expected: 1, found: 2 },
        ),
    ];
    assert!(cases.len() >= 30);
    for (what, torrent, expected) in cases {
        let error = parse(&torrent).expect_err(what);
        assert_eq!(error, expected, "{what}");
        let text = error.to_string();
        assert!(text.len() < 300 && !text.contains(char::is_control), "{what}: {text}");
    }
}

#[test]
fn limits_are_kept() {
    let torrent = with_files(&[file(1, &["a"]), file(1, &["b"]), file(1, &["c"])].concat());
    let with = |limits: MetainfoLimits| Metainfo::parse(&torrent, &limits);
    assert!(with(MetainfoLimits { max_files: 3, ..limits() }).is_ok());
    assert_eq!(with(MetainfoLimits { max_files: 2, ..limits() }).unwrap_err(), E::TooManyFiles(2));
    assert!(with(MetainfoLimits::new(torrent.len(), 16_384)).is_ok());
    let too_long = BencodeError::TooLong(torrent.len() - 1);
    assert_eq!(with(MetainfoLimits::new(torrent.len() - 1, 16_384)).unwrap_err(), too_long.into());
    assert_eq!(with(MetainfoLimits::new(1 << 20, 0)).unwrap_err(), GeometryError::BlockLength(0).into());
    assert_eq!(with(MetainfoLimits::new(1 << 20, 4096)).unwrap().geometry.nominal_block_len(), 4096);
}

/// A torrent of many files, bencoded.
fn many_files(count: usize, folders: usize) -> Vec<u8> {
    let mut out = Vec::new();
    write::dictionary(&mut out, |torrent| {
        torrent.dictionary(b"info", |info| {
            info.list(b"files", |files| {
                for i in 0..count {
                    write::dictionary(files, |file| {
                        file.integer(b"length", 1);
                        file.list(b"path", |path| {
                            // Out of order, so that there is something to sort.
                            write::bytes(path, format!("{:05}", i * 7919 % folders).as_bytes());
                            write::bytes(path, format!("{i:06}.txt").as_bytes());
                        });
                    });
                }
            });
            info.bytes(b"name", b"root");
            info.integer(b"piece length", 1 << 20);
            info.bytes(b"pieces", &vec![0; count.div_ceil(1 << 20) * 20]);
        });
    });
    out
}

#[test]
fn half_a_million_files() {
    let torrent = many_files(500_000, 1_000);
    let metainfo = parse(&torrent).unwrap();
    assert_eq!(metainfo.files.len(), 500_000);
    // What a parsed file takes in memory, besides the bytes of its path.
    assert!(size_of::<File>() <= 56, "{}", size_of::<File>());
}

#[test]
fn paths_are_bounded_together() {
    // A long name of the folder, repeated in every path.
    let name = "n".repeat(255);
    let mut torrent = String::from("d4:infod5:filesl");
    for i in 0..500_000 {
        torrent.push_str(&format!("d6:lengthi1e4:pathl6:{i:06}ee"));
    }
    torrent.push_str(&format!("e4:name255:{name}12:piece lengthi1048576e{PIECES}ee"));
    assert!(parse(torrent.as_bytes()).is_ok());
    let doubled = torrent.replace("4:name255:n", "4:name255::");
    assert_eq!(parse(doubled.as_bytes()).unwrap_err(), E::PathsTooLong);
}

/// A torrent with something of everything.
fn rich() -> Vec<u8> {
    format!(
        "d8:announce10:http://a/x13:announce-listll10:http://a/xel9:udp://b:1ee7:comment2:hi\
         4:infod5:filesld6:lengthi5e4:pathl1:a1:beed4:attr1:p6:lengthi11e4:pathl4:.pad2:11eed6:lengthi0e4:pathl1:c\
         e10:path.utf-8l2:éeee4:name4:root{PIECE_LENGTH}{PIECES}7:privatei1ee5:nodesll1:hi1eee8:url-listl9:http://h/ee"
    )
    .into_bytes()
}

/// What must hold for whatever was accepted.
fn check(metainfo: &Metainfo) {
    let mut at = 0;
    for file in &metainfo.files {
        assert_eq!(file.offset, at);
        at += file.len;
        assert!(metainfo.single_file || file.path.components().count() > 1);
        assert_eq!(file.path.components().next(), Some(metainfo.root.as_str()));
    }
    assert_eq!(at, metainfo.total_len());
    assert_eq!(metainfo.piece_hashes.len(), metainfo.geometry.piece_count() as usize * 20);
    assert!(metainfo.payload_files().count() > 0);
    assert!(metainfo.trackers.iter().all(|tier| !tier.is_empty()));
    assert!(magnet::magnet_link(metainfo).is_ascii());
}

#[test]
fn the_rich_torrent_is_valid() {
    let metainfo = parse(&rich()).unwrap();
    check(&metainfo);
    assert!(metainfo.sorted && metainfo.private);
    assert_eq!((metainfo.files.len(), metainfo.trackers.len(), metainfo.nodes.len()), (3, 2, 1));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn mutations_are_refused_or_valid(
        edits in prop::collection::vec((any::<prop::sample::Index>(), prop_oneof![
            any::<u8>(), prop::sample::select(&b"ilde0123456789:-./\\\0"[..])
        ], 0..3_u8), 1..4),
    ) {
        let mut torrent = rich();
        for (at, byte, kind) in edits {
            let at = at.index(torrent.len());
            match kind {
                0 => torrent[at] = byte,
                1 => torrent.insert(at, byte),
                _ => { torrent.remove(at); }
            }
        }
        if let Ok(metainfo) = parse(&torrent) {
            check(&metainfo);
        }
    }

    #[test]
    fn files_of_any_names_and_lengths(
        files in prop::collection::vec((prop::collection::vec("[ab.:/]{0,3}", 0..4), -1_i64..30_000), 0..6),
        piece_len in 0_i64..20_000, pieces in 0_usize..8,
    ) {
        let list: String = files.iter().map(|(path, len)| {
            file(*len, &path.iter().map(String::as_str).collect::<Vec<_>>())
        }).collect();
        let torrent = with_info(&format!(
            "5:filesl{list}e4:name4:root12:piece lengthi{piece_len}e6:pieces{}:{}", pieces * 20, "x".repeat(pieces * 20)
        ));
        if let Ok(metainfo) = parse(&torrent) {
            check(&metainfo);
        }
    }

    #[test]
    fn noise_is_refused(noise in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(parse(&noise).is_err());
    }
}
