//! Arguments by argh, with our exit codes.

use std::ffi::OsString;

use argh::TopLevelCommand;
use torrent_common::config::parse_duration;
use torrent_common::config::ranges::{CONNECTIONS, RATE, SEED_RATIO, SEED_TIME, Whole};

/// What the arguments ask for.
#[derive(Debug)]
pub enum Parsed<T> {
    /// Do it.
    Run(T),
    /// Print this and be done: --help, --version.
    Print(String),
    /// They make no sense; why, and how to learn more.
    Wrong(String),
}

/// Reads the arguments of the program `name`, which itself is not among them.
pub fn parse<T: TopLevelCommand>(name: &str, arguments: impl Iterator<Item = OsString>) -> Parsed<T> {
    let more = format!("run {name} --help for more");
    let arguments: Result<Vec<String>, OsString> = arguments.map(OsString::into_string).collect();
    let arguments = match arguments {
        Ok(arguments) => arguments,
        Err(argument) => return Parsed::Wrong(format!("{argument:?} is not UTF-8\n{more}")),
    };
    if matches!(arguments.as_slice(), [only] if only == "--version" || only == "-V") {
        return Parsed::Print(format!("{name} {}", env!("CARGO_PKG_VERSION")));
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match T::from_args(&[name], &arguments) {
        Ok(arguments) => Parsed::Run(arguments),
        Err(exit) if exit.status.is_ok() => {
            Parsed::Print(format!("{}\n  --version         print the version", exit.output.trim_end()))
        }
        Err(exit) => Parsed::Wrong(format!("{}\n{more}", exit.output.trim())),
    }
}

/// For options that are a port: 1 to 65535.
///
/// # Errors
/// In words for the user.
pub fn port(text: &str) -> Result<u16, String> {
    match text.parse() {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(format!("{text:?} is not a port: a number from 1 to 65535")),
    }
}

/// For options that are a port to listen on: 0 lets the system choose.
///
/// # Errors
/// In words for the user.
pub fn listen_port(text: &str) -> Result<u16, String> {
    text.parse().map_err(|_| format!("{text:?} is not a port: a number from 0 (any) to 65535"))
}

/// For options that are a piece length: bytes, or with K or M after it KiB or MiB; a power of two, at least 16 KiB.
///
/// # Errors
/// In words for the user.
pub fn piece_length(text: &str) -> Result<u64, String> {
    let (number, unit) = match text.as_bytes().last() {
        Some(b'k' | b'K') => (text.get(..text.len() - 1), 1 << 10),
        Some(b'm' | b'M') => (text.get(..text.len() - 1), 1 << 20),
        _ => (Some(text), 1_u64),
    };
    let bytes =
        number.and_then(|number| number.parse::<u64>().ok()).and_then(|number| number.checked_mul(unit));
    match bytes {
        Some(bytes) if bytes.is_power_of_two() && bytes >= 16 << 10 => Ok(bytes),
        _ => Err(format!(
            "{text:?} is not a piece length: a power of two of at least 16K, such as 262144, 256K or 1M"
        )),
    }
}

/// For options that are a rate: bytes per second, or with K, M or G after it KiB, MiB or GiB per second; a fraction such
/// as 1.5M is taken. 0: no limit.
///
/// # Errors
/// In words for the user.
pub fn rate(text: &str) -> Result<u64, String> {
    let wrong =
        || format!("{text:?} is not a rate: bytes per second such as 500000, 500K or 1.5M; 0 for no limit");
    let unit = match text.as_bytes().last() {
        Some(b'k' | b'K') => 1_u64 << 10,
        Some(b'm' | b'M') => 1 << 20,
        Some(b'g' | b'G') => 1 << 30,
        _ => 1,
    };
    let number = if unit == 1 { Some(text) } else { text.get(..text.len() - 1) }.ok_or_else(wrong)?;
    if let Ok(whole) = number.parse::<u64>()
        && !number.starts_with('+')
    {
        return within(&RATE, text, whole.checked_mul(unit).ok_or_else(wrong)?);
    }
    let value = decimal(number).ok_or_else(wrong)? * unit as f64;
    within(&RATE, text, format!("{value:.0}").parse().map_err(|_| wrong())?)
}

/// For options that are a ratio of bytes uploaded to the size of what is selected; 0: no goal.
///
/// # Errors
/// In words for the user.
pub fn ratio(text: &str) -> Result<f64, String> {
    let ratio = decimal(text).filter(|&ratio| SEED_RATIO.contains(ratio));
    ratio.ok_or_else(|| format!("{text:?} is not a ratio: {SEED_RATIO}; 0 for no goal"))
}

/// For options that are a time: seconds, or with m, h or d after it minutes, hours or days. 0: no goal.
///
/// # Errors
/// In words for the user.
pub fn duration(text: &str) -> Result<u64, String> {
    let time = parse_duration(text).ok_or_else(|| {
        format!("{text:?} is not a time: seconds, or such as 90s, 30m, 12h or 7d; 0 for no goal")
    })?;
    within(&SEED_TIME, text, time)
}

/// For options that are a number of connections: at least 1.
///
/// # Errors
/// In words for the user.
pub fn connections(text: &str) -> Result<usize, String> {
    number(&CONNECTIONS, text)
}

/// For options that are a whole number.
///
/// # Errors
/// In words for the user.
pub fn number(of: &Whole, text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|&number| of.contains(number));
    number.and_then(|number| usize::try_from(number).ok()).ok_or_else(|| format!("{text:?} is not {of}"))
}

fn within(of: &Whole, text: &str, value: u64) -> Result<u64, String> {
    if of.contains(value) { Ok(value) } else { Err(format!("{text:?} is not {of}")) }
}

/// Digits with at most one point: neither a sign, nor an exponent, nor words like `inf`.
fn decimal(text: &str) -> Option<f64> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    text.parse().ok().filter(|number: &f64| plain && number.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Does something
    #[derive(argh::FromArgs, Debug)]
    struct Example {
        /// a port
        #[argh(option, from_str_fn(port))]
        port: Option<u16>,
        /// needed
        #[argh(option)]
        input: String,
    }

    fn parse_all(arguments: &[&str]) -> Parsed<Example> {
        parse("example", arguments.iter().map(OsString::from))
    }

    #[test]
    fn each_kind() {
        let Parsed::Run(run) = parse_all(&["--input", "x", "--port", "5"]) else { panic!() };
        assert_eq!((run.input.as_str(), run.port), ("x", Some(5)));
        assert!(matches!(parse_all(&["--help"]), Parsed::Print(text) if text.contains("--input")));
        assert!(matches!(parse_all(&["--version"]), Parsed::Print(text) if text.starts_with("example ")));
        for wrong in
            [&["--input"][..], &[], &["--input", "x", "--port", "0"], &["--what"], &["--input", "x", "y"]]
        {
            let Parsed::Wrong(message) = parse_all(wrong) else { panic!("{wrong:?}") };
            assert!(message.ends_with("run example --help for more"), "{message}");
        }
        let Parsed::Run(run) = parse_all(&["--input", "--version"]) else { panic!() };
        assert_eq!(run.input, "--version");
    }

    #[test]
    fn text_that_is_not_utf8_is_a_usage_error() {
        use std::os::unix::ffi::OsStringExt;
        let arguments = [OsString::from("--input"), OsString::from_vec(vec![0xff])];
        assert!(matches!(parse::<Example>("example", arguments.into_iter()), Parsed::Wrong(_)));
    }

    #[test]
    fn rates_ratios_and_times() {
        for (text, expected) in [
            ("0", 0),
            ("500000", 500_000),
            ("500K", 500 << 10),
            ("1.5M", 3 << 19),
            ("2g", 2 << 30),
            ("0.5k", 512),
        ] {
            assert_eq!(rate(text), Ok(expected), "{text}");
        }
        for bad in [
            "",
            "K",
            "-1",
            "+1",
            "1e3",
            "1T",
            "infK",
            "nan",
            "1..2",
            "99999999999999999999G",
            "é",
            "1 M",
            "1025G",
            "2000000M",
        ] {
            assert!(rate(bad).is_err(), "{bad}");
        }
        assert_eq!((ratio("0"), ratio("1.5")), (Ok(0.0), Ok(1.5)));
        for bad in ["", "-1", "inf", "nan", "1e3", "x", ".", "1000001"] {
            assert!(ratio(bad).is_err(), "{bad}");
        }
        for (text, expected) in
            [("0", 0), ("90", 90), ("90s", 90), ("30m", 1800), ("12h", 43_200), ("7d", 604_800)]
        {
            assert_eq!(duration(text), Ok(expected), "{text}");
        }
        for bad in ["", "m", "-1", "1.5h", "1w", "99999999999999999d", "é", "36501d"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
        assert!(connections("0").is_err() && connections("x").is_err());
        assert_eq!(connections("7"), Ok(7));
        assert!(connections("65536").unwrap_err().contains("from 1 to 65535"));
    }

    #[test]
    fn ports_and_piece_lengths() {
        assert_eq!(port("65535"), Ok(65535));
        for bad in ["0", "65536", "-1", "", "x"] {
            assert!(port(bad).is_err(), "{bad}");
        }
        assert_eq!(listen_port("0"), Ok(0));
        assert_eq!(piece_length("16384"), Ok(16384));
        assert_eq!(piece_length("256k"), Ok(256 << 10));
        assert_eq!(piece_length("4M"), Ok(4 << 20));
        for bad in ["", "K", "M", "0", "1000", "8192", "3M", "-1M", "é", "18014398509481984M", "1G"] {
            assert!(piece_length(bad).is_err(), "{bad}");
        }
    }
}
