//! What is found, and in which order.

use super::*;

/// A torrent of these files, each of so many bytes.
fn folder(name: &str, files: &[(&str, i64)]) -> Vec<u8> {
    let mut out = Vec::new();
    let total: i64 = files.iter().map(|(_, len)| len).sum();
    write::dictionary(&mut out, |torrent| {
        torrent.dictionary(b"info", |info| {
            info.list(b"files", |list| {
                for (path, len) in files {
                    write::dictionary(list, |file| {
                        file.integer(b"length", *len);
                        file.list(b"path", |parts| {
                            path.split('/').for_each(|part| write::bytes(parts, part.as_bytes()))
                        });
                    });
                }
            });
            info.bytes(b"name", name.as_bytes());
            info.integer(b"piece length", 1 << 20);
            info.bytes(b"pieces", &vec![7; 20 * usize::try_from(total).unwrap().div_ceil(1 << 20)]);
        });
    });
    out
}

fn put(catalogue: &Catalogue, bytes: &[u8], name: &str, description: &str) -> InfoHash {
    let metainfo = parsed(bytes);
    let publication =
        Publication { bytes, metainfo: &metainfo, name, description, created_s: 7, completed: 0 };
    assert_eq!(catalogue.publish(&publication, Renaming::default()).unwrap(), Published::New);
    metainfo.info_hash
}

fn found(catalogue: &Catalogue, text: &str) -> Vec<String> {
    sorted(catalogue, text, Sort::Newest, 0, 100)
}

fn sorted(catalogue: &Catalogue, text: &str, sort: Sort, offset: u64, limit: u32) -> Vec<String> {
    let page = catalogue.search(&Search { text: text.into(), sort, offset, limit }).unwrap();
    assert!(page.rows.len() as u64 <= page.total);
    page.rows.into_iter().map(|row| row.name).collect()
}

#[test]
fn names_descriptions_and_file_names_are_searched() {
    let fixture = Fixture::new();
    let catalogue = fixture.open();
    let files = [("disk-1/Ubuntu-24.04_amd64.ISO", 5), ("disk-1/日本語の本.txt", 5), ("LIESMICH.txt", 5)];
    put(&catalogue, &folder("a", &files), "Größe & Café", "Über alles: don't_panic");
    put(&catalogue, &torrent("b", false), "ubuntu mirror", "");
    let both = ["ubuntu mirror", "Größe & Café"];
    assert_eq!(found(&catalogue, "ubuntu"), both);
    assert_eq!(found(&catalogue, "UBUN"), both, "beginnings of words");
    for text in [
        "24.04",
        "amd64 iso",
        "ISO ubuntu-24",
        "disk",
        "grosse",
        "CAFE",
        "café uber",
        "don't",
        "panic don",
        "日本",
        "語の",
        "本",
        "liesmich",
        "größe",
    ] {
        let expected: &[&str] = if text == "grosse" { &[] } else { &both[1..] };
        assert_eq!(found(&catalogue, text), expected, "{text}");
    }
    for text in ["04.24", "buntu", "u", "ubuntu mirror 24", "本日", "\"", "--"] {
        assert_eq!(found(&catalogue, text), [""; 0], "{text}");
    }
}

#[test]
fn every_order_is_kept_with_and_without_words() {
    let fixture = Fixture::new();
    let catalogue = fixture.open();
    let mut hashes = Vec::new();
    for (name, len) in [("delta x", 3), ("Alpha x", 9), ("charlie x", 9), ("bravo x", 1), ("echo", 5)] {
        hashes.push((put(&catalogue, &folder(name, &[("f", len)]), name, ""), name));
    }
    let seeders = |info_hash: &InfoHash| match hashes.iter().find(|(hash, _)| hash == info_hash).unwrap().1 {
        "charlie x" => 2,
        "echo" => 7,
        "delta x" => 5,
        _ => 0,
    };
    catalogue.rank(seeders).unwrap();
    for (sort, expected) in [
        (Sort::Newest, ["echo", "bravo x", "charlie x", "Alpha x", "delta x"]),
        (Sort::Oldest, ["delta x", "Alpha x", "charlie x", "bravo x", "echo"]),
        (Sort::Seeders, ["echo", "delta x", "charlie x", "bravo x", "Alpha x"]),
        (Sort::Size, ["charlie x", "Alpha x", "echo", "delta x", "bravo x"]),
        (Sort::Name, ["Alpha x", "bravo x", "charlie x", "delta x", "echo"]),
    ] {
        let with_x: Vec<_> = expected.into_iter().filter(|name| name.ends_with('x')).collect();
        assert_eq!(sorted(&catalogue, "", sort, 0, 100), expected, "{sort}");
        assert_eq!(sorted(&catalogue, "x", sort, 0, 100), with_x, "{sort}");
        // The same in pages, whatever their length.
        for limit in 1..4 {
            for (text, whole) in [("", &expected[..]), ("x", &with_x)] {
                let pages = (0..).step_by(limit as usize).map(|at| sorted(&catalogue, text, sort, at, limit));
                let pages: Vec<_> = pages.take_while(|page| !page.is_empty()).flatten().collect();
                assert_eq!(pages, whole, "{sort} {limit}");
            }
        }
        assert_eq!(sorted(&catalogue, "x", sort, u64::MAX, 9), [""; 0]);
        assert_eq!(sorted(&catalogue, "", sort, u64::MAX, 9), [""; 0]);
    }
    // A ranking that was just made stands: nobody is asked again.
    catalogue.rank(|_| panic!("asked again")).unwrap();
    // Who is gone since is not shown.
    catalogue.remove(hashes[4].0).unwrap();
    assert_eq!(sorted(&catalogue, "", Sort::Seeders, 0, 2), ["delta x"]);
}

#[test]
fn what_is_removed_or_renamed_is_found_no_more() {
    let fixture = Fixture::new();
    let catalogue = fixture.open();
    let bytes = folder("a", &[("inside.txt", 1)]);
    let hash = put(&catalogue, &bytes, "first", "words");
    let metainfo = parsed(&bytes);
    let publication = Publication {
        bytes: &bytes,
        metainfo: &metainfo,
        name: "own",
        description: "",
        created_s: 7,
        completed: 0,
    };
    let rename = |name, description| catalogue.publish(&publication, Renaming { name, description }).unwrap();
    assert_eq!(rename(None, None), Published::Known);
    assert_eq!(rename(Some("second"), None), Published::Renamed);
    let (_running, stop) = crossbeam_channel::bounded(0);
    catalogue.put_right(&stop);
    assert_eq!(found(&catalogue, "first"), [""; 0]);
    for text in ["second", "words", "inside", "second words inside"] {
        assert_eq!(found(&catalogue, text), ["second"], "{text}");
    }
    assert_eq!(rename(None, Some("said better")), Published::Renamed);
    // Renamed again, and removed, before its words were entered.
    assert_eq!(rename(Some("third"), None), Published::Renamed);
    let row = catalogue.entry(hash).unwrap().unwrap();
    assert_eq!((row.name.as_str(), row.description.as_str()), ("third", "said better"));
    assert!(catalogue.remove(hash).unwrap());
    catalogue.put_right(&stop);
    assert_eq!(found(&catalogue, "third"), [""; 0]);
    assert_eq!((catalogue.count(), found(&catalogue, "").len()), (0, 0));
    put(&catalogue, &bytes, "fourth", "");
    assert!(catalogue.remove(hash).unwrap());
    assert_eq!(found(&catalogue, "fourth"), [""; 0]);
}

#[test]
fn a_catalogue_of_the_first_version_is_searched_in_full() {
    let fixture = Fixture::new();
    let bytes = folder("a", &[("deep/Inside-File.txt", 1)]);
    let hash = parsed(&bytes).info_hash;
    fs::create_dir_all(fixture.torrents()).unwrap();
    fs::create_dir_all(fixture.database().parent().unwrap()).unwrap();
    fs::write(fixture.torrents().join(format!("{hash}.torrent")), &bytes).unwrap();
    let older = Connection::open(fixture.database()).unwrap();
    older.execute_batch(schema::STEPS[0]).unwrap();
    older.pragma_update(None, "user_version", 1).unwrap();
    let insert =
        "INSERT INTO torrents (info_hash, name, description, folded, size, files, piece_length, created,
                                        torrent_size, completed)
                  VALUES (?, ?, ?, ?, 1, 1, 16384, 5, 100, 3)";
    for n in 0..100_u8 {
        let hash = if n == 50 { hash } else { InfoHash::new([n; 20]) };
        let (name, description) = (format!("Torrent {n}"), if n % 2 == 0 { "Even" } else { "Odd" });
        let folded = format!("{}\n{}", name.to_lowercase(), description.to_lowercase());
        older.execute(insert, (hash.as_bytes(), name, description, folded)).unwrap();
    }
    drop(older);
    let catalogue = fixture.open();
    assert_eq!(catalogue.count(), 100);
    assert_eq!(found(&catalogue, "odd").len(), 50, "files that are gone keep no words from being found");
    assert_eq!(found(&catalogue, "inside-file deep even"), ["Torrent 50"]);
    assert_eq!(sorted(&catalogue, "", Sort::Name, 0, 3), ["Torrent 0", "Torrent 1", "Torrent 10"]);
    let row = catalogue.entry(hash).unwrap().unwrap();
    assert_eq!((row.completed, row.created_s), (3, 5));
    assert_eq!(catalogue.health.degraded(), [""; 0]);
}

#[test]
fn the_best_match_is_the_one_that_says_it_in_its_name() {
    let fixture = Fixture::new();
    let catalogue = fixture.open();
    put(&catalogue, &torrent("a", false), "debian", "");
    put(&catalogue, &torrent("b", false), "a mirror of very many things", "debian and ubuntu among others");
    put(&catalogue, &folder("c", &[("debian.iso", 5), ("ubuntu.iso", 5), ("fedora.iso", 5)]), "all", "");
    put(&catalogue, &torrent("d", false), "debian", "");
    put(&catalogue, &torrent("e", false), "ubuntu", "");
    let names = |offset, limit| sorted(&catalogue, "debian", Sort::Relevance, offset, limit);
    let expected = ["debian", "debian", "a mirror of very many things", "all"];
    assert_eq!(names(0, 9)[..2], expected[..2]);
    let mut others = names(2, 9);
    others.sort_unstable();
    assert_eq!(others, expected[2..], "the rest, and nothing else");
    // Pages fit together, and without words there is nothing to compare.
    assert_eq!([names(0, 3), names(3, 3)].concat(), names(0, 9));
    assert_eq!(sorted(&catalogue, "", Sort::Relevance, 0, 9), sorted(&catalogue, "", Sort::Newest, 0, 9));
    assert_eq!(
        catalogue
            .search(&Search { text: "debian".into(), sort: Sort::Relevance, offset: 0, limit: 1 })
            .unwrap()
            .total,
        4
    );
}
