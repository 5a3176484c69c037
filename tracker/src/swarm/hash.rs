//! The keyed hash that swarms and peers are found by, and strides through what is to be looked at in a random order.

/// A keyed hash: `key` is secret and random, so that nobody can choose addresses that collide.
pub(super) fn hash(bytes: &[u8], key: u64) -> u64 {
    let mut state = key;
    for chunk in bytes.chunks(8) {
        let mut word = [0; 8];
        for (to, from) in word.iter_mut().zip(chunk) {
            *to = *from;
        }
        state = mix(state ^ u64::from_le_bytes(word), 0x9e37_79b9_7f4a_7c15 ^ key.rotate_left(32));
    }
    mix(state, 0xd6e8_feb8_6659_fd93)
}

/// The two halves of the 128-bit product, folded.
fn mix(a: u64, b: u64) -> u64 {
    let [low, high] = [0, 64].map(|shift| (u128::from(a) * u128::from(b)) >> shift & u128::from(u64::MAX));
    u64::try_from(low ^ high).unwrap_or_default()
}

/// A stride below `count` (at least 1) that has no common divisor with it.
pub(super) fn coprime_stride(count: usize, random: &mut fastrand::Rng) -> usize {
    const fn gcd(mut a: usize, mut b: usize) -> usize {
        while b != 0 {
            (a, b) = (b, a % b);
        }
        a
    }
    (0..8).map(|_| random.usize(..count).max(1)).find(|&stride| gcd(stride, count) == 1).unwrap_or(1)
}
