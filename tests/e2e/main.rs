//! Page tests: the demo, the server and a browser together, with only a proxy between them, which can inject faults.

mod accounts;
mod bad_input;
mod cache;
mod cuts;
mod demo;
mod guests;
mod hostile;
mod looks;
mod main_job;
mod offline;
mod outages;
mod reasons;
mod report;
mod streams;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use starlane_testkit::engine::Engine;

use crate::{demo::Demo, report::Report};

#[derive(Parser)]
#[command(about = "Drive the demo page in real browsers, and print one line for each fact.")]
struct Options {
    /// Test in this engine: chromium, firefox or webkit [default: all]. Repeatable.
    #[arg(long = "engine")]
    engines: Vec<Engine>,
    /// Check only the facts of the main job.
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
        guests::facts(&mut demo, report).await;
        bad_input::facts(&mut demo, report).await;
        hostile::facts(&mut demo, report).await;
        cache::facts(&mut demo, report).await;
        cuts::facts(&demo, report).await;
        streams::facts(&mut demo, report).await;
        outages::facts(&mut demo, report).await;
        offline::facts(&mut demo, report).await;
        reasons::facts(&mut demo, report).await;
        accounts::facts(&mut demo, report).await;
    }
    demo.browser.close().await
}
