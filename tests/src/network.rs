//! A private network of hosts, each a network namespace, joined by a bridge in a namespace of its own; or several such,
//! the sites, with a router between them. No route leads out of it. Needs root and `ip` (iproute2), for rates also `tc`.

use std::fs::File;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Hosts 1 to n with the addresses 10.78.0.1 to 10.78.0.n; in site number s: 10.78.s.1 and so on. Gone on drop: stop what runs
/// on its hosts before.
#[derive(Debug)]
pub struct Network {
    /// The namespace of the bridges, which is also the router.
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
        let mut network = Self::empty();
        network.add_bridge(0);
        (1..=count).for_each(|number| network.add_host(0, number));
        network
    }

    /// Makes sites, from number 1, of so many hosts each. A router joins them.
    ///
    /// # Panics
    /// If it is not [`Network::possible`].
    pub fn of_sites(counts: &[u8]) -> Self {
        let mut network = Self::empty();
        for (site, &count) in (1..).zip(counts) {
            network.add_bridge(site);
            let router = format!("10.78.{site}.254/24");
            ip(&["-n", &network.bridge, "address", "add", &router, "dev", &format!("br{site}")]);
            for number in 1..=count {
                network.add_host(site, number);
                let (host, via) = (network.of_site(site, number), format!("10.78.{site}.254"));
                ip(&["-n", &host.namespace, "route", "add", "default", "via", &via]);
            }
        }
        let router = Host { namespace: network.bridge.clone(), address: Ipv4Addr::UNSPECIFIED };
        router.run(|| std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").expect("it routes"));
        network
    }

    fn empty() -> Self {
        static SERIAL: AtomicU32 = AtomicU32::new(0);
        // Other runs of the tests may have networks on the same machine.
        let name = format!("tt{}-{}", std::process::id(), SERIAL.fetch_add(1, Ordering::Relaxed));
        let bridge = format!("{name}-sw");
        ip(&["netns", "add", &bridge]);
        Self { bridge, hosts: Vec::new() }
    }

    fn add_bridge(&self, site: u8) {
        let bridge = format!("br{site}");
        ip(&["-n", &self.bridge, "link", "add", &bridge, "type", "bridge"]);
        ip(&["-n", &self.bridge, "link", "set", &bridge, "up"]);
    }

    fn add_host(&mut self, site: u8, number: u8) {
        let address = Ipv4Addr::new(10, 78, site, number);
        let name = self.bridge.trim_end_matches("sw");
        let host = Host { namespace: format!("{name}h{site}-{number}"), address };
        let (namespace, port) = (host.namespace.clone(), format!("port{site}-{number}"));
        ip(&["netns", "add", &namespace]);
        self.hosts.push(host);
        ip(&[
            "-n",
            &self.bridge,
            "link",
            "add",
            &port,
            "type",
            "veth",
            "peer",
            "name",
            "eth0",
            "netns",
            &namespace,
        ]);
        ip(&["-n", &self.bridge, "link", "set", &port, "master", &format!("br{site}"), "up"]);
        ip(&["-n", &namespace, "address", "add", &format!("{address}/24"), "dev", "eth0"]);
        ip(&["-n", &namespace, "link", "set", "eth0", "up"]);
        ip(&["-n", &namespace, "link", "set", "lo", "up"]);
    }

    /// Limits what each host sends, in Mbit/s.
    ///
    /// # Panics
    /// If the system cannot do that.
    pub fn limit(&self, mbit: u32) {
        let rate = format!("{mbit}mbit");
        for host in &self.hosts {
            let root = ["-n", &host.namespace, "qdisc", "replace", "dev", "eth0", "root"];
            program(
                "tc",
                &[&root[..], &["tbf", "rate", &rate, "burst", "64kb", "latency", "100ms"]].concat(),
            );
        }
    }

    /// Bytes that came into a site from the others so far.
    ///
    /// # Panics
    /// If there is no such site.
    pub fn came_into(&self, site: u8) -> u64 {
        // What the router sends to a site; what its hosts send each other is not seen there.
        let shown = ip(&["-n", &self.bridge, "-json", "-statistics", "link", "show", &format!("br{site}")]);
        let shown: serde_json::Value = serde_json::from_str(&shown).expect("ip speaks JSON");
        shown[0]["stats64"]["tx"]["bytes"].as_u64().expect("interfaces count bytes")
    }

    /// Host number `number`, from 1.
    ///
    /// # Panics
    /// If the network has no such host.
    pub fn host(&self, number: usize) -> Host {
        self.hosts[number - 1].clone()
    }

    /// Host number `number` of site number `site`, both from 1.
    ///
    /// # Panics
    /// If there is no such host.
    pub fn of_site(&self, site: u8, number: u8) -> Host {
        let address = Ipv4Addr::new(10, 78, site, number);
        let host = self.hosts.iter().find(|host| host.address == address);
        host.expect("the network has such a host").clone()
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

fn ip(args: &[&str]) -> String {
    program("ip", args)
}

fn program(name: &str, args: &[&str]) -> String {
    let output = Command::new(name).args(args).output().expect("iproute2 is there");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name} {}: {errors}", args.join(" "));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
