//! One request with its redirects: where it began, where it may go now, how much may come back.
//!
//! Threat: whoever makes a torrent names its trackers, and a tracker may redirect. In the user's network there are routers
//! and services that trust whoever can reach them, and a GET can be an order to them. A tracker there may be meant; that
//! one in the world leads there is never meant. So a redirect leads to addresses as far away as those before it, or
//! farther, never nearer. And a name may mean one address when it is looked up and another when it is used: so a request
//! goes to an address that was looked up for it, also when a connection by that name is open already ([`super::dial`]).
//!
//! ureq asks for the address of each redirect, and for each connection, on the thread that makes the request, and tells of
//! the request no more than where it goes next. So this belongs to the thread.

use std::cell::RefCell;
use std::marker::PhantomData;
use std::net::SocketAddr;

use super::area::Area;

/// Bytes of headers, of encodings, and of TLS that may come besides the answer and its like again.
const OVERHEAD: u64 = 128 << 10;

#[derive(Debug)]
struct State {
    /// The farthest where the request has been; `None` before the first address.
    farthest: Option<Area>,
    /// Where it may go now.
    addresses: Vec<SocketAddr>,
    /// The server that it was sent to last.
    area: Area,
    /// Bytes that may come yet.
    allowance: u64,
}

thread_local! {
    static TRIP: RefCell<Option<State>> = const { RefCell::new(None) };
}

/// A request of this thread, until this is dropped.
#[derive(Debug)]
pub struct Trip(PhantomData<*const ()>);

impl Trip {
    /// Begins. A thread makes one request at a time; its answer has at most `max_len` bytes.
    pub fn begin(max_len: u64) -> Self {
        let allowance = max_len.saturating_mul(2).saturating_add(OVERHEAD);
        let state = State { farthest: None, addresses: Vec::new(), area: Area::World, allowance };
        TRIP.replace(Some(state));
        Self(PhantomData)
    }

    /// Where the server is that the request was sent to last.
    pub fn area(&self) -> Area {
        with(|state| state.area).unwrap_or(Area::World)
    }
}

impl Drop for Trip {
    fn drop(&mut self) {
        TRIP.replace(None);
    }
}

fn with<T>(act: impl FnOnce(&mut State) -> T) -> Option<T> {
    TRIP.with_borrow_mut(|state| state.as_mut().map(act))
}

/// The request of this thread goes on to a host with these addresses: false if one of them is nearer than where it has
/// been.
pub fn lead(addresses: &[SocketAddr]) -> bool {
    let areas = || addresses.iter().map(|address| Area::of(address.ip()));
    let (Some(farthest), Some(nearest)) = (areas().min(), areas().max()) else { return true };
    let lead = |state: &mut State| {
        // A name may mean addresses here and there: what it leads to is held to the farthest.
        if state.farthest.is_some_and(|before| nearest > before) {
            return false;
        }
        state.farthest = Some(state.farthest.map_or(farthest, |before| before.min(farthest)));
        state.addresses = addresses.to_vec();
        true
    };
    with(lead).unwrap_or(true)
}

/// Whether the request of this thread may go to this address now.
pub fn leads_to(address: SocketAddr) -> bool {
    with(|state| state.addresses.contains(&address)).unwrap_or(true)
}

/// The request of this thread is sent to this address.
pub fn sent_to(address: SocketAddr) {
    with(|state| state.area = Area::of(address.ip()));
}

/// So many bytes came: false if they are more than the request of this thread can be worth.
pub fn received(len: usize) -> bool {
    let len = u64::try_from(len).unwrap_or(u64::MAX);
    let take = |state: &mut State| match state.allowance.checked_sub(len) {
        Some(rest) => {
            state.allowance = rest;
            true
        }
        None => false,
    };
    with(take).unwrap_or(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(ips: &[&str]) -> Vec<SocketAddr> {
        ips.iter().map(|ip| SocketAddr::new(ip.parse().unwrap(), 80)).collect()
    }

    #[test]
    fn nobody_is_led_nearer() {
        for (hosts, reached) in [
            (&[&["8.8.8.8"][..], &["9.9.9.9"]][..], 2),
            (&[&["8.8.8.8"], &["192.168.1.1"]], 1),
            (&[&["8.8.8.8"], &["127.0.0.1"]], 1),
            (&[&["192.168.1.1"], &["127.0.0.1"]], 1),
            (&[&["192.168.1.1"], &["10.0.0.1"], &["8.8.8.8"]], 3),
            // Once out there, never back.
            (&[&["192.168.1.1"], &["8.8.8.8"], &["10.0.0.1"]], 2),
            (&[&["127.0.0.1"], &["192.168.1.1"], &["127.0.0.1"]], 2),
            // A name may mean many addresses: one of them is enough.
            (&[&["8.8.8.8"], &["9.9.9.9", "10.0.0.1"]], 1),
            (&[&["8.8.8.8", "10.0.0.1"], &["10.0.0.1"]], 1),
            (&[&["127.0.0.1", "::1"], &["::1"]], 2),
        ] {
            let _trip = Trip::begin(0);
            assert_eq!(hosts.iter().take_while(|ips| lead(&host(ips))).count(), reached, "{hosts:?}");
        }
    }

    #[test]
    fn a_request_goes_where_it_was_led_last() {
        let [first, second] = [host(&["8.8.8.8"]), host(&["9.9.9.9", "1.1.1.1"])];
        let may = |address| leads_to(SocketAddr::new(address, 80));
        let trip = Trip::begin(0);
        lead(&first);
        lead(&second);
        assert_eq!(["8.8.8.8", "9.9.9.9", "1.1.1.1"].map(|ip| may(ip.parse().unwrap())), [false, true, true]);
        // Where it may not go changes nothing.
        assert!(!lead(&host(&["10.0.0.1"])));
        assert!(may("9.9.9.9".parse().unwrap()) && !may("10.0.0.1".parse().unwrap()));
        drop(trip);
        assert!(may("8.8.8.8".parse().unwrap()), "without a request nobody is kept from anywhere");
    }

    #[test]
    fn what_comes_is_counted() {
        let _trip = Trip::begin(1000);
        let all = usize::try_from(OVERHEAD).unwrap() + 2000;
        assert!(received(all - 1) && received(1));
        assert!(!received(1));
    }
}
