//! `starlane check`: checks everything that a server keeps, and says how to mend what is damaged.

use std::path::Path;

use anyhow::Result;
use serde::Deserialize;
use serde_json::json;
use starlane_server::{CheckReport, Problem, ServeError};

use crate::{
    arguments::Reach,
    client::Client,
    error::CheckFailed,
    output::{Output, size},
};

#[derive(Deserialize)]
struct Answer {
    report: Option<CheckReport>,
    files: Option<u64>,
}

/// Checks a data folder, or what a running server keeps. Errors when something is wrong.
pub(crate) fn run(data: Option<&Path>, reach: &Reach, output: Output) -> Result<()> {
    let (of, report) = match data.map(|data| (data, starlane_server::check(data))) {
        Some((data, Ok(report))) => (data.display().to_string(), report),
        Some((_, Err(ServeError::InUse(_)))) => {
            output.remark("A server is using this folder: it is asked to check it.");
            by_server(&Client::new(reach)?, output)?
        }
        Some((_, Err(error))) => return Err(error.into()),
        None => by_server(&Client::new(reach)?, output)?,
    };
    let wrong = report.problems.len() as u64 + report.unlisted;
    let json = json!({ "checked": of, "good": report.is_good(), "report": report });
    if report.is_good() {
        let facts = [
            ("bundles", report.bundles.to_string()),
            ("apps", report.apps.to_string()),
            ("databases", report.databases.to_string()),
            ("files", format!("{}, {}", report.files, size(report.bytes))),
            ("unnamed", format!("{} uploaded files that no bundle names yet", report.unnamed)),
        ];
        output.done(&format!("All of {of} is whole"), &facts, None, &json);
        return Ok(());
    }
    let rows: Vec<[String; 3]> = report.problems.into_iter().map(row).collect();
    output.table(["WHERE", "WHAT IS WRONG", "HOW TO MEND IT"], &rows, &json);
    Err(CheckFailed { of, wrong }.into())
}

fn row(Problem { path, problem, mend }: Problem) -> [String; 3] {
    [path, problem, mend]
}

fn by_server(client: &Client, output: Output) -> Result<(String, CheckReport)> {
    let mut body = json!({});
    loop {
        let Answer { report, files } = client.ask("starlane:server", "check", &body)?;
        if let Some(report) = report {
            return Ok((client.url().to_owned(), report));
        }
        output.remark(&format!("{} files were looked at so far.", files.unwrap_or_default()));
        body = json!({ "join": true });
    }
}
