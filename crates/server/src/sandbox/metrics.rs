//! The metrics of guests and of the compiler.

use std::{
    fmt,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
};

use super::{GuestUsage, compile::Compiler};

/// A snapshot of guests and of the compiler.
#[derive(Debug)]
pub(crate) struct GuestMetrics {
    pub(crate) usage: Arc<GuestUsage>,
    pub(crate) compiler: Compiler,
}

impl Collector for GuestMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let seconds = |nanos: u64| ConstCounter::new(nanos as f64 / 1e9);
        let help = "Processor time that mechtrons have used.";
        let all = seconds(self.usage.accounts.total());
        all.encode(encoder.encode_descriptor("guest_seconds", help, None, all.metric_type())?)?;
        let help = "Processor time that the mechtrons of each app have used.";
        let mut family = encoder.encode_descriptor("app_guest_seconds", help, None, MetricType::Counter)?;
        for (owner, nanos) in self.usage.accounts.apps() {
            let labels = [("space", &*owner.space), ("app", &*owner.app)];
            seconds(nanos).encode(family.encode_family(&labels)?)?;
        }
        let modules = i64::try_from(self.usage.modules.load(Relaxed)).unwrap_or(i64::MAX);
        let modules = ConstGauge::new(modules);
        modules.encode(encoder.encode_descriptor("modules", "Modules in memory.", None, modules.metric_type())?)?;
        let counts = self.compiler.counts();
        let mut counter = |name: &str, help: &str, value: u64| {
            let metric = ConstCounter::new(value);
            metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
        };
        counter("modules_checked", "Checks of modules that began.", counts.checked.load(Relaxed))?;
        counter("modules_compiled", "Modules that were compiled.", counts.compiled.load(Relaxed))?;
        counter("modules_loaded", "Compiled modules that were read from disk.", counts.loaded.load(Relaxed))?;
        counter("modules_failed", "Modules that were not compiled.", counts.failed.load(Relaxed))
    }
}
