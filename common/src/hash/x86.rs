//! The SHA-1 compression function with the SHA instructions of x86-64, for one message or for two in step.
//!
//! This file holds the one unsafe call of the workspace. The instructions themselves are safe in a function that says
//! that it needs them; calling such a function from one that does not say so is what can be wrong, on a processor
//! without them. [`ShaInstructions`] is the proof that they are there.

use std::arch::x86_64::{
    __m128i, _mm_add_epi32, _mm_extract_epi32, _mm_set_epi32, _mm_set_epi64x, _mm_setzero_si128,
    _mm_sha1msg1_epu32, _mm_sha1msg2_epu32, _mm_sha1nexte_epu32, _mm_sha1rnds4_epu32, _mm_shuffle_epi8,
    _mm_xor_si128,
};

/// Bytes in a block of SHA-1.
pub(super) const BLOCK_LEN: usize = 64;
/// What is compressed at a time.
pub(super) type Block = [u8; BLOCK_LEN];
/// The words A to E.
pub(super) type State = [u32; 5];
/// The state of an empty message (FIPS 180-4, 5.3.1).
pub(super) const START: State = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];

/// This processor has every instruction used here.
#[derive(Debug, Clone, Copy)]
pub(super) struct ShaInstructions(());

impl ShaInstructions {
    /// Asks the processor; the answer is kept by the standard library.
    pub fn detect() -> Option<Self> {
        let all = is_x86_feature_detected!("sha")
            && is_x86_feature_detected!("ssse3")
            && is_x86_feature_detected!("sse4.1");
        all.then_some(Self(()))
    }

    /// Compresses blocks of two messages: side by side as many as both have, and the rest of the longer run alone.
    pub fn compress(self, a: (&mut State, &[Block]), b: (&mut State, &[Block])) {
        #[expect(unsafe_code, reason = "needs instructions, which `self` proves to be there")]
        // SAFETY: only `detect` makes a `ShaInstructions`, and only where the processor has sha, ssse3 and sse4.1.
        unsafe {
            compress(a, b);
        }
    }
}

#[target_feature(enable = "sha,ssse3,sse4.1")]
fn compress(a: (&mut State, &[Block]), b: (&mut State, &[Block])) {
    let both = a.1.len().min(b.1.len());
    let (both_a, rest_a) = a.1.split_at(both);
    let (both_b, rest_b) = b.1.split_at(both);
    let mut lanes = [Words::new(a.0), Words::new(b.0)];
    for (a, b) in both_a.iter().zip(both_b) {
        compress_block(&mut lanes, [a, b]);
    }
    let [lane_a, lane_b] = lanes;
    *a.0 = compress_alone(lane_a, rest_a);
    *b.0 = compress_alone(lane_b, rest_b);
}

#[inline]
#[target_feature(enable = "sha,ssse3,sse4.1")]
fn compress_alone(words: Words, blocks: &[Block]) -> State {
    let mut lanes = [words];
    for block in blocks {
        compress_block(&mut lanes, [block]);
    }
    let [words] = lanes;
    words.state()
}

/// Compresses one block of each of `N` messages. Each step is taken for all of them before the next, so that the
/// instructions that wait for one another are far apart.
#[inline]
#[target_feature(enable = "sha,ssse3,sse4.1")]
fn compress_block<const N: usize>(lanes: &mut [Words; N], blocks: [&Block; N]) {
    let before = *lanes;
    for (lane, block) in lanes.iter_mut().zip(blocks) {
        lane.rounds_of_the_block(block);
    }
    rounds::<0, 1, N>(lanes);
    rounds::<1, 5, N>(lanes);
    rounds::<2, 5, N>(lanes);
    rounds::<3, 5, N>(lanes);
    for (lane, before) in lanes.iter_mut().zip(before) {
        lane.abcd = _mm_add_epi32(lane.abcd, before.abcd);
        lane.e = _mm_sha1nexte_epu32(lane.e, before.e);
    }
}

/// `TIMES` times four rounds with the function and constant `F` of SHA-1 (0 to 3).
#[inline]
#[target_feature(enable = "sha,ssse3,sse4.1")]
fn rounds<const F: i32, const TIMES: usize, const N: usize>(lanes: &mut [Words; N]) {
    for _ in 0..TIMES {
        for lane in &mut *lanes {
            let words = lane.next_words();
            lane.four_rounds::<F>(_mm_sha1nexte_epu32(lane.e, words));
        }
    }
}

/// The state of a message in the form the instructions take. In all of them the word that comes first in the message is
/// the highest.
#[derive(Clone, Copy)]
struct Words {
    abcd: __m128i,
    /// Between blocks: E, with zeros below. Between rounds: A to D of four rounds ago, for A then is, rotated, E now.
    e: __m128i,
    /// The last sixteen words of the message schedule.
    schedule: [__m128i; 4],
}

impl Words {
    #[inline]
    #[target_feature(enable = "sha,ssse3,sse4.1")]
    fn new(&[a, b, c, d, e]: &State) -> Self {
        let [a, b, c, d, e] = [a, b, c, d, e].map(u32::cast_signed);
        let schedule = [_mm_setzero_si128(); 4];
        Self { abcd: _mm_set_epi32(a, b, c, d), e: _mm_set_epi32(e, 0, 0, 0), schedule }
    }

    #[inline]
    #[target_feature(enable = "sha,ssse3,sse4.1")]
    fn state(self) -> State {
        let words = [
            _mm_extract_epi32::<3>(self.abcd),
            _mm_extract_epi32::<2>(self.abcd),
            _mm_extract_epi32::<1>(self.abcd),
            _mm_extract_epi32::<0>(self.abcd),
            _mm_extract_epi32::<3>(self.e),
        ];
        words.map(i32::cast_unsigned)
    }

    /// Rounds 0 to 15, whose words are the block's own.
    #[inline]
    #[target_feature(enable = "sha,ssse3,sse4.1")]
    fn rounds_of_the_block(&mut self, block: &Block) {
        self.schedule = load(block);
        let [w0, w1, w2, w3] = self.schedule;
        self.four_rounds::<0>(_mm_add_epi32(self.e, w0));
        self.four_rounds::<0>(_mm_sha1nexte_epu32(self.e, w1));
        self.four_rounds::<0>(_mm_sha1nexte_epu32(self.e, w2));
        self.four_rounds::<0>(_mm_sha1nexte_epu32(self.e, w3));
    }

    /// Four rounds; `words` are those of the schedule, with E added to the first.
    #[inline]
    #[target_feature(enable = "sha,ssse3,sse4.1")]
    fn four_rounds<const F: i32>(&mut self, words: __m128i) {
        self.e = self.abcd;
        self.abcd = _mm_sha1rnds4_epu32::<F>(self.abcd, words);
    }

    /// The next four words of the schedule.
    #[inline]
    #[target_feature(enable = "sha,ssse3,sse4.1")]
    fn next_words(&mut self) -> __m128i {
        let [w0, w1, w2, w3] = self.schedule;
        let next = _mm_sha1msg2_epu32(_mm_xor_si128(_mm_sha1msg1_epu32(w0, w1), w2), w3);
        self.schedule = [w1, w2, w3, next];
        next
    }
}

/// The sixteen words of a block, which has them in big-endian form.
#[inline]
#[target_feature(enable = "sha,ssse3,sse4.1")]
fn load(block: &Block) -> [__m128i; 4] {
    let to_words = _mm_set_epi64x(0x0001_0203_0405_0607, 0x0809_0a0b_0c0d_0e0f);
    let mut words = [_mm_setzero_si128(); 4];
    let (halves, _) = block.as_chunks::<8>();
    let (pairs, _) = halves.as_chunks::<2>();
    for (words, &[low, high]) in words.iter_mut().zip(pairs) {
        let bytes = _mm_set_epi64x(i64::from_le_bytes(high), i64::from_le_bytes(low));
        *words = _mm_shuffle_epi8(bytes, to_words);
    }
    words
}
