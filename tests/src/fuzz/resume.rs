//! STATE_DIR: checkpoints, journals and options, as a disk may give them back.

use sha1::{Digest, Sha1};
use std::sync::{Arc, LazyLock};
use torrent_common::ids::InfoHash;
use torrent_common::metainfo::{Metainfo, MetainfoLimits};
use torrent_peer::fuzzing::{
    Header, Part, Record, checkpoint, checkpoint_file, enter_options, journal, stamps,
};
use torrent_peer::resume::reconcile::{Verdict, reconcile};
use torrent_peer::resume::{BootId, Saved};
use torrent_peer::storage::Stamp;
use torrent_peer::storage::layout::Layout;

use super::choice;

/// Which torrent the files are of.
const HASH: InfoHash = InfoHash::new([3; 20]);
/// This start of the machine.
const BOOT: BootId = BootId::new(1);
/// Bytes of a record in an input: kind, index, value; its check is made here.
const RECORD_LEN: usize = 13;

/// Three files and padding in nine pieces.
static METAINFO: LazyLock<Arc<Metainfo>> = LazyLock::new(|| {
    let torrent = format!(
        "d4:infod5:filesld6:lengthi40e4:pathl1:aeed4:attr1:p6:lengthi8e4:pathl4:.pad1:8eed6:lengthi60e4:pathl1:beed\
         6:lengthi30e4:pathl1:ceee4:name1:f12:piece lengthi16e6:pieces180:{}ee",
        "p".repeat(180)
    );
    Arc::new(Metainfo::parse(torrent.as_bytes(), &MetainfoLimits::default()).unwrap())
});

/// The first byte says what the rest is: 0 a checkpoint but for the checksum at its end, 1 a checkpoint as it stands, 2 a
/// journal as it stands, 3 records of a journal, 4 options.
pub fn resume(input: &[u8]) {
    let (kind, rest) = choice(input);
    match kind % 5 {
        0 => {
            let check: [u8; 20] = Sha1::digest(rest).into();
            let saved = read(&[rest, &check].concat());
            saved.iter().for_each(|saved| is_believed_no_further(saved, &[]));
        }
        1 => drop(read(rest)),
        2 => drop(journal(rest, &HASH).map(|part| assert!(part.records.len() <= rest.len() / 24))),
        3 => replays(rest),
        _ => {
            let mut saved = saved();
            enter_options(&mut saved, rest);
            reads_as_written(&saved);
        }
    }
}

/// A checkpoint with everything had, of files as long as they are to be.
fn saved() -> Saved {
    let stamp = |len, mtime_ns| {
        let (len, mtime_ns): (u64, i64) = (len, mtime_ns);
        [len.to_be_bytes(), mtime_ns.to_be_bytes()].concat()
    };
    let stamps = [stamp(40, 5), stamp(u64::MAX, 0), stamp(60, 6), stamp(30, 7)].concat();
    let mut body = Vec::new();
    body.extend(b"d8:added_nsi1e4:boot8:\0\0\0\0\0\0\0\x0110:downloadedi0e10:generation8:\0\0\0\0\0\0\0\x01");
    body.extend(b"3:had2:\xff\x809:info_hash20:");
    body.extend(HASH.as_bytes());
    body.extend(b"4:name1:f6:output2:/d6:pausedi0e11:piece_counti9e7:privatei0e8:saved_nsi100e6:stamps64:");
    body.extend(stamps);
    body.extend(b"9:total_leni138e8:uploadedi0e7:versioni1ee");
    let check: [u8; 20] = Sha1::digest(&body).into();
    checkpoint(&[body, check.to_vec()].concat(), HASH).unwrap()
}

fn read(bytes: &[u8]) -> Option<Saved> {
    match checkpoint(bytes, HASH) {
        Ok(saved) => {
            reads_as_written(&saved);
            Some(saved)
        }
        Err(error) => {
            let told = error.to_string();
            assert!(told.len() < 1000 + 8 * bytes.len(), "{told}");
            None
        }
    }
}

fn reads_as_written(saved: &Saved) {
    let file = checkpoint_file(saved).unwrap();
    assert_eq!(&checkpoint(&file, HASH).unwrap(), saved);
    assert_eq!(
        saved.is_complete(),
        saved.details.piece_count > 0 && saved.pieces_had() == saved.details.piece_count
    );
}

/// Records of both journals, each in its own: the first byte says whose the next are, and whether they are of this start.
fn replays(rest: &[u8]) {
    let saved = saved();
    let (first, rest) = choice(rest);
    let boot = |bit: u8| Some(if first & bit == 0 { BOOT } else { BootId::new(9) });
    let headers =
        [(1, 1), (2, 2)].map(|(bit, generation)| Header { info_hash: HASH, boot: boot(bit), generation });
    let mut parts = headers.map(|header| Part { header, records: Vec::new() });
    for chunk in rest.chunks_exact(RECORD_LEN) {
        let (kind, chunk) = choice(chunk);
        let index = u32::from_be_bytes(chunk[..4].try_into().unwrap());
        let value = i64::from_be_bytes(chunk[4..].try_into().unwrap());
        parts[usize::from(kind & 4 != 0)].records.push(match kind & 3 {
            0 => Record::Begin { piece: index, at_ns: value },
            1 => Record::Stamp { file: index, mtime_ns: value },
            2 => Record::Written { piece: index },
            _ => Record::Doubt,
        });
    }
    for part in &parts {
        let head = part.header.encode();
        let records = part.records.iter().flat_map(|record| record.encode(&head));
        let mut bytes: Vec<u8> = head.into_iter().chain(records).collect();
        assert_eq!(journal(&bytes, &HASH).as_ref(), Some(part));
        assert_eq!(journal(&bytes, &InfoHash::new([4; 20])), None);
        // A torn end costs nothing before it.
        bytes.pop();
        let torn = journal(&bytes, &HASH).map(|part| part.records);
        assert_eq!(torn, (!part.records.is_empty()).then(|| part.records[..part.records.len() - 1].to_vec()));
    }
    is_believed_no_further(&saved, &parts);
}

/// Whatever was read: what is had is of files that are there, and is not to be hashed as well.
fn is_believed_no_further(saved: &Saved, parts: &[Part]) {
    let layout = Layout::new(Arc::clone(&METAINFO));
    let known = layout.part() + 1;
    let then: Vec<Option<Stamp>> =
        stamps(saved).iter().copied().chain(std::iter::repeat(None)).take(known).collect();
    consistent(&reconcile(saved, parts, &then, &layout, Some(BOOT)));
    consistent(&reconcile(saved, parts, &then, &layout, None));
    for missing in 0..layout.part() {
        let mut now = then.clone();
        now[missing] = None;
        let verdict = reconcile(saved, parts, &now, &layout, Some(BOOT));
        consistent(&verdict);
        if layout.files()[missing].padding {
            continue;
        }
        for piece in layout.pieces_of(missing) {
            assert!(
                !verdict.had.contains(piece) && !verdict.suspect.contains(piece),
                "{piece:?} of {missing}"
            );
        }
    }
}

fn consistent(verdict: &Verdict) {
    let both = METAINFO.geometry.pieces().find(|&p| verdict.had.contains(p) && verdict.suspect.contains(p));
    assert_eq!(both, None, "had, and to be hashed");
}
