use std::collections::BTreeMap;

use proptest::prelude::*;

use super::BencodeError as E;
use super::*;

fn limits() -> Limits {
    Limits::for_len(1 << 26)
}

fn scanned(input: &[u8]) -> Result<Document<'_>, E> {
    scan(input, &limits())
}

#[test]
fn each_fault_has_its_name_and_offset() {
    let cases: &[(&[u8], E)] = &[
        (b"", E::Truncated(0)),
        (b"i", E::Truncated(0)),
        (b"i12", E::Truncated(0)),
        (b"i-", E::Truncated(0)),
        (b"5:abcd", E::Truncated(0)),
        (b"5", E::Truncated(0)),
        (b"l", E::Truncated(0)),
        (b"li1e", E::Truncated(0)),
        (b"d1:ali1e", E::Truncated(4)),
        (b"d1:a", E::Truncated(0)),
        (b"99999999999999999999999999:a", E::Truncated(0)),
        (b"i1ei2e", E::TrailingBytes(3)),
        (b"d1:ai1ee\n", E::TrailingBytes(8)),
        (b"i07e", E::LeadingZero(0)),
        (b"i00e", E::LeadingZero(0)),
        (b"i-01e", E::LeadingZero(0)),
        (b"l01:ae", E::LeadingZero(1)),
        (b"00:", E::LeadingZero(0)),
        (b"i-0e", E::NegativeZero(0)),
        (b"l-1:ae", E::NegativeLength(1)),
        (b"d-1:ai1ee", E::NegativeLength(1)),
        (b"ie", E::BadInteger(0)),
        (b"i-e", E::BadInteger(0)),
        (b"i+1e", E::BadInteger(0)),
        (b"i 1e", E::BadInteger(0)),
        (b"i1.5e", E::BadInteger(0)),
        (b"i--1e", E::BadInteger(0)),
        (b"li0x10ee", E::BadInteger(1)),
        (b"3abc", E::BadInteger(0)),
        (b"3 :abc", E::BadInteger(0)),
        (b"i9223372036854775808e", E::IntegerOverflow(0)),
        (b"i-9223372036854775809e", E::IntegerOverflow(0)),
        (b"i11111111111111111111111111111111111111e", E::IntegerOverflow(0)),
        (b"d1:ai1e1:ai2ee", E::DuplicateKey(7)),
        (b"d1:ai1e1:bi1e1:ai2ee", E::DuplicateKey(13)),
        (b"d1:bi1e1:ai1e1:bi2ee", E::DuplicateKey(13)),
        (b"di1ei2ee", E::KeyNotString(1)),
        (b"dleleee", E::KeyNotString(1)),
        (b"d1:ae", E::MissingValue(4)),
        (b"x", E::UnexpectedByte(0)),
        (b"e", E::UnexpectedByte(0)),
        (b"l:e", E::UnexpectedByte(1)),
        (b"I1e", E::UnexpectedByte(0)),
    ];
    for &(input, expected) in cases {
        let text = input.escape_ascii().to_string();
        assert_eq!(scanned(input).map(|_| ()), Err(expected), "{text}");
        assert!(!expected.to_string().is_empty());
    }
}

#[test]
fn limits_hold_to_the_byte() {
    let tight = Limits { max_len: 10, max_depth: 2, max_values: 4 };
    assert!(scan(b"8:abcdefgh", &tight).is_ok());
    assert_eq!(scan(b"9:abcdefghi", &tight).map(|_| ()), Err(E::TooLong(10)));
    assert!(scan(b"llei1ee", &tight).is_ok());
    assert_eq!(scan(b"lllei1eee", &tight).map(|_| ()), Err(E::TooDeep(2)));
    assert!(scan(b"l0:0:0:e", &tight).is_ok());
    assert_eq!(scan(b"l0:0:0:0:e", &tight).map(|_| ()), Err(E::TooManyValues(7)));
    // A key is a value, too.
    assert!(scan(b"ld0:0:ee", &tight).is_ok());
    assert_eq!(scan(b"d0:0:1:a0:e", &Limits { max_len: 99, ..tight }).map(|_| ()), Err(E::TooManyValues(8)));
}

#[test]
fn depth_bombs_are_refused_at_the_limit() {
    for opening in [&b"l"[..], b"d1:a"] {
        let bomb = opening.repeat(400_000);
        assert_eq!(scanned(&bomb).map(|_| ()), Err(E::TooDeep(opening.len() * Limits::DEFAULT_DEPTH)));
    }
    // Without a depth limit nothing recurses either: neither the scan nor reading.
    let bomb = [b"l".repeat(400_000), b"e".repeat(400_000)].concat();
    let document = scan(&bomb, &Limits { max_depth: usize::MAX, ..limits() }).unwrap();
    assert_eq!(document.root.as_list().unwrap().count(), 1);
}

#[test]
fn unsorted_keys_are_reported_not_refused() {
    assert!(scanned(b"d1:ai1e1:bi2ee").unwrap().sorted);
    let document = scanned(b"ld1:bi1e1:ai2eee").unwrap();
    assert!(!document.sorted);
    let dictionary = document.root.as_list().unwrap().next().unwrap();
    assert_eq!(dictionary.get(b"a").unwrap().as_i64(), Some(2));
}

#[test]
fn inner_keys_are_not_taken_for_outer_ones() {
    assert!(scanned(b"d1:ad1:ai1e1:bi1ee1:bd1:ai1eee").unwrap().sorted);
    let unsorted = scanned(b"d1:bd1:bi1e1:ai1ee1:ad1:ci1e1:bi1eee").unwrap();
    assert!(!unsorted.sorted);
}

#[test]
fn values_are_read_in_place() {
    let input = b"d4:infod6:lengthi7e4:name1:xe4:listl1:ai-3elede0:e1:si9ee";
    let root = scanned(input).unwrap().root;
    assert_eq!(root.raw(), input);
    assert_eq!(root.get(b"info").unwrap().raw(), b"d6:lengthi7e4:name1:xe");
    assert_eq!(root.get(b"info").unwrap().get(b"name").unwrap().as_str(), Some("x"));
    assert_eq!(root.get(b"s").unwrap().as_u64(), Some(9));
    assert_eq!(root.get(b"nothing"), None);
    let list: Vec<_> = root.get(b"list").unwrap().as_list().unwrap().map(|value| value.raw()).collect();
    assert_eq!(list, [&b"1:a"[..], b"i-3e", b"le", b"de", b"0:"]);
    let keys: Vec<_> = root.as_dictionary().unwrap().map(|(key, _)| key).collect();
    assert_eq!(keys, [&b"info"[..], b"list", b"s"]);
}

#[test]
fn values_of_another_kind_are_none() {
    let root = scanned(b"l1:5i5elee").unwrap().root;
    assert!(
        root.as_bytes().is_none()
            && root.as_i64().is_none()
            && root.as_dictionary().is_none()
            && root.get(b"").is_none()
    );
    let values: Vec<_> = root.as_list().unwrap().collect();
    assert!(values[0].as_i64().is_none() && values[0].as_list().is_none());
    assert!(values[1].as_bytes().is_none() && values[1].as_list().is_none());
    assert!(values[2].as_bytes().is_none() && values[2].as_i64().is_none());
    assert_eq!(scanned(b"i-1e").unwrap().root.as_u64(), None);
    assert_eq!(scanned(b"1:\xff").unwrap().root.as_str(), None);
    assert_eq!(scanned(b"i-9223372036854775808e").unwrap().root.as_i64(), Some(i64::MIN));
}

/// What a quadratic scan would not get through: 10^10 steps, or thirty times that.
#[test]
fn large_unsorted_dictionaries_take_no_quadratic_time() {
    let mut keys: Vec<u8> = Vec::new();
    for i in (0..100_000).rev() {
        keys.extend(format!("8:{i:08}0:").bytes());
    }
    let flat = [b"d", &keys[..], b"e"].concat();
    // The same inside 30 dictionaries, each out of order.
    let nested = [b"d1:b0:1:a".repeat(30), flat.clone(), b"e".repeat(30)].concat();
    assert!(!scanned(&flat).unwrap().sorted);
    assert!(!scanned(&nested).unwrap().sorted);
    let twice = [b"d8:000500000:", &keys[..], b"e"].concat();
    assert!(matches!(scanned(&twice), Err(E::DuplicateKey(_))));
}

#[derive(Debug, Clone)]
enum Tree {
    Integer(i64),
    Bytes(Vec<u8>),
    List(Vec<Tree>),
    Dictionary(BTreeMap<Vec<u8>, Tree>),
}

fn tree() -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![
        any::<i64>().prop_map(Tree::Integer),
        prop::collection::vec(any::<u8>(), 0..20).prop_map(Tree::Bytes),
    ];
    leaf.prop_recursive(6, 60, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Tree::List),
            prop::collection::btree_map(prop::collection::vec(any::<u8>(), 0..4), inner, 0..6)
                .prop_map(Tree::Dictionary),
        ]
    })
}

fn encode(tree: &Tree, out: &mut Vec<u8>) {
    match tree {
        Tree::Integer(number) => write::integer(out, *number),
        Tree::Bytes(content) => write::bytes(out, content),
        Tree::List(items) => write::list(out, |out| items.iter().for_each(|item| encode(item, out))),
        Tree::Dictionary(entries) => write::dictionary(out, |d| {
            entries.iter().for_each(|(key, value)| encode(value, d.key(key)));
        }),
    }
}

fn same(tree: &Tree, value: Value<'_>) -> bool {
    match tree {
        Tree::Integer(number) => value.as_i64() == Some(*number),
        Tree::Bytes(content) => value.as_bytes() == Some(content),
        Tree::List(items) => value.as_list().is_some_and(|list| {
            let list: Vec<_> = list.collect();
            list.len() == items.len() && items.iter().zip(list).all(|(item, value)| same(item, value))
        }),
        Tree::Dictionary(entries) => value.as_dictionary().is_some_and(|dictionary| {
            let found: Vec<_> = dictionary.collect();
            found.len() == entries.len()
                && entries
                    .iter()
                    .zip(found)
                    .all(|((key, item), (name, value))| key == name && same(item, value))
        }),
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read(tree in tree()) {
        let mut input = Vec::new();
        encode(&tree, &mut input);
        let document = scanned(&input).unwrap();
        prop_assert!(document.sorted);
        prop_assert!(same(&tree, document.root));
        // No proper prefix of it is acceptable, nor is it with a byte more.
        for end in 0..input.len() {
            prop_assert!(scanned(&input[..end]).is_err());
        }
        input.push(b'e');
        prop_assert_eq!(scanned(&input).map(|_| ()), Err(E::TrailingBytes(input.len() - 1)));
    }

    /// serde_bencode is the second opinion: what we accept, it reads.
    #[test]
    fn noise_never_panics(noise in prop::collection::vec(prop::sample::select(&b"ilde0123:-a\xff"[..]), 0..40)) {
        if let Ok(document) = scanned(&noise) {
            prop_assert!(serde_bencode::from_bytes::<serde_bencode::value::Value>(&noise).is_ok());
            let _ = (document.root.as_list().map(Iterator::count), document.root.as_dictionary().map(Iterator::count));
        }
        // Reading what was never scanned gives nonsense or nothing, and ends.
        let value = Value::checked(&noise);
        let _ = (value.as_list().map(Iterator::count), value.as_dictionary().map(Iterator::count), value.as_i64());
    }
}
