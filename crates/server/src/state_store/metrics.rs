//! The counts of the state store, for `GET /metrics`.

use std::{
    fmt,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::counter::ConstCounter,
};

use super::StateCounts;

/// The counts of a store, as a collector.
#[derive(Debug)]
pub(crate) struct StateMetrics(pub(crate) Arc<StateCounts>);

impl Collector for StateMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let counts = &self.0;
        for (name, help, count) in [
            ("state_written", "States of actors that were written.", &counts.written),
            ("state_unchanged", "Saves of state that was kept already.", &counts.unchanged),
            ("state_failures", "Saves of state that were refused or failed.", &counts.failed),
            ("state_commits", "Transactions that wrote state.", &counts.commits),
        ] {
            let metric = ConstCounter::new(count.load(Relaxed));
            metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)?;
        }
        Ok(())
    }
}
