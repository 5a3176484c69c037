//! By which of this machine's addresses an answer leaves: the one that was asked. On a wildcard address the system would
//! choose one by its routes, and whoever asked another drops such an answer, as do the routers and firewalls between.
//! Machines with several addresses are the rule with IPv6.

use std::io::IoSlice;
use std::net::{IpAddr, Ipv6Addr, UdpSocket};
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::libc::{in_addr, in_pktinfo, in6_addr, in6_pktinfo};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, MultiHeaders, SockaddrLike, sendmmsg, setsockopt, sockopt,
};
use socket2::Socket;

/// An address of this machine that a packet came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Local {
    ip: IpAddr,
    /// The number of the interface where the address is one of many alike: link-local ones. Else 0, so that routes decide.
    interface: u32,
}

/// Has a socket say of every packet where it came.
pub(super) fn watch(socket: &Socket, is_v6: bool) -> Result<(), Errno> {
    match is_v6 {
        // Of packets over IPv4 as well, as mapped addresses.
        true => setsockopt(socket, sockopt::Ipv6RecvPacketInfo, &true),
        false => setsockopt(socket, sockopt::Ipv4PacketInfo, &true),
    }
}

/// Room for what is said of one packet.
pub(super) fn space() -> Vec<u8> {
    nix::cmsg_space!(in6_pktinfo)
}

/// Finds it in what came with a packet.
pub(super) fn of(said: impl Iterator<Item = ControlMessageOwned>) -> Option<Local> {
    let local = |said| match said {
        ControlMessageOwned::Ipv4PacketInfo(info) => {
            Some(Local { ip: IpAddr::from(info.ipi_spec_dst.s_addr.to_ne_bytes()), interface: 0 })
        }
        ControlMessageOwned::Ipv6PacketInfo(info) => {
            let ip = Ipv6Addr::from(info.ipi6_addr.s6_addr);
            let interface = if ip.is_unicast_link_local() { info.ipi6_ifindex } else { 0 };
            Some(Local { ip: ip.into(), interface })
        }
        _ => None,
    };
    said.filter_map(local).next()
}

/// Sends packets by the address `from`. Returns how many were sent, from the first on.
pub(super) fn send<S: SockaddrLike + Copy>(
    socket: &UdpSocket,
    headers: &mut MultiHeaders<S>,
    slices: &[[IoSlice<'_>; 1]],
    names: &[Option<S>],
    from: Local,
) -> Result<usize, Errno> {
    let (v4, v6);
    let control = match from {
        Local { ip: IpAddr::V4(ip), .. } => {
            let s_addr = u32::from_ne_bytes(ip.octets());
            v4 = in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: in_addr { s_addr },
                ipi_addr: in_addr { s_addr: 0 },
            };
            ControlMessage::Ipv4PacketInfo(&v4)
        }
        Local { ip: IpAddr::V6(ip), interface } => {
            v6 = in6_pktinfo { ipi6_addr: in6_addr { s6_addr: ip.octets() }, ipi6_ifindex: interface };
            ControlMessage::Ipv6PacketInfo(&v6)
        }
    };
    let sent = sendmmsg(socket.as_raw_fd(), headers, slices, names, [control], MsgFlags::MSG_DONTWAIT)?;
    Ok(sent.count())
}
