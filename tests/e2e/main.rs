//! Page tests: the demo, the server and a browser together, with nothing between them but a proxy that can misbehave.

mod accounts;
mod bad_input;
mod cache;
mod demo;
mod hostile;
mod looks;
mod main_job;
mod offline;
mod outages;
mod report;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use starlane_testkit::engine::Engine;

use crate::{demo::Demo, report::Report};

#[derive(Parser)]
#[command(about = "Drives the demo page in real browsers and prints one line a fact.")]
struct Options {
    /// An engine to test in: chromium, firefox or webkit; repeatable. All three if none is named.
    #[arg(long = "engine")]
    engines: Vec<Engine>,
    /// Only the facts of the main job.
    #[arg(long)]
    check: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse();
    let engines = if options.engines.is_empty() { Engine::ALL.to_vec() } else { options.engines };
    let mut report = Report::default();
    for engine in engines {
        report.begin(engine);
        if let Err(error) = engine_facts(engine, options.check, &mut report).await {
            report.failed("the demo can be driven", &error);
        }
    }
    report.close()
}

async fn engine_facts(engine: Engine, check: bool, report: &mut Report) -> Result<()> {
    let mut demo = Demo::start(engine).await?;
    main_job::facts(&mut demo, report).await?;
    if !check {
        looks::facts(&mut demo, report).await;
        bad_input::facts(&mut demo, report).await;
        hostile::facts(&mut demo, report).await;
        cache::facts(&mut demo, report).await;
        outages::facts(&mut demo, report).await;
        offline::facts(&mut demo, report).await;
        accounts::facts(&mut demo, report).await;
    }
    demo.browser.close().await
}
