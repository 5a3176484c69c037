//! The wake-up descriptor: lets a thread that sleeps in poll(2) on a socket also hear of its channel.
