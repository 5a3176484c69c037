//! SITES: networks whose peers are near each other, as people write them: `lab: 10.1.0.0/16 10.2.0.0/16, office: ::1`.

use std::collections::BTreeMap;

use crate::network::Network;

/// Networks of all sites together: more are not meant by hand.
const MAX_NETWORKS: usize = 1000;

/// A place whose peers are near each other: a classroom, an office, a rack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// Letters, digits and `-_.`.
    pub name: String,
    /// At least one.
    pub networks: Vec<Network>,
}

/// A text that describes no sites, and why: follows after what was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SitesError {
    /// Neither a network nor `name:`.
    #[error("{0} is neither a network nor a name with a colon behind it")]
    Word(String),
    /// It begins with a network.
    #[error("{0} stands before the first name")]
    Nameless(String),
    /// A name without networks.
    #[error("{0} has no network")]
    Empty(String),
    /// Two sites of one name.
    #[error("{0} is there twice")]
    Twice(String),
    /// Which of two sites would have its peers?
    #[error("{network} belongs to {one} and to {other}")]
    Shared {
        /// The network.
        network: Network,
        /// A site that has it.
        one: String,
        /// Another.
        other: String,
    },
    /// Too long to be meant.
    #[error("these are more than {MAX_NETWORKS} networks")]
    Many,
}

/// Reads `name: network network, name: network`. Commas and blanks separate alike, and a word that ends with a colon names
/// a new site; a network may be part of another site's, but not the same.
///
/// # Errors
/// [`SitesError`] says what is wrong with the text.
pub fn parse_sites(text: &str) -> Result<Vec<Site>, SitesError> {
    let mut sites: Vec<Site> = Vec::new();
    let mut owners: BTreeMap<String, String> = BTreeMap::new();
    let words = text.split(|c: char| c == ',' || c.is_whitespace()).filter(|word| !word.is_empty());
    for word in words {
        if let Some(name) = word.strip_suffix(':').filter(|name| is_name(name)) {
            if sites.iter().any(|site| site.name == name) {
                return Err(SitesError::Twice(name.to_owned()));
            }
            check_last(&sites)?;
            sites.push(Site { name: name.to_owned(), networks: Vec::new() });
            continue;
        }
        let network: Network = word.parse().map_err(|_| SitesError::Word(word.to_owned()))?;
        let Some(site) = sites.last_mut() else { return Err(SitesError::Nameless(word.to_owned())) };
        match owners.insert(network.to_string(), site.name.clone()) {
            Some(one) if one != site.name => {
                return Err(SitesError::Shared { network, one, other: site.name.clone() });
            }
            Some(_) => return Err(SitesError::Twice(network.to_string())),
            None if owners.len() > MAX_NETWORKS => return Err(SitesError::Many),
            None => site.networks.push(network),
        }
    }
    if sites.is_empty() {
        return Err(SitesError::Word("nothing".to_owned()));
    }
    check_last(&sites)?;
    Ok(sites)
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || "-_.".contains(c))
}

/// Before the next site begins, the last one must have a network.
fn check_last(sites: &[Site]) -> Result<(), SitesError> {
    match sites.last() {
        Some(site) if site.networks.is_empty() => Err(SitesError::Empty(site.name.clone())),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        match parse_sites(text) {
            Ok(sites) => {
                let site = |site: &Site| {
                    let networks: Vec<_> = site.networks.iter().map(Network::to_string).collect();
                    format!("{}={}", site.name, networks.join("+"))
                };
                sites.iter().map(site).collect::<Vec<_>>().join(" ")
            }
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn texts() {
        for (text, expected) in [
            (
                "lab: 10.1.0.0/16 10.2.0.0/16, office: 192.168.7.0/24",
                "lab=10.1.0.0/16+10.2.0.0/16 office=192.168.7.0/24",
            ),
            ("lab: 10.1.0.0/16, 10.2.0.0/16, o.2: ::1", "lab=10.1.0.0/16+10.2.0.0/16 o.2=::1/128"),
            ("a: 10.0.0.0/8 b: 10.1.0.0/16", "a=10.0.0.0/8 b=10.1.0.0/16"),
            ("Büro-1: 2001:db8:: fd00::/8,", "Büro-1=2001:db8::/128+fd00::/8"),
            ("", "nothing is neither a network nor a name with a colon behind it"),
            ("lab:10.1.0.0/16", "lab:10.1.0.0/16 is neither a network nor a name with a colon behind it"),
            ("10.1.0.0/16", "10.1.0.0/16 stands before the first name"),
            ("2001:db8::/32", "2001:db8::/32 stands before the first name"),
            ("lab: 10.1.0.1/16", "10.1.0.1/16 is neither a network nor a name with a colon behind it"),
            ("lab: office: 10.0.0.0/8", "lab has no network"),
            ("lab: 10.0.0.0/8, office:", "office has no network"),
            ("a: 10.0.0.0/8, a: 11.0.0.0/8", "a is there twice"),
            ("a: 10.0.0.0/8 10.0.0.0/8", "10.0.0.0/8 is there twice"),
            ("a: 10.0.0.0/8, b: 10.0.0.0/8", "10.0.0.0/8 belongs to a and to b"),
        ] {
            assert_eq!(shown(text), expected, "{text}");
        }
        let many: String = (0..=MAX_NETWORKS).map(|n| format!(" 10.0.{}.{}", n / 256, n % 256)).collect();
        assert_eq!(parse_sites(&format!("a:{many}")), Err(SitesError::Many));
    }
}
