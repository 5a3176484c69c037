//! What befell the swarms of a run, counted: a world that never does something tests nothing of it.

/// Counters with these names.
macro_rules! seen {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// How often what happened.
        #[derive(Debug, Clone, Default, PartialEq, Eq)]
        pub struct Seen {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Seen {
            /// What never happened.
            pub fn missing(&self) -> Vec<&'static str> {
                let all = [$((stringify!($name), self.$name),)*];
                all.into_iter().filter(|&(_, count)| count == 0).map(|(name, _)| name).collect()
            }

            pub fn add(&mut self, other: &Self) {
                $(self.$name += other.$name;)*
            }
        }
    };
}

seen! {
    bans,
    /// Of somebody who was gone when he was convicted.
    bans_of_absent,
    bad_pieces,
    /// Wrong bytes that arrived.
    corrupt_blocks,
    /// Blocks that arrived and were not wanted any more.
    late_blocks,
    write_errors,
    /// Pieces not begun, for lack of memory.
    refusals,
    stalls,
    left,
    stopped,
    killed,
    power_cuts,
    /// Written, and lost with the power.
    lost_pieces,
    /// Pieces that were being hashed or written at a stop, and got to disk.
    saved_pieces,
    /// The same, and there was no time to.
    given_up_pieces,
    /// Began anew with some of the pieces.
    came_back,
    /// Messages that arrived before one that was sent earlier to the same node, on another link.
    overtook,
    cut,
    frozen,
    vanished,
    silent_lies,
    rejections,
    garbage,
    raved,
}
