//! The process's own sockets, found from outside: tiny_http owns its connections and lends them to nobody, so whoever
//! must close one looks it up in /proc and asks the kernel for a second handle (pidfd_getfd, Linux 5.6).

use std::io;
use std::net::{Shutdown, SocketAddr, TcpStream};

use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

/// Every connection of this process whose own end is `local`. Costs a few system calls for every open descriptor.
///
/// # Errors
/// The system's, where /proc or pidfd_getfd is missing or forbidden (some containers).
pub fn connections(local: SocketAddr) -> io::Result<Vec<(SocketAddr, TcpStream)>> {
    let own = pidfd_open(getpid(), PidfdFlags::empty())?;
    let mut found: Vec<(SocketAddr, TcpStream)> = Vec::new();
    for entry in std::fs::read_dir("/proc/self/fd")? {
        let entry = entry?;
        let is_socket = std::fs::read_link(entry.path())
            .is_ok_and(|target| target.as_os_str().as_encoded_bytes().starts_with(b"socket:"));
        let number = entry.file_name().to_str().and_then(|name| name.parse().ok());
        let (true, Some(number)) = (is_socket, number) else { continue };
        let descriptor = match pidfd_getfd(&own, number, PidfdGetfdFlags::empty()) {
            Ok(descriptor) => descriptor,
            // Closed meanwhile.
            Err(rustix::io::Errno::BADF) => continue,
            Err(error) => return Err(error.into()),
        };
        let stream = TcpStream::from(descriptor);
        // Not TCP, or not connected: an error, and not what is looked for.
        if let (Ok(own_end), Ok(peer)) = (stream.local_addr(), stream.peer_addr())
            && own_end == local
            && !found.iter().any(|(known, _)| *known == peer)
        {
            found.push((peer, stream));
        }
    }
    Ok(found)
}

/// Shuts down the connections whose own end is `local` and whose other end `choose` picks. Gives how many.
///
/// # Errors
/// As [`connections`].
pub fn sever(local: SocketAddr, how: Shutdown, choose: impl Fn(SocketAddr) -> bool) -> io::Result<usize> {
    let mut severed = 0;
    for (peer, stream) in connections(local)? {
        if choose(peer) && stream.shutdown(how).is_ok() {
            severed += 1;
        }
    }
    Ok(severed)
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn only_the_chosen_connection_is_severed() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut a = TcpStream::connect(address).unwrap();
        let b = TcpStream::connect(address).unwrap();
        let (_a, _b) = (listener.accept().unwrap(), listener.accept().unwrap());
        assert_eq!(connections(address).unwrap().len(), 2);
        let chosen = a.local_addr().unwrap();
        assert_eq!(sever(address, Shutdown::Both, |peer| peer == chosen).unwrap(), 1);
        assert_eq!(a.read(&mut [0]).unwrap(), 0);
        b.set_nonblocking(true).unwrap();
        assert_eq!((&b).read(&mut [0]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }
}
