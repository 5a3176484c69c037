//! GET /metrics: all of it, written.

use super::family::Label;
use super::histogram::Buckets;
use super::labels::{Closed, Protocol};
use super::process;
use super::text::{Kind, Text};
use super::{Metrics, Stripe};
use crate::health::Part;
use crate::shared::Shared;

/// The page. Takes no lock that an announce needs.
pub(crate) fn page(shared: &Shared) -> String {
    let mut text = Text::default();
    let metrics = &shared.metrics;
    text.metric(Kind::Gauge, "torrent_tracker_build_info", "The version that runs: always 1.")
        .sample(&[("version", env!("CARGO_PKG_VERSION"))], 1);
    announces(&mut text, metrics);
    udp(&mut text, metrics);
    http(&mut text, metrics);
    swarms(&mut text, shared);
    catalogue(&mut text, shared);
    let mut degraded =
        text.metric(Kind::Gauge, "torrent_tracker_degraded", "1 where a part of the service does not work.");
    for part in Part::ALL {
        degraded.sample(&[("part", part.as_str())], u8::from(shared.health.of(part).is_some()));
    }
    text.single(
        Kind::Counter,
        "torrent_tracker_bugs_total",
        "Requests that were not answered because of a bug.",
        metrics.sum(|stripe| stripe.bugs.get()),
    );
    process::write(&mut text, metrics.started_s);
    text.finish()
}

fn announces(text: &mut Text, metrics: &Metrics) {
    text.metric(
        Kind::Counter,
        "torrent_tracker_announces_total",
        "Announces answered with peers, by what they say has happened.",
    )
    .each(|label| metrics.sum(|stripe| stripe.announces.get(label)));
    text.metric(Kind::Counter, "torrent_tracker_scrapes_total", "Scrapes, refused ones among them.")
        .each(|label| metrics.sum(|stripe| stripe.scrapes.get(label)));
    text.metric(
        Kind::Counter,
        "torrent_tracker_failures_total",
        "Announces and scrapes answered with a failure.",
    )
    .each(|label| metrics.sum(|stripe| stripe.failures.get(label)));
    text.metric(
        Kind::Histogram,
        "torrent_tracker_announce_duration_seconds",
        "From an announce in the tracker's hands to its answer in the system's, refused ones among them. Over UDP that of its batch.",
    )
    .histograms(|protocol: Protocol| {
        let of = |stripe: &Stripe| stripe.latency.get(protocol.index()).map(super::Histogram::read);
        metrics.stripes.iter().filter_map(of).fold(Buckets::default(), |mut sum, part| {
            sum.add(&part);
            sum
        })
    });
}

fn udp(text: &mut Text, metrics: &Metrics) {
    text.single(
        Kind::Counter,
        "torrent_tracker_udp_connects_total",
        "Connection ids given over UDP.",
        metrics.udp_connects(),
    );
    text.metric(Kind::Counter, "torrent_tracker_udp_dropped_packets_total", "Packets that got no answer.")
        .each(|label| metrics.sum(|stripe| stripe.udp_dropped.get(label)));
}

fn http(text: &mut Text, metrics: &Metrics) {
    text.metric(
        Kind::Counter,
        "torrent_tracker_http_answers_total",
        "Answers over HTTP, by what was asked for.",
    )
    .each(|label| metrics.sum(|stripe| stripe.http_answers.get(label)));
    text.metric(
        Kind::Counter,
        "torrent_tracker_http_closed_connections_total",
        "Connections over HTTP that the tracker shut down.",
    )
    .each(|label: Closed| metrics.sum(|stripe| stripe.http_closed.get(label)));
    text.single(
        Kind::Counter,
        "torrent_tracker_http_restarts_total",
        "Times that accepting connections was begun anew.",
        metrics.sum(|stripe| stripe.http_restarts.get()),
    );
    text.single(
        Kind::Counter,
        "torrent_tracker_http_abandoned_requests_total",
        "Requests with absurd lengths, left behind with a thread and open files until the process begins anew.",
        metrics.sum(|stripe| stripe.http_abandoned.get()),
    );
}

fn swarms(text: &mut Text, shared: &Shared) {
    let totals = shared.desk.swarms().totals();
    text.single(Kind::Gauge, "torrent_tracker_swarms", "Torrents that have peers.", totals.swarms);
    text.single(
        Kind::Counter,
        "torrent_tracker_evictions_total",
        "Peers or swarms forgotten because there was no room for a newcomer.",
        shared.desk.swarms().evictions(),
    );
    let mut peers = text.metric(Kind::Gauge, "torrent_tracker_peers", "Peers of all swarms together.");
    peers.sample(&[("role", "seeder")], totals.seeders);
    peers.sample(&[("role", "leecher")], totals.peers.saturating_sub(totals.seeders));
}

fn catalogue(text: &mut Text, shared: &Shared) {
    text.metric(Kind::Counter, "torrent_tracker_uploads_total", "Torrents uploaded, by what became of it.")
        .each(|label| shared.metrics.sum(|stripe| stripe.uploads.get(label)));
    text.single(
        Kind::Gauge,
        "torrent_tracker_catalogue_torrents",
        "Torrents in the catalogue.",
        shared.catalogue.count(),
    );
    if let Some(len) = shared.catalogue.database_len() {
        text.single(
            Kind::Gauge,
            "torrent_tracker_catalogue_database_bytes",
            "Length of the catalogue's database.",
            len,
        );
    }
}
