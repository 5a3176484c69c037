//! The texts of values, made into what the keys hold. What does not fit gives the words for "must be ...".

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::CheckReads;
use super::ranges::{Decimal, RATE_KIB, Whole, parse_duration};
use super::schedule::{Schedule, ScheduleError};
use super::sites::{Site, parse_sites};
use crate::network::Network;
use crate::secret::{MAX_SECRET_LEN, MIN_SECRET_LEN, Secret};

/// A value as it stands in the file, and what paths in it mean.
pub(super) struct Value<'a> {
    pub text: &'a str,
    /// Relative paths begin here.
    pub folder: &'a Path,
    /// What `~` stands for, if it is known.
    pub home: Option<&'a Path>,
}

/// Whether the value was taken; if not, what was expected.
pub(super) type Outcome = Result<(), String>;

impl Value<'_> {
    /// A whole number in `range` of `unit` (may be empty).
    pub fn number<T: TryFrom<u64>>(
        &self,
        unit: &'static str,
        range: RangeInclusive<u64>,
        to: &mut T,
    ) -> Outcome {
        self.scaled(unit, range, 1, to)
    }

    /// A whole number in `range`, kept times `factor`.
    pub fn scaled<T: TryFrom<u64>>(
        &self,
        unit: &'static str,
        range: RangeInclusive<u64>,
        factor: u64,
        to: &mut T,
    ) -> Outcome {
        self.whole(&Whole { unit, range }, factor, to)
    }

    /// A whole number of these, kept times `factor`.
    pub fn whole<T: TryFrom<u64>>(&self, of: &Whole, factor: u64, to: &mut T) -> Outcome {
        let number = self.text.parse().ok().filter(|&number| of.contains(number));
        let value = number.and_then(|number| T::try_from(number.checked_mul(factor)?).ok());
        *to = value.ok_or_else(|| format!("{of}{}", self.comment_hint()))?;
        Ok(())
    }

    /// A number of these, with a point if it is not whole.
    pub fn decimal(&self, of: &Decimal, to: &mut f64) -> Outcome {
        let plain = self.text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        let number = self.text.parse::<f64>().ok().filter(|&number| plain && of.contains(number));
        *to = number.ok_or_else(|| format!("{of}{}", self.comment_hint()))?;
        Ok(())
    }

    /// A time in seconds, or with its unit after it.
    pub fn duration(&self, of: &Whole, to: &mut u64) -> Outcome {
        let time = parse_duration(self.text).filter(|&time| of.contains(time));
        *to = time.ok_or_else(|| format!("{of}, or such as 30m, 12h or 7d{}", self.comment_hint()))?;
        Ok(())
    }

    /// A rate in KiB per second, kept in bytes; 0: no limit.
    pub fn rate(&self, to: &mut u64) -> Outcome {
        self.whole(&RATE_KIB, 1024, to)
    }

    /// Days and hours; may be empty.
    pub fn schedule(&self, to: &mut Schedule) -> Outcome {
        *to = self.text.parse().map_err(|error: ScheduleError| format!("{error}{}", self.comment_hint()))?;
        Ok(())
    }

    /// A power of two in `range`, in bytes.
    pub fn power_of_two(&self, range: RangeInclusive<u32>, to: &mut u32) -> Outcome {
        let number =
            self.text.parse().ok().filter(|number: &u32| number.is_power_of_two() && range.contains(number));
        *to = number.ok_or_else(|| {
            format!(
                "a power of two from {} to {}, in bytes{}",
                range.start(),
                range.end(),
                self.comment_hint()
            )
        })?;
        Ok(())
    }

    /// One of these words, kept as what stands beside it.
    pub fn one_of<T: Copy>(&self, words: &[(&str, T)], to: &mut T) -> Outcome {
        let found = words.iter().find(|(word, _)| *word == self.text);
        let (_, value) = found.ok_or_else(|| {
            let names: Vec<_> = words.iter().map(|(word, _)| *word).collect();
            format!("{}{}", names.join(" or "), self.comment_hint())
        })?;
        *to = *value;
        Ok(())
    }

    /// An IPv4 or IPv6 address.
    pub fn address(&self, to: &mut IpAddr) -> Outcome {
        *to = self
            .text
            .parse()
            .map_err(|_| format!("an IP address such as 127.0.0.1, 0.0.0.0 or ::{}", self.comment_hint()))?;
        Ok(())
    }

    /// Networks with commas between them, or `none`.
    pub fn networks(&self, to: &mut Vec<Network>) -> Outcome {
        *to = self.list("none", "none, or networks such as 10.0.0.0/8, 2001:db8::/32")?;
        Ok(())
    }

    /// Sites with their networks, or `none`.
    pub fn sites(&self, to: &mut Vec<Site>) -> Outcome {
        *to = match self.text {
            "none" => Vec::new(),
            text => parse_sites(text).map_err(|error| {
                format!(
                    "none, or sites such as lab: 10.1.0.0/16 10.2.0.0/16, office: 192.168.7.0/24; {error}{}",
                    self.comment_hint()
                )
            })?,
        };
        Ok(())
    }

    /// Addresses that others can dial, at most one of each family, with a comma between them, or `auto`.
    pub fn addresses(&self, to: &mut Vec<IpAddr>) -> Outcome {
        let expected = "auto, or an IPv4 or IPv6 address, or one of each with a comma between them";
        let found: Vec<IpAddr> = self.list("auto", expected)?;
        let count = |is_v4| found.iter().filter(|ip| ip.is_ipv4() == is_v4).count();
        if count(true) > 1
            || count(false) > 1
            || found.iter().any(|ip| ip.is_unspecified() || ip.is_loopback() || ip.is_multicast())
        {
            return Err(format!("{expected}, that others can reach"));
        }
        *to = found;
        Ok(())
    }

    /// A secret, or `none`.
    pub fn secret(&self, to: &mut Option<Secret>) -> Outcome {
        *to = match self.text {
            "none" => None,
            text => Some(Secret::new(text).ok_or_else(|| {
                format!("none, or from {MIN_SECRET_LEN} to {MAX_SECRET_LEN} letters, digits and signs")
            })?),
        };
        Ok(())
    }

    /// What commas separate, or the word for nothing.
    fn list<T: FromStr>(&self, nothing: &str, expected: &str) -> Result<Vec<T>, String> {
        if self.text == nothing {
            return Ok(Vec::new());
        }
        let parts = self.text.split(',').map(str::trim);
        parts.map(|part| part.parse().map_err(|_| format!("{expected}{}", self.comment_hint()))).collect()
    }

    /// How files are read to be hashed.
    pub fn check_reads(&self, to: &mut CheckReads) -> Outcome {
        *to = match self.text {
            "auto" => CheckReads::Auto,
            "sequential" => CheckReads::Sequential,
            "parallel" => CheckReads::Parallel,
            _ => return Err(format!("auto, sequential or parallel{}", self.comment_hint())),
        };
        Ok(())
    }

    /// A path: `~` is the home folder, and what is relative is relative to the file.
    pub fn path(&self, to: &mut PathBuf) -> Outcome {
        if self.text.is_empty() || self.text.contains('\0') {
            return Err("a path".into());
        }
        *to = match self.text.strip_prefix('~') {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => {
                let home = self.home.ok_or("a path without ~, because HOME is not set")?;
                home.join(rest.trim_start_matches('/'))
            }
            _ => self.folder.join(self.text),
        };
        Ok(())
    }

    /// The announce URL of a tracker.
    pub fn tracker_url(&self, to: &mut String) -> Outcome {
        if !is_tracker_url(self.text) {
            return Err("the announce URL of a tracker, such as http://192.0.2.1:8000/announce \
                        or udp://192.0.2.1:6969/announce"
                .into());
        }
        self.text.clone_into(to);
        Ok(())
    }

    /// A common mistake: a comment behind a value.
    fn comment_hint(&self) -> &'static str {
        if self.text.contains(['#', ';']) { " (a comment needs a line of its own)" } else { "" }
    }
}

/// Whether `text` has the form of a tracker's announce URL: `http`, `https` or `udp`, a host, for `udp` also a port;
/// no spaces or control characters. Nothing is looked up.
pub fn is_tracker_url(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once("://") else { return false };
    let is = |name: &str| scheme.eq_ignore_ascii_case(name);
    if !(is("http") || is("https") || is("udp")) || text.chars().any(|c| c.is_whitespace() || c.is_control())
    {
        return false;
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let server = authority.rsplit('@').next().unwrap_or_default();
    // The colons of an IPv6 address stand in brackets.
    let (host, port) = match server.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (server, None),
    };
    let port_is_good = match port {
        Some(port) => port.parse::<u16>().is_ok_and(|port| port > 0),
        None => !is("udp"),
    };
    let host_is_good = match host.strip_prefix('[') {
        Some(host) => host.strip_suffix(']').is_some_and(|host| host.parse::<std::net::Ipv6Addr>().is_ok()),
        None => !host.is_empty() && !host.contains([':', ']', '[']),
    };
    port_is_good && host_is_good
}
