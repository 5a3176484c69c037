//! The text of a configuration file, line by line.

use std::path::Path;

use ini::{Ini, ParseOption};

use super::error::{ConfigError, Problem};
use super::keys::Section;
use super::value::Value;
use super::{Config, hint};

/// Values are taken as they are, but for quotes around them: a backslash is a backslash.
const OPTIONS: ParseOption = ParseOption {
    enabled_quote: true,
    enabled_escape: false,
    enabled_indented_mutiline_value: false,
    enabled_preserve_key_leading_whitespace: false,
};

/// What has been read so far.
struct Reader<'a> {
    path: &'a Path,
    home: Option<&'a Path>,
    config: Config,
    section: Option<Section>,
    /// The keys given, with the lines where they stand.
    given: Vec<(Section, &'static str, usize)>,
}

/// See [`Config::parse`].
pub(super) fn read(text: &str, path: &Path, home: Option<&Path>) -> Result<Config, ConfigError> {
    let mut config = Config::default();
    let folder = path.parent().unwrap_or(Path::new(""));
    for default in config.paths_mut() {
        *default = folder.join(&default);
    }
    let mut reader = Reader { path, home, config, section: None, given: Vec::new() };
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (number, line) in (1..).zip(text.lines()) {
        let at = |problem| ConfigError::At { path: path.to_owned(), line: number, problem };
        // One line at a time, so that every problem has its line, and none spoils the next.
        let ini = Ini::load_from_str_opt(line.trim(), OPTIONS).map_err(|_| at(Problem::Syntax))?;
        for (section, keys) in &ini {
            if let Some(name) = section {
                reader.enter(name).map_err(|problem| reader.whose(problem, text, number))?;
            }
            for (key, value) in keys.iter() {
                reader.take(number, key, value).map_err(|problem| reader.whose(problem, text, number))?;
            }
        }
    }
    reader.reconcile()?;
    Ok(reader.config)
}

impl Reader<'_> {
    /// A section begins. It may do so more than once.
    fn enter(&mut self, name: &str) -> Result<(), Problem> {
        let section = Section::ALL.into_iter().find(|section| section.name() == name);
        self.section = Some(section.ok_or_else(|| Problem::UnknownSection {
            section: name.to_owned(),
            hint: hint::section(name),
        })?);
        Ok(())
    }

    /// A key and its value.
    fn take(&mut self, line: usize, name: &str, text: &str) -> Result<(), Problem> {
        let section = self.section.ok_or_else(|| Problem::NoSection { key: name.to_owned() })?;
        let folder = self.path.parent().unwrap_or(Path::new(""));
        let value = Value { text, folder, home: self.home };
        let Some((key, outcome)) = section.set(&mut self.config, name, &value) else {
            let hint = hint::key(section, name);
            return Err(Problem::UnknownKey { section: section.name(), key: name.to_owned(), hint });
        };
        if let Some(first_line) = self.line_of(section, key) {
            return Err(Problem::Repeated { section: section.name(), key, first_line });
        }
        self.given.push((section, key, line));
        outcome.map_err(|expected| Problem::Value {
            section: section.name(),
            key,
            value: text.to_owned(),
            expected,
        })
    }

    fn line_of(&self, section: Section, key: &str) -> Option<usize> {
        self.given.iter().find(|given| (given.0, given.1) == (section, key)).map(|given| given.2)
    }

    /// The error for a problem, unless the whole file is another program's.
    fn whose(&self, problem: Problem, text: &str, line: usize) -> ConfigError {
        let path = self.path.to_owned();
        let ours = |line: &str| {
            let name =
                line.trim().strip_prefix('[').and_then(|line| line.split_once(']')).map(|(name, _)| name);
            name.is_some_and(|name| hint::nearest(name.trim(), &Section::ALL.map(Section::name)).is_some())
        };
        if text.lines().any(ours) || matches!(problem, Problem::NoSection { ref key } if hint::is_ours(key)) {
            ConfigError::At { path, line, problem }
        } else {
            ConfigError::Foreign { path }
        }
    }

    /// Where one key bounds another: a contradiction in the file is an error, a default gives way.
    fn reconcile(&mut self) -> Result<(), ConfigError> {
        let (tracker, peer) = (&mut self.config.tracker, &mut self.config.peer);
        let mut contradictions = Vec::new();
        if tracker.min_interval_s > tracker.interval_s {
            contradictions.push((
                Section::Tracker,
                "MIN_INTERVAL",
                tracker.min_interval_s.to_string(),
                "at most INTERVAL",
            ));
            tracker.min_interval_s = tracker.interval_s;
        }
        if tracker.max_interval_s < tracker.interval_s {
            let value = tracker.max_interval_s.to_string();
            contradictions.push((Section::Tracker, "MAX_INTERVAL", value, "at least INTERVAL"));
            tracker.max_interval_s = tracker.interval_s;
        }
        if tracker.default_peers > tracker.max_numwant {
            contradictions.push((
                Section::Tracker,
                "DEFAULT_PEERS",
                tracker.default_peers.to_string(),
                "at most MAX_NUMWANT",
            ));
            tracker.default_peers = tracker.max_numwant;
        }
        if peer.max_connections_per_torrent > peer.max_connections {
            let value = peer.max_connections_per_torrent.to_string();
            contradictions.push((
                Section::Peer,
                "MAX_CONNECTIONS_PER_TORRENT",
                value,
                "at most MAX_CONNECTIONS",
            ));
            peer.max_connections_per_torrent = peer.max_connections;
        }
        for (section, key, value, expected) in contradictions {
            if let Some(line) = self.line_of(section, key) {
                let expected = expected.to_owned();
                let problem = Problem::Value { section: section.name(), key, value, expected };
                return Err(ConfigError::At { path: self.path.to_owned(), line, problem });
            }
        }
        self.tell_files_apart()
    }

    /// A snapshot written over the catalogue would be the end of it.
    fn tell_files_apart(&self) -> Result<(), ConfigError> {
        let tracker = &self.config.tracker;
        if tracker.peer_file != tracker.torrent_file {
            return Ok(());
        }
        let keys = [("PEER_FILE", "TORRENT_FILE"), ("TORRENT_FILE", "PEER_FILE")];
        for (key, other) in keys {
            if let Some(line) = self.line_of(Section::Tracker, key) {
                let value = tracker.peer_file.display().to_string();
                let expected = format!("another file than {other}");
                let problem = Problem::Value { section: Section::Tracker.name(), key, value, expected };
                return Err(ConfigError::At { path: self.path.to_owned(), line, problem });
            }
        }
        Ok(())
    }
}
