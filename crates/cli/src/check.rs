//! `starlane check`: checks all data of a server, and says how to repair problems.

use std::path::Path;

use anyhow::{Result, anyhow, bail};
use serde::Deserialize;
use serde_json::json;
use starlane_server::{CheckReport, Problem, ServeError};

use crate::{
    arguments::Reach,
    client::Client,
    error::{CheckFailed, Refused, find},
    output::{Output, size},
};

#[derive(Deserialize)]
struct Status {
    /// The id of the server that uses its data folder.
    folder: Option<String>,
}

/// The maximum width of a problem in the table, in characters.
const MAX_PROBLEM_CHARS: usize = 120;

#[derive(Deserialize)]
struct Answer {
    report: Option<CheckReport>,
    files: Option<u64>,
}

/// Checks a data folder, or the data of a running server. Returns an error if there are problems.
pub(crate) fn run(data: Option<&Path>, reach: &Reach, output: Output) -> Result<()> {
    let (of, report) = match data.map(|data| (data, starlane_server::check(data))) {
        Some((data, Ok(report))) => (data.display().to_string(), report),
        Some((data, Err(ServeError::InUse(_)))) => {
            output.remark("A server is using this folder, so the server checks it.");
            let client = Client::new(reach)?;
            uses(&client, data)?;
            by_server(&client, output)?
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
            ("unnamed", format!("{} uploaded files that no bundle uses yet", report.unnamed)),
        ];
        output.done(&format!("{of} has no problems"), &facts, None, &json);
        return Ok(());
    }
    let rows: Vec<[String; 3]> = report.problems.into_iter().map(row).collect();
    output.table(["WHERE", "PROBLEM", "HOW TO REPAIR IT"], &rows, &json);
    Err(CheckFailed { of, wrong }.into())
}

fn row(Problem { path, problem, mend }: Problem) -> [String; 3] {
    [path, short(&problem), mend]
}

/// Shortens a text to one line. Errors of SQLite can be long; the JSON output has all of them.
fn short(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(MAX_PROBLEM_CHARS) {
        Some((end, _)) => format!("{}…", line.get(..end).unwrap_or_default()),
        None => line,
    }
}

/// Returns an error unless the server at this URL uses this data folder. Otherwise it would check another folder.
fn uses(client: &Client, data: &Path) -> Result<()> {
    let (data_shown, url) = (data.display(), client.url());
    let other = format!(
        "a server is using {data_shown}, but not the server at {url}: give its URL with `--server URL`, or stop it"
    );
    let status: Result<Status> = client.ask("starlane:server", "status", &json!({}));
    let status = status.map_err(|error| match find::<Refused>(&error) {
        Some(refused) if refused.status == 401 => anyhow!("{other} ({refused})"),
        _ => error,
    })?;
    if status.folder.is_none() || status.folder != starlane_server::server_id(data) {
        bail!("{other}");
    }
    Ok(())
}

fn by_server(client: &Client, output: Output) -> Result<(String, CheckReport)> {
    let mut body = json!({});
    loop {
        let Answer { report, files } = client.ask("starlane:server", "check", &body)?;
        if let Some(report) = report {
            return Ok((client.url().to_owned(), report));
        }
        output.remark(&format!("{} files checked so far.", files.unwrap_or_default()));
        body = json!({ "join": true });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_one_line_of_limited_width() {
        assert_eq!(short("Tree 2 page 3:\n  btreeInitPage()\treturns 11"), "Tree 2 page 3: btreeInitPage() returns 11");
        let cut = short(&"ü\n".repeat(1_000));
        assert!(cut.chars().count() == MAX_PROBLEM_CHARS + 1 && cut.ends_with('…'), "{cut}");
    }
}
