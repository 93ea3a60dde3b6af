//! The steps of a text: the commands of its `sh` blocks, and the expected output of its `text` blocks.

/// The comment after a command that runs until Ctrl-C.
const RUNS_ON: &str = "# runs until Ctrl-C";
/// Commands that run until Ctrl-C, whatever stands after them.
const SERVERS: [&str; 2] = ["starlane serve", "starlane dev"];

/// One step.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A command that ends.
    Run(String),
    /// A command that runs until Ctrl-C.
    Background(String),
    /// `cd`
    ChangeFolder(String),
    /// Lines that the commands since the last such block must have printed.
    Expect(Vec<String>),
}

/// The steps of a Markdown text, in order.
pub(crate) fn steps(text: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let block = match line.strip_prefix("```") {
            Some(language @ ("sh" | "text")) => language,
            _ => continue,
        };
        let within: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        if block == "text" {
            steps.push(Step::Expect(within.into_iter().map(|line| line.trim().to_owned()).collect()));
        } else {
            steps.extend(within.into_iter().filter(|line| !line.trim().is_empty()).map(command));
        }
    }
    steps
}

/// The steps of the first `sh` block of a page.
pub(crate) fn first_steps(text: &str) -> Vec<Step> {
    let block = text.split("```sh\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap_or_default();
    steps(&format!("```sh\n{block}```\n"))
}

fn command(line: &str) -> Step {
    if let Some(folder) = line.strip_prefix("cd ") {
        return Step::ChangeFolder(folder.trim().to_owned());
    }
    let (command, _) = line.split_once("  #").unwrap_or((line, ""));
    let runs_on = line.ends_with(RUNS_ON) || SERVERS.iter().any(|server| line.starts_with(server));
    let command = command.trim().trim_end_matches(RUNS_ON).trim_end_matches('&').trim().to_owned();
    if runs_on { Step::Background(command) } else { Step::Run(command) }
}
