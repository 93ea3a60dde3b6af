//! `GET /metrics`: the metrics of this server in the OpenMetrics text format.

use std::{fmt, sync::Arc};

use axum::{
    http::header,
    response::{IntoResponse, Response},
};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet, text::encode},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Registry,
};
use starlane_host::{Inspection, LATENCY_MS, Stats};
use starlane_protocol::{Failure, Verb};

use super::Call;
use crate::{limits::Limiter, operator, sandbox::metrics::GuestMetrics, state_store::StateMetrics};

/// A snapshot of all metrics.
#[derive(Debug)]
struct Snapshot {
    inspection: Inspection,
    stats: Stats,
    limiter: Arc<Limiter>,
}

/// Returns the metrics: to everybody on a server that only this machine can reach, otherwise to an admin of the server.
pub(super) async fn show(call: Call<'_>) -> Result<Response, Failure> {
    let site = call.site;
    if !call.client.is_local(site) {
        call.principal()?.permit(Verb::Admin, &operator::address()?, "")?;
    }
    let (inspection, stats) = site.handle.look().await?;
    let limiter = Arc::clone(&site.limiter);
    let mut registry = Registry::with_prefix("starlane");
    registry.register_collector(Box::new(Snapshot { inspection, stats, limiter }));
    let (usage, compiler) = (Arc::clone(&site.usage), site.compiler.clone());
    registry.register_collector(Box::new(GuestMetrics { usage, compiler }));
    registry.register_collector(Box::new(StateMetrics(Arc::clone(&site.state_counts))));
    let mut text = String::new();
    encode(&mut text, &registry).map_err(|error| Failure::internal(error.to_string()))?;
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, content_type)], text).into_response())
}

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Self { inspection, stats, limiter } = self;
        let mut counter = |name: &str, help: &str, value: u64| {
            let metric = ConstCounter::new(value);
            metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
        };
        counter("replies", "Requests that ended with a reply.", stats.replies)?;
        counter("failures", "Requests that ended with a failure.", stats.failures)?;
        counter("one_way_messages", "One-way messages that were sent on.", stats.one_way)?;
        counter("events", "Events that were emitted.", stats.events)?;
        counter("crashes", "Crashes of mechtrons.", stats.crashes)?;
        let help = "One-way messages, events and wakes that were not delivered.";
        counter("dead_letters", help, stats.dead_letters)?;
        let help = "Mechtrons that held messages whose time had passed, and were started again.";
        counter("overdue", help, stats.overdue)?;

        let mut gauge = |name: &str, help: &str, value: usize| {
            let metric = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
        };
        let up = inspection.links.iter().filter(|link| link.up).count();
        gauge("links", "Links that are up.", up)?;
        gauge("apps", "Apps that run.", inspection.apps.len())?;
        gauge("open_requests", "Requests that have not ended.", inspection.open_requests)?;
        let awake = inspection.actors.iter().filter(|placed| placed.actor.state == "awake").count();
        gauge("actors_awake", "Mechtrons that have an instance.", awake)?;
        let quarantined = inspection.actors.iter().filter(|placed| placed.actor.state == "quarantined").count();
        gauge("actors_quarantined", "Mechtrons that crashed too often and were put aside.", quarantined)?;
        let waiting = inspection.actors.iter().map(|placed| placed.actor.mailbox).sum();
        gauge("mailbox_messages", "Messages that wait in all mailboxes.", waiting)?;
        let unfinished = inspection.actors.iter().map(|placed| placed.actor.unfinished).sum();
        gauge("unfinished_messages", "Messages that mechtrons have and have not ended.", unfinished)?;
        let deepest = inspection.actors.iter().map(|placed| placed.actor.mailbox).max().unwrap_or_default();
        gauge("mailbox_deepest", "Messages that wait in the fullest mailbox.", deepest)?;

        let help = "The value of each limit, in its unit.";
        let mut family = encoder.encode_descriptor("limit", help, None, MetricType::Gauge)?;
        for (limit, value, _) in limiter.entries() {
            let metric = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            metric.encode(family.encode_family(&[("name", limit.name())])?)?;
        }
        let help = "What each limit refused.";
        let mut family = encoder.encode_descriptor("limit_refused", help, None, MetricType::Counter)?;
        for (limit, _, refused) in limiter.entries() {
            let refused = refused + stats.refused.get(limit.name()).copied().unwrap_or_default();
            ConstCounter::new(refused).encode(family.encode_family(&[("name", limit.name())])?)?;
        }

        let bounds = LATENCY_MS.iter().map(|ms| *ms as f64 / 1_000.0).chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> = bounds.zip(stats.latencies).collect();
        let help = "How long requests took, from the moment that this host had them.";
        encoder
            .encode_descriptor("request_duration_seconds", help, None, MetricType::Histogram)?
            .encode_histogram::<NoLabelSet>(
                stats.latency_ms as f64 / 1_000.0,
                stats.latencies.iter().sum(),
                &buckets,
                None,
            )
    }
}
