//! Writes bencode of any shape, right or wrong: for torrents that no honest program makes.

/// A value. Dictionaries keep the order and the repetitions they are given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bencode {
    /// An integer.
    Int(i64),
    /// A string.
    Bytes(Vec<u8>),
    /// A list.
    List(Vec<Bencode>),
    /// A dictionary.
    Dict(Vec<(Vec<u8>, Bencode)>),
    /// These bytes as they are.
    Raw(Vec<u8>),
}

impl Bencode {
    /// The bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.append(&mut out);
        out
    }

    fn append(&self, out: &mut Vec<u8>) {
        match self {
            Self::Int(value) => out.extend(format!("i{value}e").bytes()),
            Self::Bytes(bytes) => string(bytes, out),
            Self::Raw(bytes) => out.extend(bytes),
            Self::List(values) => {
                out.push(b'l');
                values.iter().for_each(|value| value.append(out));
                out.push(b'e');
            }
            Self::Dict(entries) => {
                out.push(b'd');
                for (key, value) in entries {
                    string(key, out);
                    value.append(out);
                }
                out.push(b'e');
            }
        }
    }

    /// Sets a key of a dictionary, in its sorted place if it is new.
    ///
    /// # Panics
    /// If this is no dictionary.
    pub fn set(&mut self, key: &str, value: impl Into<Self>) -> &mut Self {
        let Self::Dict(entries) = self else { panic!("not a dictionary: {self:?}") };
        let key = key.as_bytes().to_vec();
        match entries.iter_mut().find(|(present, _)| *present == key) {
            Some(entry) => entry.1 = value.into(),
            None => {
                let place = entries.partition_point(|(present, _)| *present < key);
                entries.insert(place, (key, value.into()));
            }
        }
        self
    }

    /// Removes a key of a dictionary.
    ///
    /// # Panics
    /// If this is no dictionary.
    pub fn remove(&mut self, key: &str) -> &mut Self {
        let Self::Dict(entries) = self else { panic!("not a dictionary: {self:?}") };
        entries.retain(|(present, _)| present != key.as_bytes());
        self
    }
}

/// A dictionary, in the order given.
pub fn dict<const N: usize>(entries: [(&str, Bencode); N]) -> Bencode {
    Bencode::Dict(entries.into_iter().map(|(key, value)| (key.as_bytes().to_vec(), value)).collect())
}

/// A list.
pub fn list<T: Into<Bencode>>(values: impl IntoIterator<Item = T>) -> Bencode {
    Bencode::List(values.into_iter().map(Into::into).collect())
}

fn string(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend(format!("{}:", bytes.len()).bytes());
    out.extend(bytes);
}

impl From<i64> for Bencode {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<&str> for Bencode {
    fn from(text: &str) -> Self {
        Self::Bytes(text.as_bytes().to_vec())
    }
}

impl From<Vec<u8>> for Bencode {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes)
    }
}
