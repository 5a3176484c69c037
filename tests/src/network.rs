//! A private network of hosts, each a network namespace, joined by a bridge in a namespace of its own. No route leads
//! out of it. Needs root and `ip` (iproute2).

use std::fs::File;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Hosts 1 to n with the addresses 10.78.0.1 to 10.78.0.n. Gone on drop: stop what runs on its hosts before.
#[derive(Debug)]
pub struct Network {
    bridge: String,
    hosts: Vec<Host>,
}

/// One host of a [`Network`].
#[derive(Debug, Clone)]
pub struct Host {
    namespace: String,
    address: Ipv4Addr,
}

impl Network {
    /// Whether this process may make networks; if not, why.
    pub fn possible() -> Result<(), String> {
        if !rustix::process::geteuid().is_root() {
            return Err("network namespaces need root".to_owned());
        }
        match Command::new("ip").arg("-V").output() {
            Ok(output) if output.status.success() => Ok(()),
            _ => Err("the program ip (iproute2) is needed".to_owned()),
        }
    }

    /// Makes a network of `count` hosts.
    ///
    /// # Panics
    /// If it is not [`Network::possible`].
    pub fn new(count: u8) -> Self {
        static SERIAL: AtomicU32 = AtomicU32::new(0);
        // Other runs of the tests may have networks on the same machine.
        let name = format!("tt{}-{}", std::process::id(), SERIAL.fetch_add(1, Ordering::Relaxed));
        let bridge = format!("{name}-sw");
        let mut network = Self { bridge: bridge.clone(), hosts: Vec::new() };
        ip(&["netns", "add", &bridge]);
        ip(&["-n", &bridge, "link", "add", "br0", "type", "bridge"]);
        ip(&["-n", &bridge, "link", "set", "br0", "up"]);
        for number in 1..=count {
            let host =
                Host { namespace: format!("{name}-h{number}"), address: Ipv4Addr::new(10, 78, 0, number) };
            let (namespace, port) = (host.namespace.clone(), format!("port{number}"));
            ip(&["netns", "add", &namespace]);
            network.hosts.push(host);
            let address = format!("10.78.0.{number}/24");
            ip(&[
                "-n", &bridge, "link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns",
                &namespace,
            ]);
            ip(&["-n", &bridge, "link", "set", &port, "master", "br0", "up"]);
            ip(&["-n", &namespace, "address", "add", &address, "dev", "eth0"]);
            ip(&["-n", &namespace, "link", "set", "eth0", "up"]);
            ip(&["-n", &namespace, "link", "set", "lo", "up"]);
        }
        network
    }

    /// Host number `number`, from 1.
    ///
    /// # Panics
    /// If the network has no such host.
    pub fn host(&self, number: usize) -> Host {
        self.hosts[number - 1].clone()
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for namespace in self.hosts.iter().map(|host| &host.namespace).chain([&self.bridge]) {
            let _ = Command::new("ip").args(["netns", "delete", namespace]).output();
        }
    }
}

impl Host {
    /// Its address in the network.
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// Runs `f` on a thread that is on this host: sockets it makes and programs it starts belong to it.
    ///
    /// # Panics
    /// If the host is gone; and with whatever `f` panics.
    pub fn run<T: Send>(&self, f: impl FnOnce() -> T + Send) -> T {
        let namespace = File::open(format!("/run/netns/{}", self.namespace)).expect("the namespace exists");
        let on_host = || {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).expect("setns");
            f()
        };
        let result = std::thread::scope(|scope| scope.spawn(on_host).join());
        result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

fn ip(args: &[&str]) {
    let output = Command::new("ip").args(args).output().expect("ip runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {}: {errors}", args.join(" "));
}
