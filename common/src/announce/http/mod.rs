//! Announce and scrape over HTTP (BEP 3, BEP 23, BEP 7, BEP 48), both directions: query strings and bencoded bodies.

mod answer;
mod encode;
mod query;

pub use answer::{DEFAULT_INTERVAL_S, MAX_RESPONSE_LEN, ResponseError, decode_response};
pub use encode::{SCRAPE_HEAD, SCRAPE_TAIL, encode_failure, encode_response, encode_scrape, encode_scraped};
pub use query::{
    MAX_QUERY_LEN, QueryError, announce_query, parse_announce_query, parse_scrape_query, with_query,
};
